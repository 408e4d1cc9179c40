// DRBD's configuration as `drbdadm dump` prints it, and what of it is unsafe. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ha/adapters/finding.h"

namespace itgtd::ha {

/// By option, the values of all sections of a resource that set it: each connection may have its own.
using DrbdSettings = std::map<std::string, std::vector<std::string>, std::less<>>;

/// Of each resource, what its sections net, disk and options say, with the section common for what they leave
/// out. An option without a value is "yes".
[[nodiscard]] std::map<std::string, DrbdSettings, std::less<>> parse_drbd_dump(std::string_view dump);

/// `kernel_version`: as drbdadm --version says, 0x08040b for 8.4.11; 0 when it does not know.
[[nodiscard]] std::vector<Finding> judge_drbd_settings(const std::string& resource,
                                                       const DrbdSettings& settings, uint32_t kernel_version);

/// The number behind DRBD_KERNEL_VERSION_CODE= in the output of drbdadm --version; 0: not there.
[[nodiscard]] uint32_t parse_drbd_kernel_version(std::string_view version);

}  // namespace itgtd::ha
