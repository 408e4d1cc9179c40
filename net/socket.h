// Sockets that listen, and what a connection of ours is set to.
#pragma once

#include "base/address.h"
#include "base/result.h"

namespace itgtd::net {

/// A listening socket on `address`: SO_REUSEADDR, IP_FREEBIND (the address may arrive later), IPV6_V6ONLY,
/// close-on-exec. Blocking, as every descriptor that only a ring uses: io_uring waits for those, and answers
/// -EAGAIN at once for non-blocking ones. The caller owns the descriptor.
Result<int> listen_on(const Address& address, int backlog);

/// The two ends of a connected socket.
Result<Address> local_address(int fd);
Result<Address> peer_address(int fd);

/// What a connection of ours wants: TCP_NODELAY, keep-alive as a last resort, buffers of 1 MiB or more where
/// the system allows.
void tune_connection(int fd);

/// Bytes that were given to the socket and have not been sent for the first time. 0 when it can't be told.
int unsent_bytes(int fd);

/// From now on closing the socket drops what is queued in it and resets the connection.
void reset_on_close(int fd);

}  // namespace itgtd::net
