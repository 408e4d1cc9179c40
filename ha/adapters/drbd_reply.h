// What drbdadm and drbdsetup say when they do not do what was asked. Pure.
//
// The exit status says little (11 is any refused state change), so the number in "State change failed: (-2)
// ..." is read: enum drbd_state_rv of drbd.h, below zero; enum drbd_ret_code, above 100.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ha/adapters/command.h"

namespace itgtd::ha {

struct DrbdReply {
  enum class Verdict : uint8_t {
    ok,
    again,           ///< somebody is about to change: the peer that is Primary, a state in transition
    in_use,          ///< a program holds the device open
    not_here,        ///< this node can't, as things are: no disk, no UpToDate data, no quorum
    absent,          ///< the resource is not configured on this node, or there is no DRBD
    down,            ///< the resource is not there
    unknown_option,  ///< these tools are older than the option
    failed,          ///< anything else
  };
  Verdict verdict = Verdict::ok;
  int32_t number = 0;  ///< 0: it said none
  std::string text;    ///< what it said, in one line; with who has the device open, where DRBD lists it
};

[[nodiscard]] DrbdReply parse_drbd_reply(std::string_view command, const CommandResult& result);

}  // namespace itgtd::ha
