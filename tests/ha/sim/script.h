// A scenario as text: a cluster, what happens to it, and what must come out. Its transcript is compared with
// a golden one; what it expects is checked whatever the golden one says.
//
//   nodes 3 [votes 2 1 1]          a, b, c, ...
//   timing TOKEN CONSENSUS         milliseconds; 1000 1200 without it
//   isolated EXTRA                 how much later a side without quorum may notice
//   group NAME drbd|shared vips N nodes a,b [failback]
//   boot [a b ...]                 everything above comes before it
//   run MS                         time passes
//   cut a | b c ; cut-cluster ... ; cut-disks ... ; heal
//   crash a ; boot a ; kill a ; start a ; pause a ; resume a ; hang a ; go-on a ; stop a
//   corosync-end a ; corosync-start a ; corosync-hang a ; corosync-go-on a ; ghost a
//   move GROUP NODE|- ; drain a ; undrain a ; maintenance on|off
//   promote-fails NODE GROUP retry|never COUNT ; promote-takes NODE GROUP MS
//   demote-fails NODE GROUP COUNT  without force
//   vip-fails NODE GROUP VIP on|off ; link NODE GROUP VIP up|down ; address-removed NODE GROUP VIP
//   disk NODE GROUP usable|diskless|unusable|inconsistent
//   mark GROUP                     pauses are counted from here
//   expect served GROUP by NODE within MS
//   expect unserved GROUP within MS
//   expect stays GROUP NODE for MS      served by it all the time, at least from lease to lease
//   expect silent GROUP for MS          served by nobody all the time
//   expect owner GROUP NODE             every daemon that runs says so
//   expect pause GROUP below MS         since `mark`
//   expect vips GROUP NODE N            that many of its addresses are there
//   expect settled within MS            one server each, all agree, nothing lost, no leftovers
#pragma once

#include <string>

namespace itgtd::ha::sim {

struct ScriptResult {
  std::string transcript;
  std::string problem;  ///< "line 12: ..."; empty: all went as expected
};
[[nodiscard]] ScriptResult run_script(const std::string& text);

}  // namespace itgtd::ha::sim
