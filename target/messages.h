// What the control thread and the workers tell each other. Rare things only; a READ or WRITE causes none of
// these.
//
// The control thread is the one writer of everything that workers share: sessions, targets, the state of
// logical units. It decides, tells every worker, and goes on when all have taken it. Each message that asks
// for an answer carries a `change` number that comes back in Taken.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/address.h"
#include "base/slab.h"
#include "scsi/command.h"
#include "scsi/logical_unit.h"
#include "target/backend/backend.h"
#include "target/claims.h"
#include "target/iscsi/directory.h"
#include "target/iscsi/parameters.h"
#include "target/iscsi/session.h"

namespace itgtd::target {

using WorkerIndex = uint32_t;
/// Names a target, a logical unit, a listener or a change for the life of the daemon. 0: none.
using Key = uint64_t;

/// A connection, wherever it is.
struct ConnectionRef {
  WorkerIndex worker = 0;
  SlotId slot;
  bool operator==(const ConnectionRef&) const = default;
};

// --- To a worker
// -----------------------------------------------------------------------------------------------

/// Listen on this socket, which the worker owns from now on.
struct AddListener {
  Key listener = 0;
  int fd = -1;
};
struct RemoveListener {
  Key listener = 0;
};

/// A connection that was accepted; the worker owns the descriptor.
struct AdoptConnection {
  int fd = -1;
  Key listener = 0;
};

struct SetDirectory {
  Key change = 0;
  std::shared_ptr<const iscsi::Directory>
      directory;  ///< owners: the control thread, workers, sessions that list it
};

struct AddTarget {
  Key change = 0;
  Key target = 0;
  std::string name;
  /// True for one of a group: GovernTarget, and the lease, matter to it.
  bool grouped = false;
  bool hold = false;
  bool mute = false;
};
/// Its sessions have been closed before.
struct RemoveTarget {
  Key change = 0;
  Key target = 0;
};

/// The commands and connections of a target whose group is moving.
struct GovernTarget {
  Key target = 0;
  /// New commands are kept; those that have begun go on.
  bool hold = false;
  /// No command begins or goes on, and nothing is sent.
  bool mute = false;
};
/// Answered when no command of the target's sessions is executing any more, or when it is held no more.
struct DrainTarget {
  Key change = 0;
  Key target = 0;
};
/// Tell every initiator that its session ends (Async Message, event 3). Answered when that has left the
/// sockets, which stay open, or when the target is held no more.
struct AnnounceTarget {
  Key change = 0;
  Key target = 0;
};
/// End every connection with the target without a word: what was queued is dropped, the sockets vanish.
/// Answered when they, and their commands, are gone.
struct EndTarget {
  Key change = 0;
  Key target = 0;
};

/// Until when groups are served: milliseconds of CLOCK_BOOTTIME. Read once a turn.
using Lease = std::atomic<int64_t>;
struct SetLease {
  std::shared_ptr<const Lease> lease;  ///< owners: the control thread and every worker
};
/// It had ended and was renewed: a worker that sleeps looks at it.
struct LeaseRenewed {};

/// A logical unit appears; each worker makes a LogicalUnit and a Backend of its own from this.
struct AddLun {
  Key change = 0;
  Key target = 0;
  Key lun_key = 0;
  uint16_t lun = 0;
  scsi::LuIdentity identity;
  bool removable = false;
  bool read_only = false;
  scsi::Geometry geometry;
  std::shared_ptr<const scsi::LuState> state;
  /// Owners: the control thread and every worker's unit; an element for each worker.
  std::shared_ptr<scsi::LuStatistics> statistics;
  /// Null: the backend is not there (yet). Owners: the control thread and every worker's copy.
  std::shared_ptr<backend::Medium> medium;
  /// True for one that comes while the target serves: nexuses are told that REPORT LUNS would answer
  /// otherwise.
  bool announce = false;
};
/// The device of a logical unit that had none is there now; a PublishState behind it says that it is ready.
struct AttachMedium {
  Key change = 0;
  Key lun_key = 0;
  scsi::Geometry geometry;
  std::shared_ptr<backend::Medium> medium;
};
/// Answered when no command uses it any more.
struct RemoveLun {
  Key change = 0;
  Key lun_key = 0;
};

/// Answered when every connection with this target whose peer has gone, or logged out, as far as the kernel
/// knows by now, has been ended and SessionClosed been posted for it. Those with commands in a backend
/// excepted.
struct SettleConnections {
  Key change = 0;
  Key target = 0;
};

/// The shared state of a logical unit changed.
struct PublishState {
  Key change = 0;
  Key lun_key = 0;
  std::shared_ptr<const scsi::LuState> state;  ///< null: only the unit attentions
  std::vector<scsi::UnitAttentionRaise> unit_attentions;
};

/// A command that asked for an Update ends, or goes on, with this.
struct CommandDecided {
  SlotId task;
  scsi::Done done;
  scsi::AfterUpdate after = scsi::AfterUpdate::done;
  std::vector<std::byte> data_in;
};

/// Hold new commands of a target's LUN, or of all of them, end those in flight, say when they are gone.
struct Hold {
  Key change = 0;
  Key barrier = 0;
  Key target = 0;
  bool all_luns = false;
  uint16_t lun = 0;
  /// Only the commands of `nexus` are ended, and none are held: I_T NEXUS RESET.
  bool only_nexus = false;
  /// Not empty: only the commands of these ports are ended, and none are held: PREEMPT AND ABORT.
  std::vector<scsi::InitiatorPort> only_ports;
  /// Not none: nexuses other than `nexus` that lose a command this way are told so.
  scsi::Asc tell_others = scsi::Asc::none;
  scsi::NexusId nexus = 0;
};
struct Lift {
  Key barrier = 0;
};
struct ManagementDone {
  ConnectionRef connection;
  iscsi::ManagementRequest request;
  iscsi::TaskManagementOutcome outcome = iscsi::TaskManagementOutcome::function_complete;
};

/// The registry has admitted the session: finish the login.
struct SessionOpened {
  SlotId connection;
  Key target = 0;  ///< 0: a discovery session
  scsi::NexusId nexus = 0;
  uint16_t tsih = 0;
  /// What its initiator port has not been told yet, by LUN.
  struct Attention {
    uint16_t lun = 0;
    scsi::Asc asc = scsi::Asc::none;
  };
  std::vector<Attention> unit_attentions = {};
};
/// It can't be: the login ends with this status.
struct SessionRefused {
  SlotId connection;
  uint16_t login_status = 0;
};
/// End the session: another one takes its place, or the configuration no longer allows it.
struct CloseSession {
  SlotId connection;
  /// Tell the initiator by Async Message before.
  bool announce = false;
  std::string reason;  ///< for the log
};

/// Finish what is in flight, tell every initiator, close everything; answered by Stopped.
struct Stop {};
/// Every worker has stopped, and none needs this one for a claim any more: leave.
struct Quit {};

// --- Between workers: claims. The first worker has the ClaimTable.

struct RequestClaim {
  ClaimTable::Owner owner;
  scsi::Claim ranges;
};
struct ReleaseClaim {
  ClaimId claim = 0;
};
/// From the table to every worker: hold new commands on these blocks, say BlocksQuiet when those in flight
/// are over.
struct HoldBlocks {
  ClaimTable::Turn turn;
};
struct BlocksQuiet {
  ClaimId claim = 0;
};
struct ClaimGranted {
  SlotId task;
  ClaimId claim = 0;
};
struct LiftBlocks {
  ClaimId claim = 0;
};

using WorkerMessage =
    std::variant<AddListener, RemoveListener, AdoptConnection, SetDirectory, AddTarget, RemoveTarget,
                 GovernTarget, DrainTarget, AnnounceTarget, EndTarget, SetLease, LeaseRenewed, AddLun,
                 AttachMedium, RemoveLun, SettleConnections, PublishState, CommandDecided, Hold, Lift,
                 ManagementDone, SessionOpened, SessionRefused, CloseSession, Stop, Quit, RequestClaim,
                 ReleaseClaim, HoldBlocks, BlocksQuiet, ClaimGranted, LiftBlocks>;

// --- To the control thread
// -----------------------------------------------------------------------------------------

/// A worker has taken the change with this number.
struct Taken {
  Key change = 0;
  WorkerIndex worker = 0;
};

struct Accepted {
  int fd = -1;
  Key listener = 0;
};
struct ConnectionClosed {
  ConnectionRef connection;
  /// True exactly when it had not reached the full feature phase.
  bool during_login = false;
};

/// A login is complete but for the registry.
struct OpenSession {
  ConnectionRef connection;
  iscsi::SessionIdentity identity;
  Address peer;
  Address local;
  Key listener = 0;
};
struct SessionClosed {
  ConnectionRef connection;
  scsi::NexusId nexus = 0;
  /// False: the connection was gone, or going, when it was told that its session is open; its
  /// ConnectionClosed says that it was logging in.
  bool was_open = true;
};

/// A command wants the shared state of its logical unit changed. The command stays frozen in the worker until
/// CommandDecided.
struct DecideUpdate {
  WorkerIndex worker = 0;
  SlotId task;
  Key lun_key = 0;
  scsi::NexusId nexus = 0;
  const scsi::Command* command = nullptr;
  scsi::Decide* decide = nullptr;
};

/// A command is about to write blocks that a token stands for (scsi::LuState::tokens): it is held until the
/// state says that no token does.
struct BreakTokens {
  Key lun_key = 0;
  uint64_t lba = 0;
  uint64_t blocks = 0;
};

/// A task management function that concerns other sessions too.
struct Manage {
  ConnectionRef connection;
  Key target = 0;
  scsi::NexusId nexus = 0;
  iscsi::ManagementRequest request;
};

struct Stopped {
  WorkerIndex worker = 0;
};

/// A nexus was told a unit attention about reservations (scsi/registrant_attentions.h).
struct AttentionTold {
  Key target = 0;
  uint16_t lun = 0;
  scsi::InitiatorPort port;
  scsi::Asc asc = scsi::Asc::none;
  uint64_t generation = 0;  ///< of the unit's state then
};

using ControlMessage = std::variant<Taken, Accepted, ConnectionClosed, OpenSession, SessionClosed,
                                    DecideUpdate, BreakTokens, Manage, Stopped, AttentionTold>;

}  // namespace itgtd::target
