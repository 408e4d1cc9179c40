// Assertions that stay on in every build.
//
// An assertion guards against a bug of our own. What a peer, a disk, the cluster or an operator can cause is
// never asserted: it ends the PDU, the command, the connection or the configuration load, in that order.
#pragma once

namespace itgtd {

/// Prints the failed expression with its place on standard error and aborts. Any thread.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace itgtd

#define ITGTD_ASSERT(expression)                                  \
  do {                                                            \
    if (!(expression)) [[unlikely]]                               \
      ::itgtd::assertion_failed(#expression, __FILE__, __LINE__); \
  } while (false)
