// Micro-benchmarks of what the data path does per PDU: digests, headers, buffers.

#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <vector>

#include "base/buddy_pool.h"
#include "base/crc32c.h"
#include "bench/histogram.h"
#include "bench/pdu.h"
#include "target/iscsi/bhs.h"

namespace itgtd::bench {
namespace {

void digest(benchmark::State& state) {
  const std::vector<std::byte> data(static_cast<size_t>(state.range(0)), std::byte{0x5A});
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(data));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(digest)->Arg(48)->Arg(512)->Arg(4096)->Arg(65536)->Arg(262144);

void parse_command_header(benchmark::State& state) {
  iscsi::ScsiCommandBhs command = io_template({.lun = 1, .length_bytes = 4096, .length_blocks = 8});
  patch(command, {.initiator_task_tag = 1, .cmd_sn = 2, .exp_stat_sn = 3, .lba = 4});
  std::array<std::byte, iscsi::kBhsBytes> wire;
  store(wire, command);
  for (auto _ : state) {
    benchmark::DoNotOptimize(wire.data());
    const auto bhs = load<iscsi::Bhs>(wire);
    const auto* seen = iscsi::as<iscsi::ScsiCommandBhs>(bhs);
    uint64_t sum = bhs.data_segment_length.get() + bhs.lun.get();
    if (seen != nullptr) {
      sum += seen->cmd_sn.get() + seen->initiator_task_tag.get() + seen->expected_data_transfer_length.get();
    }
    benchmark::DoNotOptimize(sum);
  }
}
BENCHMARK(parse_command_header);

void patch_command_header(benchmark::State& state) {
  iscsi::ScsiCommandBhs command = io_template({.lun = 1, .length_bytes = 4096, .length_blocks = 8});
  uint32_t number = 0;
  for (auto _ : state) {
    ++number;
    patch(command, {.initiator_task_tag = number, .cmd_sn = number, .exp_stat_sn = number, .lba = number});
    benchmark::DoNotOptimize(command);
  }
}
BENCHMARK(patch_command_header);

void take_and_return_buffer(benchmark::State& state) {
  // The region's alignment is what BuddyPool asks for; one block of the largest size is enough.
  std::vector<std::byte> memory(2 * BuddyPool::kBlockBytesMax);
  void* start = memory.data();
  size_t space = memory.size();
  start = std::align(BuddyPool::kBlockBytesMax, BuddyPool::kBlockBytesMax, start, space);
  BuddyPool pool(Bytes(static_cast<std::byte*>(start), BuddyPool::kBlockBytesMax));
  for (auto _ : state) {
    const Bytes buffer = pool.allocate(static_cast<size_t>(state.range(0)));
    benchmark::DoNotOptimize(buffer.data());
    pool.release(buffer);
  }
}
BENCHMARK(take_and_return_buffer)->Arg(4096)->Arg(65536)->Arg(262144);

void count_latency(benchmark::State& state) {
  Histogram histogram;
  uint64_t value = 12345;
  for (auto _ : state) {
    histogram.add(value);
    value = (value * 5 + 1) & 0xF'FFFF;
  }
  benchmark::DoNotOptimize(histogram.total());
}
BENCHMARK(count_latency);

}  // namespace
}  // namespace itgtd::bench

BENCHMARK_MAIN();
