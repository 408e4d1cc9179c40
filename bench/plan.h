// Which I/O comes next on one connection, and, for --verify, what each place should hold.
//
// The range of the run is divided into units of one I/O. With verification each connection has a part of its
// own, and no two I/Os are under way on one unit when one of them writes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace itgtd::bench {

/// What a run consists of, in this order. Only `measure` counts.
enum class Phase : uint8_t { fill, measure, read_back };

struct PlannedIo {
  uint64_t unit = 0;
  bool write = false;
  /// With verification: of a write, the generation to write; of a read, the one that must be found, 0 when
  /// that is not known.
  uint32_t generation = 0;
};

class Plan {
 public:
  struct Shape {
    uint64_t first_unit = 0;
    uint64_t units = 0;  ///< at least 1; with verification more than the depth
    uint32_t read_percent = 100;
    bool random = true;
    bool verify = false;
    uint64_t seed = 1;
  };
  explicit Plan(const Shape& shape);

  /// Begins a phase. `count`: I/Os in `measure`, 0 for no limit. The others go once over the range.
  void start(Phase phase, uint64_t count);
  /// The next I/O, or nothing when the phase has no more.
  [[nodiscard]] std::optional<PlannedIo> next();
  /// Takes an I/O that next() gave back when it has ended. `good`: with status GOOD and all of its data.
  void done(const PlannedIo& io, bool good);

 private:
  // With verification, of one unit.
  struct UnitState {
    uint32_t generation = 0;
    bool known = false;  // true exactly when the last write of `generation` ended well
    bool busy = false;
  };
  uint64_t random_number();
  uint64_t pick();
  std::optional<uint64_t> next_once_over();

  Shape shape_;
  Phase phase_ = Phase::measure;
  uint64_t left_ = 0;  // I/Os of the phase still to be given
  uint64_t cursor_ = 0;
  uint64_t random_state_[2];
  std::vector<UnitState> states_;  // empty without verification
};

}  // namespace itgtd::bench
