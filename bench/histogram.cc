#include "bench/histogram.h"

#include <algorithm>
#include <cmath>

namespace itgtd::bench {

void Histogram::merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  total_ += other.total_;
  sum_ns_ += other.sum_ns_;
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

void Histogram::clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  total_ = 0;
  sum_ns_ = 0;
  max_ns_ = 0;
}

double Histogram::mean_ns() const {
  return total_ == 0 ? 0.0 : static_cast<double>(sum_ns_) / static_cast<double>(total_);
}

uint64_t Histogram::upper_end_of(size_t bucket) {
  if (bucket < 2 * kSubBuckets) return bucket;
  const auto shift = static_cast<unsigned>(bucket / kSubBuckets) - 1;
  const uint64_t lower = (kSubBuckets + bucket % kSubBuckets) << shift;
  return lower + (uint64_t{1} << shift) - 1;
}

uint64_t Histogram::percentile_ns(double percent) const {
  if (total_ == 0) return 0;
  const double wanted = std::ceil(static_cast<double>(total_) * std::clamp(percent, 0.0, 100.0) / 100.0);
  const uint64_t rank = std::max<uint64_t>(1, static_cast<uint64_t>(wanted));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::min(upper_end_of(i), max_ns_);
  }
  return max_ns_;
}

}  // namespace itgtd::bench
