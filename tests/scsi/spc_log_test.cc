#include "scsi/log_pages.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class Log : public TargetFixture {
 protected:
  static constexpr uint8_t kThreshold = 0x00;
  static constexpr uint8_t kCumulative = 0x40;
  static constexpr uint8_t kDefaultCumulative = 0xC0;

  Outcome sense(uint8_t page, uint8_t subpage = 0, uint16_t pointer = 0, uint16_t length = 4096) {
    return run({0x4D, 0, page, subpage, 0, static_cast<uint8_t>(pointer >> 8), static_cast<uint8_t>(pointer),
                static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0});
  }
  void make_thin() {
    disk.geometry.thin = true;
    LuState state = *disk.state;
    state.thin_usage = {true, (3 << 11) + 1, 0x0123'4567'0000};
    set_state(disk, state);
  }
};

TEST_F(Log, ListsOfPages) {
  EXPECT_EQ(sense(0).data, (Wire{0, 0, 0, 7, 0x00, 0x02, 0x03, 0x0D, 0x0E, 0x19, 0x2F}));
  EXPECT_EQ(sense(0, 0xFF).data,
            (Wire{0x40, 0xFF, 0, 16, 0, 0, 0, 0xFF, 0x02, 0, 0x03, 0, 0x0D, 0, 0x0E, 0, 0x19, 0, 0x2F, 0}));
  make_thin();
  EXPECT_EQ(sense(0).data, (Wire{0, 0, 0, 8, 0x00, 0x02, 0x03, 0x0C, 0x0D, 0x0E, 0x19, 0x2F}));
}

TEST_F(Log, EveryListedPageIsThereWhateverThePageControl) {
  make_thin();
  const Wire list = sense(0, 0xFF).data;
  for (size_t at = 4; at < list.size(); at += 2) {
    for (const unsigned control : {0x00U, 0x40U, 0x80U, 0xC0U}) {
      const Wire page = sense(static_cast<uint8_t>(control | list[at]), list[at + 1]).data;
      ASSERT_GE(page.size(), 4U);
      EXPECT_EQ(page[0] & 0x3F, list[at]);
      EXPECT_EQ(page[1], list[at + 1]);
      EXPECT_EQ((page[0] & 0x40) != 0, list[at + 1] != 0);
      EXPECT_EQ((page[0] & 0x80) != 0, list[at] != 0) << "DS";
      EXPECT_EQ(page[2] * 256U + page[3], page.size() - 4);
    }
  }
}

TEST_F(Log, PagesThatAreNotThere) {
  EXPECT_TRUE(is_check(sense(0x3F), sense::invalid_field_in_cdb(2, 5)));
  EXPECT_TRUE(is_check(sense(0x0C), sense::invalid_field_in_cdb(2, 5))) << "not thin";
  EXPECT_TRUE(is_check(sense(0x01, 0xFF), sense::invalid_field_in_cdb(2, 5)));
  EXPECT_TRUE(is_check(sense(0x00, 0x01), sense::invalid_field_in_cdb(3, 7)));
  EXPECT_TRUE(is_check(sense(0x19, 0x20), sense::invalid_field_in_cdb(3, 7)));
  EXPECT_TRUE(
      is_check(run({0x4D, 1, 0x40, 0, 0, 0, 0, 0, 252, 0}), sense::invalid_field_in_cdb(1, 0)));  // SP
  EXPECT_TRUE(is_check(run({0x4D, 2, 0x40, 0, 0, 0, 0, 0, 252, 0}), sense::invalid_field_in_cdb(1, 1)));
}

TEST_F(Log, GeneralStatisticsAreThoseOfAllWorkers) {
  io_result.bytes_done = 3 * 512;
  disk.statistics = std::make_shared<LuStatistics>(2);
  disk.counts = &disk.statistics->of_worker[1];
  disk.statistics->of_worker[0].read_commands.add(0x100);
  EXPECT_TRUE(is_good(run({0x28, 0, 0, 0, 0, 0, 0, 0, 3, 0})));
  EXPECT_TRUE(is_good(run({0x28, 0x08, 0, 0, 0, 0, 0, 0, 2, 0}))) << "FUA: two Io, one READ";
  EXPECT_TRUE(is_good(run({0x0A, 0, 0, 0, 2, 0}, Wire(1024))));
  const Wire page = sense(kCumulative | 0x19).data;
  ASSERT_EQ(page.size(), 4 + 4 + 64 + 2 * 12U);
  EXPECT_EQ(Wire(page.begin(), page.begin() + 40),
            (Wire{0x99, 0, 0, 92, 0, 1, 0x03, 64, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0,
                  0,    0, 0, 1,  0, 0, 0,    0,  0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5}));
  // No idle time intervals, and what an interval is: 10^-3 s. sg_logs does not decode the page without them.
  EXPECT_EQ(Wire(page.begin() + 72, page.end()),
            (Wire{0, 2, 0x03, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x03, 8, 0, 0, 0, 3, 0, 0, 0, 1}));
}

