// Serials that the operator did not write: made once, kept in state_dir, the same after every restart.
//
// A serial belongs to the disk: it is kept by the path as the configuration writes it. Kept by LUN number, it
// would stay where it is when a LUN is put in front of the others, and initiators would find other data under
// a WWID that they know. Kept by the device that the path leads to, it would follow names like /dev/sdb,
// which change from boot to boot. A path that changes gives a new serial, which can confuse but never mixes
// up two disks. A memory disk has no path of its own: it is kept by target and LUN number.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "target/config/config.h"

namespace itgtd::config {

/// Hexadecimal digits of a made serial: 64 random bits.
inline constexpr size_t kMadeSerialDigits = 16;
/// Bounds what is read at start; some twenty thousand disks.
inline constexpr size_t kSerialsFileBytesMax = size_t{4} << 20;

/// The file in `state_dir`.
[[nodiscard]] std::string serials_path(const std::string& state_dir);

/// Fills with random bytes: random_bytes of base/random.h outside of tests.
using RandomSource = std::function<void(Bytes)>;

/// Gives each LUN without a serial its own, from `config.daemon.state_dir` or new. New ones are durable when
/// this returns: a crash leaves either the old file or the new one. On an error the configuration must not be
/// served: its disks would have other WWIDs after the next start. Blocks; control thread, and only one daemon
/// a directory.
[[nodiscard]] Result<void> fill_serials(Config& config, const RandomSource& random);

}  // namespace itgtd::config
