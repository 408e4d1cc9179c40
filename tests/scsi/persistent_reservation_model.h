// Persistent reservations as the tables of SPC-4 have them, in the plainest words: four nexuses, and for each
// action a line for each row of its table. Written apart from scsi/persistent_reservations.cc and in another
// way: a set of holders instead of an index, keys by nexus instead of a list.
#pragma once

#include <array>
#include <cstdint>
#include <set>

#include "scsi/sense.h"

namespace itgtd::scsi::testing {

class PersistentReservationModel {
 public:
  static constexpr int kNexuses = 4;
  enum class Answer : uint8_t { good, conflict, invalid_cdb, invalid_list, invalid_release };
  struct Call {
    int nexus = 0;
    uint64_t key = 0;
    uint64_t action_key = 0;
    uint8_t scope_and_type = 0;
    bool persist = false;
    bool specify = false;     // SPEC_I_PT
    std::set<int> specified;  // whom it names
    int destination = 0;      // of REGISTER AND MOVE
    bool unregister = false;  // UNREG
  };

  std::array<uint64_t, kNexuses> keys{};  // 0: not registered
  uint8_t type = 0;                       // 0: no reservation
  int holder = -1;                        // -1: nobody, or everybody who is registered
  uint32_t generation = 0;
  bool persist = false;
  // What the last call did beside.
  std::array<std::set<Asc>, kNexuses> told;
  std::set<int> aborted;

  [[nodiscard]] bool all_registrants() const { return type == 7 || type == 8; }
  [[nodiscard]] bool registrants_only() const { return type == 5 || type == 6; }
  [[nodiscard]] bool exclusive_access() const { return type == 3 || type == 6 || type == 8; }
  [[nodiscard]] bool registered(int nexus) const { return keys[static_cast<size_t>(nexus)] != 0; }
  [[nodiscard]] uint64_t key_of(int nexus) const { return keys[static_cast<size_t>(nexus)]; }
  [[nodiscard]] bool holds(int nexus) const {
    return type != 0 && registered(nexus) && (all_registrants() || holder == nexus);
  }

  // SPC-4 and SBC-3, commands that are allowed in the presence of various reservations.
  [[nodiscard]] bool may_read(int nexus) const {
    if (type == 0 || holds(nexus)) return true;
    if (registered(nexus) && (registrants_only() || all_registrants())) return true;
    return !exclusive_access();
  }
  [[nodiscard]] bool may_write(int nexus) const {
    if (type == 0 || holds(nexus)) return true;
    return registered(nexus) && (registrants_only() || all_registrants());
  }

  Answer register_key(const Call& call, bool ignore_existing) {
    begin();
    if (ignore_existing && call.specify) return Answer::invalid_list;
    if (!ignore_existing && call.key != key_of(call.nexus)) return Answer::conflict;
    if (registered(call.nexus) && call.specify) return Answer::invalid_list;
    if (!registered(call.nexus) && call.action_key == 0) return Answer::good;
    for (const int other : call.specified) {
      if (registered(other)) return Answer::invalid_list;
    }
    if (call.action_key == 0) {
      remove(call.nexus, call.nexus);
    } else {
      set(call.nexus, call.action_key);
      for (const int other : call.specified) set(other, call.action_key);
    }
    persist = call.persist;
    ++generation;
    return Answer::good;
  }

  Answer reserve(const Call& call) {
    begin();
    if (!authentic(call)) return Answer::conflict;
    if (!is_type(call.scope_and_type)) return Answer::invalid_cdb;
    if (type != 0) return holds(call.nexus) && type == call.scope_and_type ? Answer::good : Answer::conflict;
    establish(call);
    return Answer::good;
  }

  Answer release(const Call& call) {
    begin();
    if (!authentic(call)) return Answer::conflict;
    if (!holds(call.nexus)) return Answer::good;
    if (type != call.scope_and_type) return Answer::invalid_release;
    if (registrants_only() || all_registrants()) tell_registered_but(call.nexus, Asc::reservations_released);
    type = 0;
    holder = -1;
    return Answer::good;
  }

  Answer clear(const Call& call) {
    begin();
    if (!authentic(call)) return Answer::conflict;
    tell_registered_but(call.nexus, Asc::reservations_preempted);
    keys = {};
    type = 0;
    holder = -1;
    ++generation;
    return Answer::good;
  }

  Answer preempt(const Call& call) {
    begin();
    if (!authentic(call)) return Answer::conflict;
    const bool everybody = call.action_key == 0;
    if (everybody && !all_registrants()) return Answer::invalid_list;
    const bool replaces = everybody || (holder >= 0 && key_of(holder) == call.action_key);
    if (replaces && !is_type(call.scope_and_type)) return Answer::invalid_cdb;
    std::set<int> lost;
    for (int nexus = 0; nexus < kNexuses; ++nexus) {
      const bool named = registered(nexus) && (everybody || key_of(nexus) == call.action_key);
      if (named && !(replaces && nexus == call.nexus)) lost.insert(nexus);
    }
    if (!replaces && lost.empty()) return Answer::conflict;
    for (const int nexus : lost) {
      set(nexus, 0);
      if (nexus == call.nexus) continue;
      tell(nexus, Asc::registrations_preempted);
      aborted.insert(nexus);
    }
    if (replaces) {
      if (type != call.scope_and_type) tell_registered_but(call.nexus, Asc::reservations_released);
      establish(call);
    } else if (all_registrants() && nobody()) {
      type = 0;
    }
    ++generation;
    return Answer::good;
  }

  Answer move(const Call& call) {
    begin();
    if (!authentic(call)) return Answer::conflict;
    if (type == 0) return Answer::invalid_cdb;
    if (all_registrants() || holder != call.nexus) return Answer::conflict;
    if (call.action_key == 0 || call.destination == call.nexus) return Answer::invalid_list;
    set(call.destination, call.action_key);
    holder = call.destination;
    if (call.unregister) set(call.nexus, 0);
    persist = call.persist;
    ++generation;
    return Answer::good;
  }

 private:
  static bool is_type(uint8_t code) {
    return code == 1 || code == 3 || code == 5 || code == 6 || code == 7 || code == 8;
  }
  void begin() {
    told = {};
    aborted.clear();
  }
  void set(int nexus, uint64_t key) { keys[static_cast<size_t>(nexus)] = key; }
  void tell(int nexus, Asc asc) { told[static_cast<size_t>(nexus)].insert(asc); }
  [[nodiscard]] bool authentic(const Call& call) const {
    return registered(call.nexus) && key_of(call.nexus) == call.key;
  }
  [[nodiscard]] bool nobody() const { return keys == std::array<uint64_t, kNexuses>{}; }
  void tell_registered_but(int asking, Asc asc) {
    for (int nexus = 0; nexus < kNexuses; ++nexus) {
      if (nexus != asking && registered(nexus)) tell(nexus, asc);
    }
  }
  void establish(const Call& call) {
    type = call.scope_and_type;
    holder = all_registrants() ? -1 : call.nexus;
  }
  void remove(int nexus, int asking) {
    const bool ends = holder == nexus;
    const bool tells = ends && registrants_only();
    set(nexus, 0);
    if (tells) tell_registered_but(asking, Asc::reservations_released);
    if (ends || nobody()) {
      type = 0;
      holder = -1;
    }
  }
};

}  // namespace itgtd::scsi::testing
