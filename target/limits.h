// Bounds of the daemon and the memory budget of a worker, each with its reason.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/buddy_pool.h"

namespace itgtd::target {

/// Connections of the whole daemon: a flood must not use up descriptors. Beyond it a new one is closed at
/// once.
inline constexpr uint32_t kConnectionsMax = 16384;
/// Connections that have not logged in yet: a flood of silent ones must not keep the others out.
inline constexpr uint32_t kLoginsPendingMax = 4096;

/// Connections that the kernel holds until they are accepted: a burst of a thousand logins must not meet a
/// reset.
inline constexpr int kListenBacklog = 1024;

/// Data memory of one worker: what all reads and writes in flight share. Registered with the ring, so it
/// counts as locked memory.
inline constexpr size_t kDataBytesPerWorker = size_t{32} << 20;
static_assert(kDataBytesPerWorker % BuddyPool::kBlockBytesMax == 0);

/// Commands in flight of one worker: 32 sessions with a full window of 128.
inline constexpr uint32_t kTasksPerWorker = 4096;

/// PDUs queued or being sent by one worker:
///   kTasksPerWorker      one answer of each task
/// + kTasksPerWorker      a second one: R2T beside Data-In beside status
/// + kConnectionsMax      a NOP-In, Text, Login or Logout answer for every connection
inline constexpr uint32_t kPdusPerWorker = 2 * kTasksPerWorker + kConnectionsMax;

/// Bytes that one receive may bring beside the body of a large segment: eight 4 KiB writes with immediate
/// data, or 680 headers.
inline constexpr size_t kReceiveBufferBytes = size_t{32} << 10;

/// Pieces and bytes that one sendmsg gathers: 64 answers to 4 KiB reads, and no more than a socket buffer
/// takes at once.
inline constexpr size_t kSendPiecesMax = 192;
inline constexpr size_t kSendBytesMax = size_t{1} << 20;

/// What a target declares as MaxRecvDataSegmentLength: with FirstBurstLength 262144, writes of 256 KiB need
/// no R2T.
inline constexpr uint32_t kMaxRecvDataSegmentLength = 262144;
/// The longest data segment of a login or of a request without a declared length. RFC 7143 §13.12.
inline constexpr uint32_t kLoginSegmentMax = 8192;

/// From accept to the full feature phase, in total: slow logins hold no slot. LIO: 15 s.
inline constexpr std::chrono::seconds kLoginTime{15};
/// Logins that wait for their group to be served by this node: others must still be able to log in.
inline constexpr size_t kParkedLoginsMax = kLoginsPendingMax / 2;
/// How long one waits: initiators give up after 15 s (open-iscsi), and a new attempt may find another node.
inline constexpr std::chrono::seconds kParkedLoginTime{10};
static_assert(kParkedLoginTime < kLoginTime);
/// How long the Async Messages of a group that is handed over may take to leave, if draining took all the
/// time that there was.
inline constexpr std::chrono::milliseconds kAnnounceTime{200};
/// A silent initiator is asked after this time whether it lives (NOP-In) ...
inline constexpr std::chrono::seconds kIdleBeforeNop{10};
/// ... and has this long to answer, or to read what was sent to it.
inline constexpr std::chrono::seconds kNopTime{5};
inline constexpr std::chrono::seconds kSendStallTime{30};

/// How long a task management function waits for commands in flight before it says that it could not be done.
inline constexpr std::chrono::seconds kBarrierTime{30};
/// How long SIGTERM lets commands in flight finish. systemd kills after 90 s.
inline constexpr std::chrono::seconds kDrainTime{5};
/// How often a device that was missing is looked for.
inline constexpr std::chrono::seconds kMediumRetryTime{2};

/// How often media are looked at: lost writes, sizes, how full they are.
inline constexpr std::chrono::seconds kMediumWatchTime{5};

/// Completions reaped per turn: bounds the time between two looks at the timers.
inline constexpr size_t kCompletionsPerTurn = 256;

/// How long an adaptive worker goes on looking after a busy turn before it sleeps: the cost of a few
/// wake-ups.
inline constexpr std::chrono::microseconds kSpinTime{40};

}  // namespace itgtd::target
