// Who may touch which blocks alone: the order among commands that claim blocks (scsi::Claim).
//
// Pure: it is told what happened and returns what to do. One worker, the first, owns it for all of them. A
// claim goes through
//
//   asked for  ->  its turn: every worker holds new commands on the blocks  ->  quiet: those in flight on
//   every worker are over  ->  granted  ->  released: the workers go on, and it is the next one's turn
//
// Claims that overlap get their turn in the order in which they were asked for; others do not wait for each
// other. It has no deadline of its own: what it waits for are transfers that the backend has, and those who
// hold claims, which are as slow as the medium.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/slab.h"
#include "scsi/command.h"

namespace itgtd::target {

/// Names a claim for the life of the daemon. 0: none.
using ClaimId = uint64_t;

class ClaimTable {
 public:
  struct Owner {
    uint32_t worker = 0;
    SlotId task;
    bool operator==(const Owner&) const = default;
  };
  struct Turn {
    ClaimId claim = 0;
    scsi::Claim ranges;
  };
  struct Grant {
    Owner owner;
    ClaimId claim = 0;
  };
  /// What is to be done after a call, in this order.
  struct Actions {
    std::vector<ClaimId> lift;  ///< every worker may run commands on these blocks again
    std::vector<Turn> hold;     ///< every worker holds these blocks, and says on_quiet() once
    std::vector<Grant> granted;
  };

  explicit ClaimTable(size_t workers) : workers_(workers) {}

  Actions request(const Owner& owner, const scsi::Claim& ranges);
  /// A worker has nothing in flight on the blocks of `claim` any more.
  Actions on_quiet(ClaimId claim);
  Actions release(ClaimId claim);

  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    ClaimId claim = 0;
    Owner owner;
    scsi::Claim ranges;
    bool has_turn = false;
    size_t not_quiet = 0;  ///< workers, once it has its turn
  };
  [[nodiscard]] Entry* find(ClaimId claim);
  void give_turns(Actions& actions);

  size_t workers_;
  std::vector<Entry> entries_;  ///< in the order in which they were asked for
  ClaimId last_ = 0;
};

/// True exactly when the two have a block in common.
[[nodiscard]] bool overlap(const scsi::Claim& a, const scsi::Claim& b);
[[nodiscard]] bool overlap(const scsi::Claim& claim, const scsi::ClaimedRange& range);

}  // namespace itgtd::target
