#include "target/iscsi/sequence.h"

#include <gtest/gtest.h>

namespace itgtd::iscsi {
namespace {

TEST(Sequence, SerialOrderWraps) {
  EXPECT_TRUE(serial_before(1, 2));
  EXPECT_FALSE(serial_before(2, 2));
  EXPECT_TRUE(serial_before(0xFFFF'FFFF, 0));
  EXPECT_FALSE(serial_before(0, 0xFFFF'FFFF));
  EXPECT_TRUE(serial_before(0xFFFF'FFF0, 0x10));
}

TEST(Sequence, WindowTakesOnlyTheExpectedNumber) {
  CommandWindow window(5);
  window.grant(3);
  EXPECT_EQ(window.max_cmd_sn(), 7U);
  EXPECT_TRUE(window.expects(5));
  EXPECT_FALSE(window.expects(4));
  EXPECT_FALSE(window.expects(6));
  EXPECT_FALSE(window.expects(8));
}

TEST(Sequence, MaxCmdSnNeverGoesBack) {
  CommandWindow window(5);
  window.grant(10);
  window.advance();
  window.grant(2);
  EXPECT_EQ(window.max_cmd_sn(), 14U);
}

TEST(Sequence, ClosedWindowTakesNothing) {
  CommandWindow window(0xFFFF'FFFF);
  window.grant(1);
  EXPECT_TRUE(window.expects(0xFFFF'FFFF));
  window.advance();
  EXPECT_EQ(window.exp_cmd_sn(), 0U);
  EXPECT_FALSE(window.expects(0));
  window.grant(0);
  EXPECT_FALSE(window.expects(0));
  window.grant(2);
  EXPECT_EQ(window.max_cmd_sn(), 1U);
  EXPECT_TRUE(window.expects(0));
}

}  // namespace
}  // namespace itgtd::iscsi
