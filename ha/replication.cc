#include "ha/replication.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace itgtd::ha {

Replication::Replication(control::EventLoop& loop, UnitStore& store, Send send, Now now,
                         const UnitsOptions& options)
    : loop_(loop), store_(store), send_(std::move(send)), now_(std::move(now)), units_(options) {
  auto versions = store_.load_versions();
  if (!versions) {
    log::error(
        "what is kept of logical units here can't be read: {}; other members' is used where there is any",
        versions.error().to_string());
    return;
  }
  step(UnitsLoaded{std::move(*versions)});
}

void Replication::set_options(const UnitsOptions& options) {
  step(UnitsConfigured{options});
}

void Replication::on_members(const std::vector<Member>& members) {
  step(UnitsMembers{members});
}

void Replication::on_delivered(const Member& from, const Message& message) {
  if (!std::holds_alternative<UnitRecord>(message) && !std::holds_alternative<UnitStored>(message) &&
      !std::holds_alternative<UnitVersions>(message)) {
    return;
  }
  step(UnitsDelivered{from, message});
}

void Replication::abandon(const std::string& group) {
  step(UnitsAbandoned{group});
}

void Replication::replicate(const std::string& group, const std::string& unit, Epoch epoch, uint64_t version,
                            Bytes bytes, std::function<void(Result<void>)> done) {
  const uint64_t id = ++last_id_;
  waiting_[id] = std::move(done);
  step(UnitReplicate{id, {group, unit, epoch, version, std::move(bytes)}});
}

void Replication::fetch(const std::string& group, const std::vector<std::string>& units,
                        std::function<void(Result<void>)> done) {
  const uint64_t id = ++last_id_;
  waiting_[id] = std::move(done);
  step(UnitFetch{id, group, units});
}

void Replication::step(UnitEvent event) {
  events_.push_back(std::move(event));
  if (stepping_) return;
  stepping_ = true;
  while (!events_.empty()) {
    const UnitEvent next = std::move(events_.front());
    events_.pop_front();
    for (UnitAction& action : units_.step(now_(), next)) {
      std::visit([this](auto& content) { carry_out(content); }, action);
    }
  }
  stepping_ = false;
  set_timer();
}

void Replication::set_timer() {
  const std::optional<TimeMs> at = units_.wake_at();
  if (at == timer_at_) return;
  timer_at_ = at;
  timer_.reset();
  if (!at) return;
  const auto delay = std::chrono::milliseconds(std::max<TimeMs>(*at - now_(), 1));
  timer_ = loop_.timer(delay, [this] {
    timer_at_.reset();
    step(UnitsTick{});
  });
}

void Replication::carry_out(SendUnit& action) {
  send_(std::move(action.message));
}

void Replication::carry_out(const SendStoredUnit& action) {
  auto stored = store_.load(action.unit);
  if (!stored) {
    log::error("unit {} can't be given to a member that lacks it: {}", action.unit,
               stored.error().to_string());
    return;
  }
  if (!*stored) return;
  UnitStore::Value& value = **stored;
  send_(UnitRecord{value.group, action.unit, value.version.epoch, value.version.version,
                   std::move(value.bytes)});
}

void Replication::carry_out(SaveUnit& action) {
  UnitRecord& record = action.record;
  const std::string unit = record.unit;
  const UnitVersion version{record.epoch, record.version};
  store_.save(unit, {version, std::move(record.group), std::move(record.bytes)},
              [this, unit, version](const Result<UnitVersion>& result) {
                if (!result) {
                  log::error("unit {} of another node could not be kept here: {}", unit,
                             result.error().to_string());
                }
                step(UnitSaved{unit, version, result.ok(), result ? result.value() : UnitVersion{}});
              });
}

void Replication::carry_out(const UnitDone& action) {
  const auto found = waiting_.find(action.id);
  if (found == waiting_.end()) return;
  const Done done = std::move(found->second);
  waiting_.erase(found);
  done(action.ok ? Result<void>() : Error{0, action.text});
}

}  // namespace itgtd::ha
