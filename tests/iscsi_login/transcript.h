// Login conversations as text: a script of requests, and the answers that they get.
//
//   # a comment
//   > T CSG=0 NSG=1 [C] [isid=N tsih=N cid=N itt=N cmdsn=N vmin=N opcode=N ahs=N]
//     InitiatorName=iqn...          a pair; its zero byte is added, unless the line ends with a backslash
//     X-{repeat k 60}=1             text that is repeated
//     {keys 2048}                   that many pairs "k0=b" with distinct keys
//     CHAP_R={response secret}      computed from the last CHAP_A, CHAP_I and CHAP_C; {response64 secret}
//     CHAP_C={reflect}              the last CHAP_C of the target
//   < T CSG=0 NSG=1 status=0x0000 StatSN=1 ...
//     TargetPortalGroupTag=1        a part of a pair ends with a backslash
//   ! why it failed
//   = what was agreed on
//
// Lines that begin with < ! = and what is indented below them are written by the run.
#pragma once

#include <string>
#include <string_view>

namespace itgtd::iscsi::testing {

/// Runs the script anew and returns it with the answers of this run.
std::string run_transcript(std::string_view script);

}  // namespace itgtd::iscsi::testing