TEST_F(Log, ErrorCounters) {
  io_result.bytes_done = 3 * 512;
  EXPECT_TRUE(is_good(run({0x28, 0, 0, 0, 0, 0, 0, 0, 3, 0})));
  io_result = {5, 0};
  EXPECT_EQ(run({0x28, 0, 0, 0, 0, 0, 0, 0, 3, 0}).status, Status::check_condition);
  EXPECT_EQ(run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Wire(512)).status, Status::check_condition);
  EXPECT_EQ(run({0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}).status, Status::check_condition);
  EXPECT_EQ(sense(kCumulative | 0x03).data, (Wire{0x83, 0, 0, 24, 0, 5, 0, 8, 0, 0, 0, 0, 0, 0, 6, 0,  //
                                                  0,    6, 0, 8,  0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(sense(kCumulative | 0x02).data, (Wire{0x82, 0, 0, 24, 0, 5, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                                  0,    6, 0, 8,  0, 0, 0, 0, 0, 0, 0, 2}));
  EXPECT_EQ(sense(kDefaultCumulative | 0x02).data.back(), 0);
  EXPECT_EQ(sense(kThreshold | 0x02).data.back(), 0xFF) << "never met";
}

TEST_F(Log, ParameterPointer) {
  EXPECT_EQ(sense(kCumulative | 0x02, 0, 5).data.size(), 28U);
  const Wire page = sense(kCumulative | 0x02, 0, 6).data;
  ASSERT_EQ(page.size(), 16U);
  EXPECT_EQ(page[3], 12);
  EXPECT_EQ(page[5], 6);
  EXPECT_TRUE(is_check(sense(kCumulative | 0x02, 0, 7), sense::invalid_field_in_cdb(5, 7)));
  EXPECT_TRUE(is_check(sense(0x00, 0, 1), sense::invalid_field_in_cdb(5, 7)));
}

TEST_F(Log, AllocationLength) {
  const Wire whole = sense(kCumulative | 0x19).data;
  for (uint16_t length = 0; length <= whole.size(); ++length) {
    EXPECT_EQ(sense(kCumulative | 0x19, 0, 0, length).data, Wire(whole.begin(), whole.begin() + length));
  }
  EXPECT_EQ(sense(kCumulative | 0x19, 0, 0, 0xFFFF).data, whole);
}

TEST_F(Log, Provisioning) {
  make_thin();
  EXPECT_EQ(sense(kCumulative | 0x0C).data,
            (Wire{0x8C, 0, 0, 24, 0, 1, 3, 8, 0x24, 0x68, 0xAC, 0xE0, 2, 0, 0, 0,  //
                  0,    2, 3, 8,  0, 0, 0, 4, 1,    0,    0,    0}));
}

TEST_F(Log, Temperature) {
  EXPECT_EQ(sense(kCumulative | 0x0D).data, (Wire{0x8D, 0, 0, 6, 0, 0, 3, 2, 0, 0xFF}));
}

TEST_F(Log, StartStopCycles) {
  const auto cycles = [this] { return sense(kCumulative | 0x0E, 0, 4).data.back(); };
  EXPECT_EQ(sense(kCumulative | 0x0E).data.size(), 4 + 10 + 10 + 8U);
  EXPECT_EQ(cycles(), 0);
  EXPECT_TRUE(is_good(run({0x1B, 0, 0, 0, 1, 0})));
  EXPECT_EQ(cycles(), 0) << "it was started already";
  EXPECT_TRUE(is_good(run({0x1B, 0, 0, 0, 0, 0})));
  EXPECT_EQ(cycles(), 0) << "and runs when it is stopped";
  EXPECT_TRUE(is_good(run({0x1B, 0, 0, 0, 1, 0})));
  EXPECT_EQ(cycles(), 1);
}

TEST_F(Log, InformationalExceptions) {
  EXPECT_EQ(sense(kCumulative | 0x2F).data, (Wire{0xAF, 0, 0, 8, 0, 0, 3, 4, 0, 0, 0xFF, 0}));
  LuState state = *disk.state;
  state.exceptions.disabled = false;
  state.exceptions.test = true;
  set_state(disk, state);
  EXPECT_EQ(sense(kCumulative | 0x2F).data, (Wire{0xAF, 0, 0, 8, 0, 0, 3, 4, 0x5D, 0xFF, 0xFF, 0}));
}

}  // namespace
}  // namespace itgtd::scsi
