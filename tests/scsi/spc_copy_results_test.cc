#include <cerrno>

#include "tests/scsi/copy_target.h"

namespace itgtd::scsi::testing {
namespace {

class ReceiveCopyResults : public CopyTarget {
 protected:
  Xcopy copy(uint8_t list_identifier = 7) {
    Xcopy xcopy;
    xcopy.list_identifier = list_identifier;
    xcopy.cscd(unit(0)).cscd(unit(1)).segment({0, 1, 100, 0, 0}).segment({0, 1, 20, 100, 100});
    return xcopy;
  }
  static Sense unknown() { return sense::invalid_field_in_cdb(2); }
};

// iscsi-test-cu ReceiveCopyResults.OpParams.
TEST_F(ReceiveCopyResults, OperatingParameters) {
  const Wire expected = {0,    0,  0,    42,                                 // AVAILABLE DATA
                         1,    0,  0,    0,                                  // SNLID
                         0,    16, 0,    16,                                 // descriptors
                         0,    0,  0x03, 0xC0,                               // MAXIMUM DESCRIPTOR LIST LENGTH
                         0x01, 0,  0,    0,                                  // MAXIMUM SEGMENT LENGTH
                         0,    0,  0,    0,    0,    0,   0, 0, 0, 0, 0, 0,  // inline, held, stream
                         0,    0,  0,    32,   32,                           // copies at once
                         9,    0,  0,                                        // granularities
                         0,    0,  0,    2,    0x02, 0xE4};
  EXPECT_EQ(receive(0x03, 0).data_in, expected);
  EXPECT_EQ(receive(0x03, 0xFF).data_in, expected);
  for (uint32_t length = 0; length <= expected.size(); ++length) {
    EXPECT_EQ(receive(0x03, 0, length).data_in,
              Wire(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(length)));
  }
}

// iscsi-test-cu ReceiveCopyResults.CopyStatus.
TEST_F(ReceiveCopyResults, StatusOfACopyThatWentWell) {
  EXPECT_TRUE(is_sense(copy_status(7), unknown()));
  ASSERT_TRUE(is_good(xcopy(copy().list())));
  EXPECT_TRUE(is_sense(copy_status(8), unknown()));
  EXPECT_EQ(copy_status(7).data_in, (Wire{0, 0, 0, 8, 0x01, 0, 2, 0, 0, 0, 0xF0, 0}));
  EXPECT_TRUE(is_sense(copy_status(7), unknown())) << "it is told once";
}

TEST_F(ReceiveCopyResults, StatusAndDetailsOfACopyThatFailed) {
  disk(0).fail_at = 1;
  disk(0).failure = {EIO, 0};
  const CopyOutcome failed = xcopy(copy().list());
  ASSERT_TRUE(is_sense(failed, sense::copy_aborted(Asc::third_party_device_failure, 1)));
  EXPECT_EQ(copy_status(7).data_in, (Wire{0, 0, 0, 8, 0x02, 0, 1, 0, 0, 0, 0xC8, 0}));
  EXPECT_TRUE(is_sense(copy_status(7), unknown()));
  EXPECT_EQ(receive(0x01, 7).data_in, (Wire{0, 0, 0, 0}));

  const CopyOutcome details = receive(0x04, 7);
  ASSERT_EQ(details.data_in.size(), 60U + 18);
  EXPECT_EQ(details.data_in[3], 60 + 18 - 4);
  EXPECT_EQ(details.data_in[56], 0x02);
  EXPECT_EQ(details.data_in[59], 18);
  EXPECT_EQ(Wire(details.data_in.begin() + 60, details.data_in.end()),
            (Wire{0x70, 0, 0x0A, 0, 0, 0, 0, 10, 0, 0, 0, 1, 0x0D, 0x01, 0, 0, 0, 0}));
  EXPECT_TRUE(is_sense(receive(0x04, 7), unknown()));
  EXPECT_TRUE(is_sense(receive(0x01, 7), unknown()));
}

TEST_F(ReceiveCopyResults, NoDetailsOfACopyThatWentWell) {
  ASSERT_TRUE(is_good(xcopy(copy().list())));
  EXPECT_EQ(receive(0x04, 7).data_in, (Wire{0, 0, 0, 0}));
  EXPECT_EQ(copy_status(7).data_in[4], 0x01);
}

TEST_F(ReceiveCopyResults, WhileTheCopyGoesOn) {
  size_t ios = 0;
  before_step = [&](const Step& step) {
    if (!std::holds_alternative<Io>(step) || ++ios != 3) return;
    EXPECT_EQ(copy_status(7).data_in, (Wire{0, 0, 0, 8, 0x00, 0, 1, 0, 0, 0, 0xC8, 0}));
    EXPECT_TRUE(is_sense(receive(0x01, 7), unknown()));
    EXPECT_TRUE(is_sense(receive(0x04, 7), unknown()));
    EXPECT_TRUE(is_sense(xcopy(copy().list()), sense::illegal_request(Asc::operation_in_progress)));
    EXPECT_TRUE(is_good(xcopy(copy(8).list())));
  };
  EXPECT_TRUE(is_good(xcopy(copy().list())));
  EXPECT_EQ(copy_status(7).data_in[4], 0x01);
  EXPECT_EQ(copy_status(8).data_in[4], 0x01);
}

// An aborted copy does not keep its list identifier.
TEST_F(ReceiveCopyResults, OfACopyThatWasAborted) {
  for (size_t steps = 0; steps < 6; ++steps) {
    stop_at = steps;
    EXPECT_FALSE(xcopy(copy().list()).ended);
    stop_at.reset();
    EXPECT_EQ(copy_status(7).data_in[4], 0x02);
    const Wire details = receive(0x04, 7).data_in;
    ASSERT_EQ(details.size(), 60U);
    EXPECT_EQ(details[56], 0x40);
    EXPECT_TRUE(is_good(xcopy(copy().list())));
  }
}

// Results belong to the nexus, and to the unit that the command was sent to.
TEST_F(ReceiveCopyResults, OfOthersAreNotTold) {
  ASSERT_TRUE(is_good(xcopy(copy().list())));
  ASSERT_TRUE(is_good(xcopy(other, 0, copy(9).list())));
  ASSERT_TRUE(is_good(xcopy(nexus, 2, copy(10).list())));
  EXPECT_TRUE(is_sense(copy_status(9), unknown()));
  EXPECT_TRUE(is_sense(copy_status(10), unknown()));
  EXPECT_TRUE(is_sense(run(other, 0, {0x84, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0}), unknown()));
  EXPECT_EQ(copy_status(7).data_in[4], 0x01);
}

TEST_F(ReceiveCopyResults, ACopyWithoutListIdentifierHasNone) {
  Xcopy xcopy = copy(0);
  xcopy.flags = 0x18;
  ASSERT_TRUE(is_good(this->xcopy(xcopy.list())));
  EXPECT_TRUE(is_sense(copy_status(0), unknown()));
}

// A list that was refused is no copy.
TEST_F(ReceiveCopyResults, ARefusedListLeavesOldResultsAlone) {
  ASSERT_TRUE(is_good(xcopy(copy().list())));
  Wire wrong = copy().list();
  wrong[16] = 0xE0;
  EXPECT_FALSE(xcopy(wrong).good());
  EXPECT_EQ(copy_status(7).data_in[4], 0x01);
}

TEST_F(ReceiveCopyResults, OtherServiceActions) {
  for (const uint8_t action : {uint8_t{0x02}, uint8_t{0x08}, uint8_t{0x1F}}) {
    EXPECT_TRUE(is_sense(receive(action, 0), sense::invalid_field_in_cdb(1, 4)));
  }
}

}  // namespace
}  // namespace itgtd::scsi::testing
