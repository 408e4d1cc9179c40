#include "target/replicated_lu_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/endian.h"
#include "base/log.h"

namespace itgtd::target {
namespace {

/// What stands before the value in its file; the group's name and the value follow.
struct VersionHeader {
  be64 epoch;
  be64 version;
  be16 group_bytes;
};
static_assert(WireStruct<VersionHeader> && sizeof(VersionHeader) == 18);
constexpr size_t kGroupBytesMax = 0xFFFF;
static_assert(ha::kUnitBytesMax + sizeof(VersionHeader) + kGroupBytesMax <= kSlotPayloadBytesMax);

LuStore::Value wrap(const ha::UnitStore::Value& value) {
  VersionHeader header;
  header.epoch.set(value.version.epoch);
  header.version.set(value.version.version);
  header.group_bytes.set(static_cast<uint16_t>(value.group.size()));
  const ConstBytes head = bytes_of(header);
  const ConstBytes group = as_bytes(value.group);
  LuStore::Value wrapped(head.begin(), head.end());
  wrapped.insert(wrapped.end(), group.begin(), group.end());
  wrapped.insert(wrapped.end(), value.bytes.begin(), value.bytes.end());
  return wrapped;
}

Result<ha::UnitStore::Value> unwrap(const std::string& unit, ConstBytes wrapped) {
  const Error damaged{0, fmt::format("what members keep of unit {} has no version", unit)};
  if (wrapped.size() < sizeof(VersionHeader)) return damaged;
  const auto header = load<VersionHeader>(wrapped);
  const size_t group_bytes = header.group_bytes.get();
  wrapped = wrapped.subspan(sizeof(VersionHeader));
  if (wrapped.size() < group_bytes) return damaged;
  ha::UnitStore::Value value;
  value.version = {header.epoch.get(), header.version.get()};
  value.group = as_text(wrapped.first(group_bytes));
  wrapped = wrapped.subspan(group_bytes);
  value.bytes.assign(wrapped.begin(), wrapped.end());
  return value;
}

}  // namespace

// --- Files with versions
// -----------------------------------------------------------------------------------------------

Result<std::optional<ha::UnitStore::Value>> VersionedFiles::load(const std::string& unit) {
  auto wrapped = store_.load(unit);
  if (!wrapped) return wrapped.error();
  if (!*wrapped) return std::optional<Value>{};
  auto value = unwrap(unit, **wrapped);
  if (!value) return value.error();
  return std::optional(std::move(*value));
}

Result<VersionedFiles::Unit*> VersionedFiles::known(const std::string& name) {
  if (const auto found = units_.find(name); found != units_.end()) return &found->second;
  auto value = load(name);
  if (!value) return value.error();
  Unit& unit = units_[name];
  if (*value) unit.durable = (*value)->version;
  return &unit;
}

Result<ha::UnitVersionMap> VersionedFiles::load_versions() {
  auto names = store_.names();
  if (!names) return names.error();
  ha::UnitVersionMap versions;
  for (const std::string& name : *names) {
    auto unit = known(name);
    if (!unit) {
      log::error("{}; another member's is used where there is one", unit.error().to_string());
    } else if ((*unit)->durable != ha::UnitVersion{}) {
      versions[name] = (*unit)->durable;
    }
  }
  return versions;
}

void VersionedFiles::save(const std::string& unit, Value value, SaveDone done) {
  if (value.group.size() > kGroupBytesMax || value.bytes.size() > ha::kUnitBytesMax) {
    done(Error{EFBIG, fmt::format("unit {} is too large to be kept", unit)});
    return;
  }
  auto found = known(unit);
  if (!found) {
    done(found.error());
    return;
  }
  (*found)->waiting.push_back({std::move(value), std::move(done)});
  if (!(*found)->saving) save_next(unit);
}

/// One write of a unit at a time, in the order in which they were asked for, without those that are older
/// than what is there.
void VersionedFiles::save_next(const std::string& name) {
  Unit& unit = units_.at(name);
  unit.saving = true;
  while (!unit.waiting.empty()) {
    Waiting next = std::move(unit.waiting.front());
    unit.waiting.pop_front();
    if (next.value.version <= unit.durable) {
      next.done(unit.durable);
      continue;
    }
    store_.save(name, wrap(next.value),
                [this, name, version = next.value.version, done = std::move(next.done)](Result<void> result) {
                  Unit& saved = units_.at(name);
                  if (result) saved.durable = version;
                  saved.saving = false;
                  done(result ? Result(version) : Result<ha::UnitVersion>(result.error()));
                  // `done` may have begun the next one.
                  if (!saved.saving && !saved.waiting.empty()) save_next(name);
                });
    return;
  }
  unit.saving = false;
}

// --- A group's
// ---------------------------------------------------------------------------------------------------------

void ReplicatedLuStore::start(ha::Epoch epoch, const std::vector<std::string>& units, Done done) {
  end_pending("it starts again");
  if (epoch != started_in_) versions_.clear();
  started_in_ = epoch;
  epoch_ = 0;
  const uint64_t run = ++run_;
  replication_.fetch(
      group_, units,
      [this, alive = std::weak_ptr(alive_), run, epoch, units, done](const Result<void>& result) {
        if (alive.expired()) return;
        if (run != run_) {
          done(Error{ECANCELED, fmt::format("group {} was stopped", group_)});
        } else if (!result) {
          done(result);
        } else {
          epoch_ = epoch;
          renew(units, [this, run, done](const Result<void>& renewed) {
            if (!renewed && run == run_) epoch_ = 0;
            done(renewed);
          });
        }
      });
}

/// A value that was left over from a save that failed, on a node that is away, must not come back as the
/// newest after this owner has served an older one: what is served is stored as this owner's, first.
void ReplicatedLuStore::renew(const std::vector<std::string>& units, const Done& done) {
  // Shared by the ends of all saves: the last one answers.
  struct Join {
    size_t missing = 1;
    Result<void> result;
  };
  const auto join = std::make_shared<Join>();
  const auto leave = [join, done](const Result<void>& result) {
    if (!result && join->result) join->result = result;
    if (--join->missing == 0) done(join->result);
  };
  join->missing += units.size();
  for (const std::string& unit : units) {
    auto stored = local_.load(unit);
    if (!stored) {
      leave(stored.error());
      continue;
    }
    // Nothing was ever stored: that, too, is what this owner serves.
    const ha::UnitStore::Value value = stored->value_or(ha::UnitStore::Value{});
    if (value.version.epoch > epoch_) {
      leave(Error{ESTALE, fmt::format("unit {} has been stored by a later owner of group {}", unit, group_)});
      continue;
    }
    uint64_t& last = versions_[unit];
    if (value.version.epoch == epoch_) last = std::max(last, value.version.version);
    save(unit, value.bytes, leave);
  }
  leave({});
}

void ReplicatedLuStore::stop() {
  epoch_ = 0;
  ++run_;
  end_pending("it was stopped here");
}

void ReplicatedLuStore::end_pending(std::string_view why) {
  for (auto& [id, done] : std::exchange(pending_, {})) {
    done(Error{ECANCELED, fmt::format("group {}: {}", group_, why)});
  }
}

Result<std::optional<LuStore::Value>> ReplicatedLuStore::load(std::string_view name) {
  if (epoch_ == 0) return Error{EAGAIN, fmt::format("group {} is not started on this node", group_)};
  auto stored = local_.load(std::string(name));
  if (!stored) return stored.error();
  std::optional<Value> value;
  if (*stored && !(*stored)->bytes.empty()) value = std::move((*stored)->bytes);
  return value;
}

void ReplicatedLuStore::save(std::string_view name, ConstBytes bytes, SaveDone done) {
  if (epoch_ == 0) {
    done(Error{EAGAIN, fmt::format("group {} is not started on this node", group_)});
    return;
  }
  const std::string unit(name);
  const uint64_t id = ++last_id_;
  pending_[id] = std::move(done);
  // Not used twice, not even after an error: who has it may have it from this try.
  const ha::UnitVersion version{epoch_, ++versions_[unit]};
  const ha::UnitStore::Value value{version, group_, {bytes.begin(), bytes.end()}};
  // Here first: what others may have of this owner is never newer than what it finds here when it comes back.
  local_.save(unit, value,
              [this, alive = std::weak_ptr(alive_), id, unit, value](const Result<ha::UnitVersion>& result) {
                if (!alive.expired()) on_saved_here(id, unit, value, result);
              });
}

void ReplicatedLuStore::on_saved_here(uint64_t id, const std::string& unit, const ha::UnitStore::Value& value,
                                      const Result<ha::UnitVersion>& result) {
  if (!pending_.contains(id)) return;
  if (!result) {
    finish(id, result.error());
  } else if (result.value() != value.version) {
    finish(id,
           Error{ESTALE, fmt::format("unit {} has been stored by a later owner of group {}", unit, group_)});
  } else {
    replication_.replicate(group_, unit, value.version.epoch, value.version.version, value.bytes,
                           [this, alive = std::weak_ptr(alive_), id](const Result<void>& replicated) {
                             if (!alive.expired()) finish(id, replicated);
                           });
  }
}

void ReplicatedLuStore::finish(uint64_t id, const Result<void>& result) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const SaveDone done = std::move(found->second);
  pending_.erase(found);
  done(result);
}

// --- Which store
// -------------------------------------------------------------------------------------------------------

void LuStoreRouter::assign(const std::string& name, LuStore* store) {
  if (store == nullptr) {
    assigned_.erase(name);
  } else {
    assigned_[name] = store;
  }
}

bool LuStoreRouter::is_of_group(std::string_view name) const {
  return assigned_.contains(name);
}

LuStore& LuStoreRouter::of(std::string_view name) const {
  const auto found = assigned_.find(name);
  return found == assigned_.end() ? others_ : *found->second;
}

Result<std::optional<LuStore::Value>> LuStoreRouter::load(std::string_view name) {
  return of(name).load(name);
}

void LuStoreRouter::save(std::string_view name, ConstBytes bytes, SaveDone done) {
  of(name).save(name, bytes, std::move(done));
}

}  // namespace itgtd::target
