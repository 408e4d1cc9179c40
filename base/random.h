// Random bytes that nobody can guess: challenges, serial numbers. By OpenSSL, which takes them from the
// kernel.
#pragma once

#include "base/bytes.h"

namespace itgtd {

/// Fills `to`. Aborts when the system has no randomness to give: nothing that needs it could be safe. Any
/// thread.
void random_bytes(Bytes to);

}  // namespace itgtd
