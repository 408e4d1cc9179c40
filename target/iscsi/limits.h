// Bounds of the iSCSI layer, each with its reason.
#pragma once

#include <cstdint>

namespace itgtd::iscsi {

/// Commands that a session may have in flight. open-iscsi queues up to 128 by default
/// (node.session.cmds_max); more would let one session take a large part of the worker's tasks.
inline constexpr uint32_t kCommandWindow = 128;

/// Tasks that one session may hold, with those whose answer has not left yet: what an initiator that sends
/// but does not read can take.
inline constexpr uint32_t kSessionTasksMax = 2 * kCommandWindow;

/// Tasks of a worker: a target transfer tag names one in 16 bits.
inline constexpr uint32_t kTaskSlotsMax = 1U << 16;

/// R2Ts in flight for one command, whatever was negotiated: a target transfer tag has three bits for them.
inline constexpr uint32_t kOutstandingR2tMax = 8;

/// PDUs waiting to be sent above which a session asks for a pause in receiving, and those at which it gives
/// up on a peer that sends but does not read. One 64 KiB receive can bring 1365 PDUs that each ask for an
/// answer; the pause comes long before.
inline constexpr uint32_t kSendQueuePause = 256;
inline constexpr uint32_t kSendQueueMax = 1024;

/// Task management functions of one session in progress. Initiators have one or two; more get "function
/// rejected".
inline constexpr uint32_t kManagementPendingMax = 16;

/// Bytes of a text request or answer over all its PDUs, and how many PDUs a request may come in. A list of
/// 500 targets with two portals each takes about 60 KiB.
inline constexpr uint32_t kTextBytesMax = 64U << 10;
inline constexpr uint32_t kTextRequestsMax = 16;

/// One PDU of a text answer, even if the initiator would take more: bounds the buffer.
inline constexpr uint32_t kTextSegmentBytesMax = 32U << 10;

/// A key's name. RFC 7143 §6.1.
inline constexpr uint32_t kTextKeyBytesMax = 63;

}  // namespace itgtd::iscsi
