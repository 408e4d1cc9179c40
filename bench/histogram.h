// Latencies counted in a fixed table: log-linear buckets, within 0.8 % of the value, no allocation per value.
//
// Covers 1 ns to kValueMax; what is longer is counted in the last bucket. One thread writes; merge() when it
// has ended.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace itgtd::bench {

class Histogram {
 public:
  /// About 18 minutes in nanoseconds: no I/O that is still waited for takes longer.
  static constexpr uint64_t kValueMax = (uint64_t{1} << 40) - 1;

  Histogram() : counts_(kBuckets, 0) {}

  void add(uint64_t value_ns) {
    ++counts_[bucket_of(value_ns)];
    ++total_;
    sum_ns_ += value_ns;
    if (value_ns > max_ns_) max_ns_ = value_ns;
  }
  void merge(const Histogram& other);
  void clear();

  [[nodiscard]] uint64_t total() const { return total_; }
  [[nodiscard]] uint64_t max_ns() const { return max_ns_; }
  /// 0 when empty.
  [[nodiscard]] double mean_ns() const;
  /// The value that `percent` of the values (0 to 100) do not exceed: the upper end of its bucket, but never
  /// more than max_ns(). 0 when empty.
  [[nodiscard]] uint64_t percentile_ns(double percent) const;

 private:
  static constexpr unsigned kSubBits = 7;  // 128 buckets per power of two
  static constexpr uint64_t kSubBuckets = uint64_t{1} << kSubBits;
  static constexpr size_t kBuckets = (40 - kSubBits + 1) * kSubBuckets;

  static size_t bucket_of(uint64_t value) {
    if (value > kValueMax) value = kValueMax;
    if (value < 2 * kSubBuckets) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - (kSubBits + 1);
    return (shift + 1) * kSubBuckets + ((value >> shift) - kSubBuckets);
  }
  static uint64_t upper_end_of(size_t bucket);

  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  uint64_t sum_ns_ = 0;
  uint64_t max_ns_ = 0;
};

}  // namespace itgtd::bench
