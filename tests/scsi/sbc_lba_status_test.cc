// GET LBA STATUS and READ DEFECT DATA.
#include <cerrno>

#include "base/endian.h"
#include "tests/scsi/model_disk.h"

namespace itgtd::scsi::testing {
namespace {

struct Descriptor {
  uint64_t lba;
  uint32_t blocks;
  uint8_t status;
  bool operator==(const Descriptor&) const = default;
};
void PrintTo(const Descriptor& d, std::ostream* os) {
  *os << d.lba << "+" << d.blocks << ":" << int{d.status};
}
using Descriptors = std::vector<Descriptor>;

Descriptors decode(const Data& data) {
  Descriptors all;
  EXPECT_GE(data.size(), 8U);
  EXPECT_EQ(load<be32>(data).get() + 4U, data.size());
  for (size_t at = 8; at + 16 <= data.size(); at += 16) {
    const ConstBytes d = ConstBytes(data).subspan(at);
    all.push_back({load<be64>(d).get(), load<be32>(d.subspan(8)).get(), std::to_integer<uint8_t>(d[12])});
    EXPECT_EQ(d[13], std::byte{0});
    EXPECT_EQ(d[15], std::byte{0});
  }
  return all;
}

std::vector<uint8_t> get_lba_status(uint64_t lba, uint32_t allocation_length) {
  return cdb16(0x9E, lba, allocation_length, 0x12);
}

class LbaStatus : public ::testing::Test {
 protected:
  LbaStatus() : disk(1000) {
    disk.lu.geometry.thin = true;
    for (uint64_t lba = 100; lba < 200; ++lba) disk.holes.insert(lba);
    disk.holes.insert(999);
  }
  ModelDisk disk;
};

TEST_F(LbaStatus, StretchesOfTheMedium) {
  const Outcome outcome = run(disk, get_lba_status(10, 4096));
  ASSERT_TRUE(is_good(outcome));
  EXPECT_EQ(decode(outcome.data_in), (Descriptors{{10, 90, 0}, {100, 100, 1}, {200, 799, 0}, {999, 1, 1}}));
  EXPECT_EQ(decode(run(disk, get_lba_status(150, 4096)).data_in)[0], (Descriptor{150, 50, 1}));
  EXPECT_EQ(decode(run(disk, get_lba_status(999, 4096)).data_in), (Descriptors{{999, 1, 1}}));
}

TEST_F(LbaStatus, NeighboursAreMerged) {
  disk.extent_blocks_max = 30;
  EXPECT_EQ(decode(run(disk, get_lba_status(0, 4096)).data_in),
            (Descriptors{{0, 100, 0}, {100, 100, 1}, {200, 799, 0}, {999, 1, 1}}));
}

TEST_F(LbaStatus, AsManyAsThereIsRoomFor) {
  EXPECT_EQ(decode(run(disk, get_lba_status(0, 24)).data_in), (Descriptors{{0, 100, 0}}));
  EXPECT_EQ(decode(run(disk, get_lba_status(0, 8 + 32)).data_in), (Descriptors{{0, 100, 0}, {100, 100, 1}}));
  EXPECT_EQ(decode(run(disk, get_lba_status(0, 8 + 47)).data_in).size(), 2U);
}

TEST_F(LbaStatus, ShortAllocationLengthsCutOneDescriptor) {
  for (const uint32_t length : {1U, 4U, 8U, 9U, 23U}) {
    const Outcome outcome = run(disk, get_lba_status(0, length));
    ASSERT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.data_in.size(), length);
    if (length >= 4) {
      EXPECT_EQ(load<be32>(outcome.data_in).get(), 20U);
    }
  }
  EXPECT_TRUE(is_good(run(disk, get_lba_status(0, 0))));
}

TEST_F(LbaStatus, AnAnswerIsBounded) {
  ModelDisk comb(20'000);
  comb.lu.geometry.thin = true;
  for (uint64_t lba = 0; lba < 20'000; lba += 2) comb.holes.insert(lba);
  const Outcome outcome = run(comb, get_lba_status(0, 0xFFFF'FFFF));
  const Descriptors all = decode(outcome.data_in);
  ASSERT_EQ(all.size(), 255U);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i], (Descriptor{i, 1, static_cast<uint8_t>(i % 2 == 0 ? 1 : 0)}));
  }
  EXPECT_EQ(outcome.ios, 256U);
  // A medium that tells of a block at a time is not asked for ever.
  comb.holes.clear();
  comb.extent_blocks_max = 1;
  const Outcome slow = run(comb, get_lba_status(0, 24));
  EXPECT_EQ(slow.ios, 2U);
  EXPECT_EQ(decode(slow.data_in), (Descriptors{{0, 2, 0}}));
}

TEST_F(LbaStatus, FullyProvisionedIsMappedAndNotLookedUp) {
  disk.lu.geometry.thin = false;
  const Outcome outcome = run(disk, get_lba_status(10, 4096));
  EXPECT_EQ(outcome.ios, 0U);
  EXPECT_EQ(decode(outcome.data_in), (Descriptors{{10, 990, 0}}));
}

TEST_F(LbaStatus, MoreThanADescriptorCanName) {
  LuState state = disk.state();
  state.block_count = (uint64_t{1} << 32) + 5;
  disk.set_state(state);
  disk.lu.geometry.thin = false;
  EXPECT_EQ(decode(run(disk, get_lba_status(1, 4096)).data_in),
            (Descriptors{{1, 0xFFFF'FFFF, 0}, {uint64_t{1} << 32, 5, 0}}));
  EXPECT_EQ(decode(run(disk, get_lba_status(1, 24)).data_in), (Descriptors{{1, 0xFFFF'FFFF, 0}}));
}

TEST_F(LbaStatus, BeyondTheEnd) {
  EXPECT_TRUE(is_lba_out_of_range(run(disk, get_lba_status(1000, 24)), 1000));
  EXPECT_TRUE(is_lba_out_of_range(run(disk, get_lba_status(~0ULL, 24)), ~0ULL));
}

TEST_F(LbaStatus, FailuresOfTheMedium) {
  disk.fail_at = 1;
  disk.failure = {EIO, 0};
  EXPECT_TRUE(is_sense(run(disk, get_lba_status(0, 4096)), sense::unrecovered_read_error(100)));
  disk.done.clear();
  disk.failure = {0, 0};
  EXPECT_TRUE(is_sense(run(disk, get_lba_status(0, 4096)), sense::unrecovered_read_error(100)))
      << "nothing said is not an answer";
}

TEST(SbcDefects, ListsAreEmptyInTheFormatAskedFor) {
  ModelDisk disk(10);
  for (const uint8_t lists : {uint8_t{0x00}, uint8_t{0x08}, uint8_t{0x10}, uint8_t{0x18}}) {
    for (uint8_t format = 0; format < 7; ++format) {
      const auto what = static_cast<std::byte>(lists | format);
      std::vector<uint8_t> ten = cdb10(0x37, 0, 32);
      ten[2] = static_cast<uint8_t>(lists | format);
      EXPECT_EQ(run(disk, ten).data_in, (Data{{}, what, {}, {}}));
      std::vector<uint8_t> twelve = cdb12(0xB7, 0, 32, static_cast<uint8_t>(lists | format));
      EXPECT_EQ(run(disk, twelve).data_in, (Data{{}, what, {}, {}, {}, {}, {}, {}}));
    }
  }
  std::vector<uint8_t> ten = cdb10(0x37, 0, 32);
  ten[2] = 0x1F;
  EXPECT_TRUE(is_invalid_field(run(disk, ten), 2, uint8_t{2}));
  EXPECT_TRUE(is_invalid_field(run(disk, cdb12(0xB7, 0, 32, 0x1F)), 1, uint8_t{2}));
}

TEST(SbcDefects, AnswersAreCut) {
  ModelDisk disk(10);
  for (const uint16_t length : {uint16_t{0}, uint16_t{1}, uint16_t{4}}) {
    EXPECT_EQ(run(disk, cdb10(0x37, 0, length)).data_in.size(), length);
    EXPECT_EQ(run(disk, cdb12(0xB7, 7, length)).data_in.size(), length);
  }
}

}  // namespace
}  // namespace itgtd::scsi::testing
