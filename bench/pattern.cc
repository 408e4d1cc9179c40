#include "bench/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/crc32c.h"
#include "base/endian.h"

namespace itgtd::bench {
namespace {

constexpr uint64_t kMagic = 0x6974'6774'2D62'656E;  // "itgt-ben"
constexpr size_t kNoiseWords = (kPatternBytes - 8 * 3 - 4 * 2 - 4 - 4) / 8;

struct PatternBlock {
  be64 magic;
  be64 address;
  be64 run;
  be32 writer;
  be32 generation;
  std::array<be64, kNoiseWords> noise;
  uint8_t unused[4];
  be32 crc;
};
static_assert(sizeof(PatternBlock) == kPatternBytes && alignof(PatternBlock) == 1);

constexpr size_t kCoveredBytes = kPatternBytes - sizeof(be32);

void fill_block(PatternBlock& block, uint64_t address, const Stamp& stamp) {
  block.magic.set(kMagic);
  block.address.set(address);
  block.run.set(stamp.run);
  block.writer.set(stamp.writer);
  block.generation.set(stamp.generation);
  // xorshift64; the seed is never 0 because the magic number is in it.
  uint64_t noise = kMagic ^ address ^ (uint64_t{stamp.generation} << 32) ^ stamp.run;
  if (noise == 0) noise = kMagic;
  for (be64& word : block.noise) {
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    word.set(noise);
  }
  std::fill(std::begin(block.unused), std::end(block.unused), uint8_t{0});
  block.crc.set(crc32c(ConstBytes(bytes_of(block)).first(kCoveredBytes)));
}

std::string explain(const PatternBlock& block, uint64_t address, const Stamp& stamp) {
  const ConstBytes bytes = bytes_of(block);
  const auto where = fmt::format("block {:#x} (of {} bytes)", address, kPatternBytes);
  if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return fmt::format("{} is all zeros where generation {} was written", where, stamp.generation);
  }
  if (block.magic.get() != kMagic) {
    return fmt::format("{} holds foreign data (starts with {:016x}) where generation {} was written", where,
                       block.magic.get(), stamp.generation);
  }
  if (block.crc.get() != crc32c(bytes.first(kCoveredBytes))) {
    return fmt::format("{} is torn or damaged: CRC mismatch; its header says block {:#x}, generation {}",
                       where, block.address.get(), block.generation.get());
  }
  if (block.address.get() != address) {
    return fmt::format("{} holds what belongs to block {:#x} (writer {}, generation {})", where,
                       block.address.get(), block.writer.get(), block.generation.get());
  }
  return fmt::format(
      "{} holds generation {} of writer {}, run {:x}; generation {} of writer {}, run {:x} is "
      "what was written last",
      where, block.generation.get(), block.writer.get(), block.run.get(), stamp.generation, stamp.writer,
      stamp.run);
}

}  // namespace

void fill_pattern(Bytes data, uint64_t address, const Stamp& stamp) {
  ITGTD_ASSERT(data.size() % kPatternBytes == 0);
  for (; !data.empty(); data = data.subspan(kPatternBytes)) {
    fill_block(*view<PatternBlock>(data), address++, stamp);
  }
}

std::optional<std::string> check_pattern(ConstBytes data, uint64_t address, const Stamp& stamp) {
  ITGTD_ASSERT(data.size() % kPatternBytes == 0);
  for (; !data.empty(); data = data.subspan(kPatternBytes), ++address) {
    const auto& block = *view<PatternBlock>(data);
    const bool good = block.magic.get() == kMagic && block.address.get() == address &&
                      block.run.get() == stamp.run && block.writer.get() == stamp.writer &&
                      block.generation.get() == stamp.generation &&
                      block.crc.get() == crc32c(data.first(kCoveredBytes));
    if (!good) return explain(block, address, stamp);
  }
  return std::nullopt;
}

}  // namespace itgtd::bench
