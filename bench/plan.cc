#include "bench/plan.h"

#include "base/assert.h"

namespace itgtd::bench {
namespace {

/// splitmix64: turns any seed into well mixed state.
uint64_t mix(uint64_t& state) {
  state += 0x9E37'79B9'7F4A'7C15;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
  z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
  return z ^ (z >> 31);
}

/// A number below `bound` out of 64 random bits, without a division.
uint64_t scale(uint64_t random, uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(random) * bound) >> 64);
}

}  // namespace

Plan::Plan(const Shape& shape) : shape_(shape), random_state_{} {
  ITGTD_ASSERT(shape.units > 0);
  uint64_t seed = shape.seed;
  for (uint64_t& word : random_state_) word = mix(seed);
  if (shape.verify) states_.resize(shape.units);
}

void Plan::start(Phase phase, uint64_t count) {
  phase_ = phase;
  cursor_ = 0;
  left_ = phase != Phase::measure ? shape_.units : count == 0 ? UINT64_MAX : count;
}

uint64_t Plan::random_number() {
  // xoroshiro128+
  const uint64_t a = random_state_[0];
  uint64_t b = random_state_[1];
  const uint64_t result = a + b;
  b ^= a;
  random_state_[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
  random_state_[1] = (b << 37) | (b >> 27);
  return result;
}

uint64_t Plan::pick() {
  uint64_t at;
  if (shape_.random) {
    at = scale(random_number(), shape_.units);
  } else {
    at = cursor_;
  }
  // There are more units than I/Os under way, so this ends.
  while (shape_.verify && states_[at].busy) at = at + 1 == shape_.units ? 0 : at + 1;
  cursor_ = at + 1 == shape_.units ? 0 : at + 1;
  return at;
}

std::optional<uint64_t> Plan::next_once_over() {
  while (left_ > 0) {
    const uint64_t at = shape_.units - left_--;
    if (phase_ == Phase::fill || !shape_.verify || states_[at].known) return at;
  }
  return std::nullopt;
}

std::optional<PlannedIo> Plan::next() {
  if (left_ == 0) return std::nullopt;
  PlannedIo io;
  if (phase_ == Phase::measure) {
    --left_;
    io.write = shape_.read_percent == 0 ||
               (shape_.read_percent < 100 && scale(random_number(), 100) >= shape_.read_percent);
    io.unit = pick();
  } else {
    const auto at = next_once_over();
    if (!at) return std::nullopt;
    io.write = phase_ == Phase::fill;
    io.unit = *at;
  }
  if (shape_.verify) {
    UnitState& state = states_[io.unit];
    state.busy = true;
    if (io.write) {
      io.generation = ++state.generation;
      state.known = false;
    } else {
      io.generation = state.known ? state.generation : 0;
    }
  }
  io.unit += shape_.first_unit;
  return io;
}

void Plan::done(const PlannedIo& io, bool good) {
  if (!shape_.verify) return;
  UnitState& state = states_[io.unit - shape_.first_unit];
  ITGTD_ASSERT(state.busy);
  state.busy = false;
  if (io.write) state.known = good;
}

}  // namespace itgtd::bench
