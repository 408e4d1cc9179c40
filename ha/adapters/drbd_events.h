// One line of `drbdsetup events2`, of DRBD 8.4 and 9 alike. Pure.
//
//   exists device name:r0 volume:0 minor:0 disk:UpToDate ...      drbdsetup(8), events2
//   exists -                                                      the initial dump is complete
//   - skipped 3                                                   8.4: events were lost
//
// Keys that are not known here are kept and ignored by whoever does not look for them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace itgtd::ha {

struct DrbdEvent {
  enum class Action : uint8_t {
    exists,
    create,
    change,
    destroy,
    rename,
    dump_complete,  ///< "exists -"
    skipped,        ///< events were lost: what is known may be wrong
    other,          ///< calls of helpers and their responses, and what later versions add
  };
  enum class Object : uint8_t { none, resource, device, connection, peer_device, other };

  Action action = Action::other;
  Object object = Object::none;
  std::map<std::string, std::string, std::less<>> fields;  ///< "name:r0" as {"name", "r0"}

  /// The value of `key`; empty when the line does not have it.
  [[nodiscard]] std::string_view field(std::string_view key) const;
};

/// Nothing: not a line of events2 (a usage text, an error message).
[[nodiscard]] std::optional<DrbdEvent> parse_drbd_event(std::string_view line);

}  // namespace itgtd::ha
