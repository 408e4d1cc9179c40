#include "target/device_lu_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace itgtd::target {

void DeviceLuStore::open(const StateDevice::Options& options, Done done) {
  if (busy_ || device_ != nullptr) {
    done(Error{EBUSY, fmt::format("state device \"{}\" is still being closed", options.path)});
    return;
  }
  busy_ = true;
  const uint64_t turn = ++turn_;
  // Owners: the call and its end.
  const auto opened = std::make_shared<Result<std::unique_ptr<StateDevice>>>(Error{0, "not opened yet"});
  calls_.run([opened, options] { *opened = StateDevice::open(options); },
             [this, alive = std::weak_ptr(alive_), opened, turn, done = std::move(done)] {
               if (alive.expired()) return;
               busy_ = false;
               if (turn != turn_) {
                 if (*opened) device_ = std::move(opened->value());
                 *opened = Error{ECANCELED, "the group was stopped"};
                 end_close();
               } else if (*opened) {
                 device_ = std::move(opened->value());
                 values_ = device_->values();
                 ready_ = true;
               }
               done(*opened ? Result<void>() : opened->error());
             });
}

void DeviceLuStore::close(std::function<void()> done) {
  ++turn_;
  ready_ = false;
  closing_.push_back(std::move(done));
  // The one that is being written answers for itself.
  std::deque<Save> dropped = std::exchange(saves_, {});
  if (busy_ && !dropped.empty()) {
    saves_.push_back(std::move(dropped.front()));
    dropped.pop_front();
  }
  for (const Save& save : dropped) save.done(Error{ECANCELED, "the group was stopped"});
  if (!busy_) end_close();
}

void DeviceLuStore::end_close() {
  values_.clear();
  if (device_ == nullptr) {
    for (const std::function<void()>& done : std::exchange(closing_, {})) done();
    return;
  }
  // Closing may block as opening may. The call is the last owner.
  busy_ = true;
  calls_.run([device = std::move(device_)]() mutable { device.reset(); },
             [this, alive = std::weak_ptr(alive_)] {
               if (alive.expired()) return;
               busy_ = false;
               end_close();
             });
}

Result<std::optional<LuStore::Value>> DeviceLuStore::load(std::string_view name) {
  if (!ready_) return Error{EAGAIN, "the group's state device is not open on this node"};
  const auto found = values_.find(name);
  if (found == values_.end() || found->second.empty()) return std::optional<Value>{};
  return std::optional(found->second);
}

void DeviceLuStore::save(std::string_view name, ConstBytes bytes, SaveDone done) {
  if (!ready_) {
    done(Error{EAGAIN, "the group's state device is not open on this node"});
    return;
  }
  saves_.push_back({std::string(name), {bytes.begin(), bytes.end()}, std::move(done)});
  if (!busy_) save_next();
}

void DeviceLuStore::save_next() {
  busy_ = true;
  const auto result = std::make_shared<Result<void>>();  // owners: the call and its end
  calls_.run([device = device_, result, name = saves_.front().name,
              value = saves_.front().value] { *result = device->save(name, value); },
             [this, alive = std::weak_ptr(alive_), result] {
               if (!alive.expired()) on_saved(*result);
             });
}

void DeviceLuStore::on_saved(const Result<void>& result) {
  busy_ = false;
  const Save saved = std::move(saves_.front());
  saves_.pop_front();
  if (result) values_[saved.name] = saved.value;
  if (!ready_) {
    end_close();
    saved.done(result);
    return;
  }
  if (!saves_.empty()) save_next();
  saved.done(result);
}

}  // namespace itgtd::target
