// Texts made to break a login: each ends in a clear outcome, costs a bounded answer, and no PDU of ours is
// longer than the initiator takes.
#include <gtest/gtest.h>

#include <random>

#include "target/iscsi/text_keys.h"
#include "tests/iscsi_login/login_fixture.h"

namespace itgtd::iscsi::testing {
namespace {

// Sends and checks what holds for every answer.
LoginStep checked(LoginState& state, const Request& request) {
  LoginStep step = send(state, request);
  const LoginResponseBhs& bhs = step.response.bhs;
  EXPECT_EQ(bhs.opcode, 0x23);
  EXPECT_LE(step.response.text.size(), 8192U);
  EXPECT_EQ(bhs.data_segment_length.get(), step.response.text.size());
  EXPECT_EQ(bhs.initiator_task_tag.get(), request.initiator_task_tag);
  EXPECT_EQ(bhs.version_active, 0);
  EXPECT_EQ((bhs.flags & 0xC0) == 0xC0, false);
  EXPECT_EQ(step.verdict == LoginVerdict::fail, bhs.status_class != 0);
  EXPECT_EQ(step.reason.empty(), step.verdict != LoginVerdict::fail);
  return step;
}

LoginStep login_with(std::string text, uint8_t csg = 1) {
  LoginState state;
  return checked(state, {.transit = true, .csg = csg, .text = std::move(text)});
}

TEST(HostileText, NoZeroByteAtTheEndOfAFullPdu) {
  for (const size_t length : {8188UL, 8189UL, 8190UL, 8191UL, 8192UL}) {
    std::string text = names(kOpen) + "X-a=";
    text.resize(length, 'v');
    EXPECT_EQ(status_of(login_with(text)), LoginStatus::initiator_error);
    EXPECT_EQ(status_of(login_with(std::string(length, 'k'))), LoginStatus::initiator_error);
    text.back() = '\0';
    EXPECT_EQ(status_of(login_with(text)), LoginStatus::success);
  }
}

TEST(HostileText, KeyLengthsInEachStage) {
  for (const uint8_t csg : {uint8_t{0}, uint8_t{1}}) {
    for (const size_t length : {1UL, 63UL, 64UL, 65UL, 255UL, 8000UL}) {
      const LoginStep step = login_with(names(kOpen) + pairs({std::string(length, 'k') + "=v"}), csg);
      EXPECT_EQ(status_of(step), length <= 63 ? LoginStatus::success : LoginStatus::initiator_error)
          << length;
    }
  }
}

// 2048 keys of a few bytes: the answer is several times as long as the offer, and comes in parts.
TEST(HostileText, ManyUnknownKeysInOnePdu) {
  std::string text = names(kOpen);
  size_t sent = 0;
  const std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  for (const char x : letters) {
    for (const char y : letters) {
      if (text.size() + 4 > 8192) break;
      append_pair(text, std::string{x, y}, "");
      ++sent;
    }
  }
  ASSERT_GE(sent, 2000U);
  LoginState state;
  LoginStep step = checked(state, {.transit = true, .text = text});
  std::string whole = step.response.text;
  size_t parts = 1;
  while ((step.response.bhs.flags & 0x40) != 0 && parts < 100) {
    EXPECT_EQ(step.response.text.size(), 8192U);
    step = checked(state, {.transit = true});
    whole += step.response.text;
    ++parts;
  }
  EXPECT_EQ(step.verdict, LoginVerdict::full_feature) << step.reason;
  const TextPairs answer = split_pairs(whole);
  EXPECT_EQ(answer.error, TextError::none);
  EXPECT_EQ(answer.pairs.size(), sent + 2);  // TargetPortalGroupTag and MaxRecvDataSegmentLength
  EXPECT_EQ(state.stat_sn(), 1 + parts);
}

TEST(HostileText, TheSameKeyAThousandTimes) {
  std::string text = names(kOpen);
  for (int i = 0; i < 1000; ++i) append_pair(text, "a", "b");
  EXPECT_EQ(status_of(login_with(text)), LoginStatus::initiator_error);
}

// Over several PDUs with the C bit, the answer would pass the limit: the login ends instead.
TEST(HostileText, UnknownKeysOverManyPdus) {
  LoginState state;
  LoginStep step = checked(state, {.continues = true, .text = names(kOpen)});
  int key = 0;
  for (int pdu = 0; pdu < 7 && step.verdict == LoginVerdict::more; ++pdu) {
    std::string text;
    while (text.size() < 8100) append_pair(text, "k" + std::to_string(key++), "");
    step = checked(state, {.continues = pdu < 6, .text = text});
  }
  EXPECT_EQ(status_of(step), LoginStatus::initiator_error);
}

// ... and over many texts of their own: each answer is short, so the limit is that of the login.
TEST(HostileText, UnknownKeysOverManyTexts) {
  LoginState state;
  LoginStep step = checked(state, {.text = names(kOpen)});
  int key = 0, rounds = 0;
  while (step.verdict == LoginVerdict::more && ++rounds < 1000) {
    std::string text;
    while (text.size() < 2000) append_pair(text, "k" + std::to_string(key++), "");
    step = checked(state, {.text = text});
  }
  EXPECT_EQ(step.verdict, LoginVerdict::fail);
  EXPECT_LE(rounds, 64);
}

TEST(HostileText, BeginsInTheWrongStage) {
  for (uint8_t csg = 2; csg < 4; ++csg) {
    EXPECT_EQ(status_of(login_with(names(kOpen), csg)), LoginStatus::initiator_error);
  }
  EXPECT_EQ(status_of(login_with(names(kChap), 1)), LoginStatus::authentication_failure);
  EXPECT_EQ(status_of(login_with(names(kChap), 0)), LoginStatus::authentication_failure);
}

TEST(HostileText, EveryOtherOpcodeEndsTheLogin) {
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    LoginState state;
    const LoginStep step =
        checked(state, {.transit = true, .text = names(kOpen), .opcode = static_cast<uint8_t>(opcode)});
    const bool login = (opcode & 0x3F) == 0x03;
    EXPECT_EQ(status_of(step), login ? LoginStatus::success : LoginStatus::invalid_during_login) << opcode;
  }
}

// The failure says which key, and is no longer than a line.
TEST(HostileText, RejectNamesTheKey) {
  const LoginStep step = login_with(names(kOpen) + pairs({"MaxBurstLength=1"}));
  EXPECT_EQ(status_of(step), LoginStatus::initiator_error);
  EXPECT_EQ(value_of(step, "MaxBurstLength"), "Reject");
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kParts = {"InitiatorName=",
                                                  "iqn.1993-08.org.debian:x",
                                                  "TargetName=",
                                                  std::string(kOpen),
                                                  std::string(kChap),
                                                  "SessionType=",
                                                  "Normal",
                                                  "Discovery",
                                                  "AuthMethod=",
                                                  "CHAP",
                                                  "None",
                                                  ",",
                                                  "CHAP_A=",
                                                  "5",
                                                  "8",
                                                  "CHAP_N=",
                                                  "user",
                                                  "CHAP_R=",
                                                  "0x",
                                                  "0b",
                                                  "CHAP_I=",
                                                  "CHAP_C=",
                                                  "HeaderDigest=",
                                                  "CRC32C",
                                                  "MaxBurstLength=",
                                                  "16777215",
                                                  "=",
                                                  std::string(1, '\0'),
                                                  std::string(1, '\0'),
                                                  std::string(1, '\0'),
                                                  "\x01\xFF",
                                                  "ffff",
                                                  std::string(300, 'z')};
  std::string text;
  const size_t parts = random() % 40;
  for (size_t i = 0; i < parts; ++i) text += kParts[random() % kParts.size()];
  return text;
}

// No sequence of requests does anything but answer, and none without CHAP gets into the CHAP target.
TEST(HostileText, RandomConversations) {
  std::mt19937 random(1);
  unsigned entered = 0;
  for (int round = 0; round < 20000; ++round) {
    LoginState state;
    LoginStep step;
    for (int i = 0; i < 8 && step.verdict == LoginVerdict::more; ++i) {
      Request request;
      request.csg = static_cast<uint8_t>(random() % 8 == 0 ? random() % 4 : random() % 2);
      request.transit = random() % 2 == 0;
      request.nsg = static_cast<uint8_t>(random() % 4);
      request.continues = random() % 6 == 0;
      request.text = (i == 0 && random() % 2 == 0 ? names(random() % 2 == 0 ? kOpen : kChap) : "") +
                     (random() % 3 == 0 ? std::string() : random_text(random));
      step = checked(state, request);
    }
    if (step.verdict != LoginVerdict::full_feature) continue;
    ++entered;
    EXPECT_NE(state.identity().target_name, kChap);
  }
  EXPECT_GT(entered, 100U);
}

}  // namespace
}  // namespace itgtd::iscsi::testing
