// What executes scsi::Io: a medium that is opened once, and a backend for it in every worker.
//
// Medium   the disk, file or memory; opened on the control thread (it may block), shared by all workers,
// immutable Backend  a worker's way to it: takes operations, hands back finished ones in a list that the
// worker drains
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/intrusive_list.h"
#include "base/result.h"
#include "net/op_id.h"
#include "net/ring.h"
#include "scsi/command.h"
#include "scsi/logical_unit.h"

namespace itgtd::backend {

struct CompletedTag;
struct WaitingTag;

/// One Io on its way. Lives in the worker's task; the backend owns the list links and `progress` until it is
/// completed.
struct BackendOp : ListLink<CompletedTag>, ListLink<WaitingTag> {
  scsi::Io io;
  scsi::IoResult result;
  /// Kind backend, slot of the task: what the ring gives back.
  net::OpId op;

  // The backend's own.
  uint64_t bytes_done = 0;
  uint8_t stage = 0;
  uint8_t retries = 0;     ///< since the last byte
  bool may_block = false;  ///< it counts against what the medium may keep of the kernel's workers
};

using CompletedList = IntrusiveList<BackendOp, CompletedTag>;

/// Settings of a LUN that matter to its medium.
struct MediumOptions {
  std::string path;  ///< block device, file, "ram:1G", "null:1G"
  uint32_t block_bytes = 512;
  uint32_t physical_block_bytes = 0;  ///< 0: what the medium says
  uint64_t create_bytes = 0;          ///< not 0: a file that is not there is made, sparse, of this size
  bool read_only = false;
  /// Other nodes have it open: one that hangs still holds its lock, and the lease says who may write. The
  /// lock is then one that only daemons outside the cluster respect.
  bool shared = false;
  enum class Thin { automatic, on, off } thin = Thin::automatic;
};

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  /// Nothing may be in flight.
  virtual ~Backend() = default;
  /// Starts `op`. It may be in the completed list before this returns; it never fails otherwise than by its
  /// result. `op` stays where it is until then.
  virtual void submit(BackendOp& op) = 0;
  /// The ring finished an operation that carried `op`'s id.
  virtual void on_completion(BackendOp& op, int32_t result) = 0;
  /// Asks for an early end of `op`: if it is not completed yet it completes with ECANCELED, perhaps before
  /// this returns, or as if nothing had been asked. What the kernel has begun can't be stopped.
  virtual void cancel(BackendOp& op) = 0;
};

class Medium {
 public:
  Medium() = default;
  Medium(const Medium&) = delete;
  Medium& operator=(const Medium&) = delete;
  virtual ~Medium() = default;
  /// Opens what `options.path` names. May block; control thread. An error says what is wrong with the path
  /// and what to do. A block device that is to be written is claimed (O_EXCL) and a file is locked (flock),
  /// so that what is mounted, or served already, is refused with EBUSY: close the old medium before opening
  /// the same path again, or share it. `options.shared`: a file may be open on other nodes.
  static Result<std::shared_ptr<Medium>> open(const MediumOptions& options);

  [[nodiscard]] virtual scsi::Geometry geometry() const = 0;
  /// Size in bytes now: a device that grew says so here. May block.
  [[nodiscard]] virtual Result<uint64_t> size_bytes() const = 0;
  /// How full the medium is, in its blocks; known is false when it can't be told. May block; control thread.
  [[nodiscard]] virtual scsi::ThinUsage thin_usage() const { return {}; }
  /// True when the kernel could not write what it had accepted (a failed fdatasync of a file or of the page
  /// cache): it forgets such data, so every flush and every durable write fails with EIO until the medium is
  /// opened anew. Any thread.
  [[nodiscard]] virtual bool has_lost_writes() const { return false; }
  /// Makes durable what was written and is complete. Any thread; blocks. An error names the medium: its data
  /// may be lost.
  [[nodiscard]] virtual Result<void> flush() { return {}; }
  /// A worker's backend. `ring` and `completed` outlive it. The worker's thread.
  [[nodiscard]] virtual std::unique_ptr<Backend> make_backend(net::Ring& ring, CompletedList& completed) = 0;
};

}  // namespace itgtd::backend
