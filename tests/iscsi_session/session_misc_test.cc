// NOP, Text, Logout, Reject, Async Message. RFC 7143 §11.9-11.19.
#include <gtest/gtest.h>

#include "tests/iscsi_session/harness.h"

namespace itgtd::iscsi::test {
namespace {

Data bytes(std::string_view text) {
  const ConstBytes view = as_bytes(text);
  return {view.begin(), view.end()};
}
std::string text_of(const Sent& sent) {
  return std::string(as_text(sent.data));
}
using std::string_literals::operator""s;

std::shared_ptr<const Directory> directory(int targets) {
  auto result = std::make_shared<Directory>();
  for (int i = 0; i < targets; ++i) {
    DirectoryTarget target;
    target.name = i == 0 ? "iqn.2026-01.test:target" : "iqn.2026-01.test:target" + std::to_string(i);
    result->targets.push_back(std::move(target));
  }
  return result;
}

HarnessOptions discovery(int targets) {
  HarnessOptions options;
  options.type = SessionType::discovery;
  options.directory = directory(targets);
  return options;
}

RejectReason reason_of(const Sent& sent) {
  return static_cast<RejectReason>(sent.as<RejectBhs>().reason);
}

TEST(SessionNop, PingComesBack) {
  Harness h;
  const Data data = pattern(1000, 4);
  h.deliver(h.nop_out(5), data);
  const Sent sent = h.take_one();
  const auto& bhs = sent.as<NopInBhs>();
  EXPECT_EQ(bhs.initiator_task_tag.get(), 5U);
  EXPECT_EQ(bhs.target_transfer_tag.get(), kReservedTag);
  EXPECT_EQ(bhs.stat_sn.get(), 100U);
  EXPECT_EQ(bhs.exp_cmd_sn.get(), 2U);
  EXPECT_EQ(sent.data, data);
}

// RFC 7143 §11.18.3.
TEST(SessionNop, EchoIsBoundedByWhatTheInitiatorTakes) {
  HarnessOptions options;
  options.parameters.max_recv_data_segment_length_initiator = 512;
  Harness h(options);
  const Data data = pattern(4000, 4);
  h.deliver(h.nop_out(5), data);
  const Sent sent = h.take_one();
  EXPECT_EQ(sent.data, Data(data.begin(), data.begin() + 512));
}

TEST(SessionNop, ReservedTagWantsNoAnswer) {
  Harness h;
  NopOutBhs bhs = h.nop_out(kReservedTag);
  bhs.opcode |= kImmediateBit;
  h.deliver(bhs);
  EXPECT_TRUE(h.take_sent().empty());
}

TEST(SessionNop, WrongCmdSnIsIgnored) {
  Harness h;
  NopOutBhs bhs = h.nop_out(5);
  bhs.cmd_sn.set(9);
  h.deliver(bhs, pattern(100, 1));
  EXPECT_TRUE(h.take_sent().empty());
}

TEST(SessionNop, KeepAlive) {
  Harness h;
  EXPECT_FALSE(h.session().nop_in_outstanding());
  h.session().send_nop_in();
  EXPECT_TRUE(h.session().nop_in_outstanding());
  const auto ping = h.take_one().as<NopInBhs>();
  EXPECT_EQ(ping.initiator_task_tag.get(), kReservedTag);
  EXPECT_NE(ping.target_transfer_tag.get(), kReservedTag);
  EXPECT_EQ(ping.stat_sn.get(), 100U);
  NopOutBhs answer = h.nop_out(kReservedTag);
  answer.opcode |= kImmediateBit;
  answer.target_transfer_tag.set(12345);
  h.deliver(answer);
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::invalid_pdu_field);
  EXPECT_TRUE(h.session().nop_in_outstanding());
  answer.target_transfer_tag = ping.target_transfer_tag;
  h.deliver(answer);
  EXPECT_FALSE(h.session().nop_in_outstanding());
  EXPECT_TRUE(h.take_sent().empty());
}

TEST(SessionNop, DigestErrorDiscardsAndKeepsTheNumber) {
  Harness h;
  h.deliver(h.nop_out(5), pattern(100, 1), false);
  const Sent sent = h.take_one();
  EXPECT_EQ(reason_of(sent), RejectReason::data_digest_error);
  EXPECT_EQ(sent.as<RejectBhs>().exp_cmd_sn.get(), 1U);
  --h.cmd_sn;  // RFC 7143 §11.17.1: the initiator sends it again
  h.deliver(h.nop_out(5), pattern(100, 1));
  EXPECT_EQ(h.take_one().op(), Opcode::nop_in);
}

TEST(SessionText, SendTargetsAllInDiscovery) {
  Harness h(discovery(2));
  h.deliver(h.text(1), bytes("SendTargets=All\0"s));
  const Sent sent = h.take_one();
  const auto& bhs = sent.as<TextResponseBhs>();
  EXPECT_EQ(bhs.flags, TextResponseBhs::kFinal);
  EXPECT_EQ(bhs.target_transfer_tag.get(), kReservedTag);
  EXPECT_EQ(text_of(sent),
            "TargetName=iqn.2026-01.test:target\0TargetAddress=127.0.0.1:3260,1\0"
            "TargetName=iqn.2026-01.test:target1\0TargetAddress=127.0.0.1:3260,1\0"s);
}

TEST(SessionText, LongAnswersAreContinued) {
  HarnessOptions options = discovery(300);
  options.parameters.max_recv_data_segment_length_initiator = 512;
  Harness h(options);
  h.deliver(h.text(1), bytes("SendTargets=All\0"s));
  std::string all;
  for (int i = 0; i < 200; ++i) {
    const Sent sent = h.take_one();
    const auto& bhs = sent.as<TextResponseBhs>();
    EXPECT_LE(sent.data.size(), 512U);
    all += text_of(sent);
    if ((bhs.flags & TextResponseBhs::kFinal) != 0) break;
    EXPECT_EQ(bhs.flags, TextResponseBhs::kContinue);
    EXPECT_NE(bhs.target_transfer_tag.get(), kReservedTag);
    h.deliver(h.text(1, bhs.target_transfer_tag.get()));
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), '\0'), 600);
  EXPECT_NE(all.find("target299\0"s), std::string::npos);
}

TEST(SessionText, NormalSessionAnswersForItsOwnTarget) {
  HarnessOptions options;
  options.directory = directory(3);
  Harness h(options);
  h.deliver(h.text(1), bytes("SendTargets=\0"s));
  EXPECT_EQ(text_of(h.take_one()), "TargetName=iqn.2026-01.test:target\0TargetAddress=127.0.0.1:3260,1\0"s);
  // RFC 7143 Appendix C.
  h.deliver(h.text(2), bytes("SendTargets=All\0"s));
  EXPECT_EQ(text_of(h.take_one()), "SendTargets=Reject\0"s);
}

TEST(SessionText, KeysOfTheFullFeaturePhase) {
  Harness h;
  h.deliver(h.text(1), bytes("MaxRecvDataSegmentLength=65536\0X-com.example=1\0MaxBurstLength=512\0"s));
  EXPECT_EQ(text_of(h.take_one()), "X-com.example=NotUnderstood\0MaxBurstLength=Reject\0"s);
  EXPECT_EQ(h.session().parameters().max_recv_data_segment_length_initiator, 65536U);
  EXPECT_EQ(h.session().parameters().max_burst_length, 262144U);
  h.deliver(h.text(2), bytes("MaxRecvDataSegmentLength=16777216\0"s));
  EXPECT_EQ(text_of(h.take_one()), "MaxRecvDataSegmentLength=Reject\0"s);
}

TEST(SessionText, RequestInSeveralPdus) {
  Harness h(discovery(1));
  TextRequestBhs first = h.text(1);
  first.flags = TextRequestBhs::kContinue;
  h.deliver(first, bytes("SendTar"));
  const Sent more = h.take_one();
  EXPECT_EQ(more.as<TextResponseBhs>().flags, 0);
  EXPECT_TRUE(more.data.empty());
  h.deliver(h.text(1, more.as<TextResponseBhs>().target_transfer_tag.get()), bytes("gets=All\0"s));
  EXPECT_EQ(text_of(h.take_one()), "TargetName=iqn.2026-01.test:target\0TargetAddress=127.0.0.1:3260,1\0"s);
}

TEST(SessionText, EndlessRequestsAreCut) {
  Harness h(discovery(1));
  uint32_t tag = kReservedTag;
  bool cut = false;
  for (uint32_t i = 0; i <= kTextRequestsMax && !cut; ++i) {
    TextRequestBhs bhs = h.text(1, tag);
    bhs.flags = TextRequestBhs::kContinue;
    h.deliver(bhs, Data(8000, std::byte{'a'}));
    const Sent sent = h.take_one();
    cut = sent.op() == Opcode::reject;
    if (!cut) tag = sent.as<TextResponseBhs>().target_transfer_tag.get();
  }
  EXPECT_TRUE(cut);
  // The session lives.
  h.deliver(h.text(2), bytes("SendTargets=All\0"s));
  EXPECT_EQ(h.take_one().op(), Opcode::text_response);
}

TEST(SessionText, AnswersDoNotGrowWithoutBound) {
  Harness h;
  std::string keys;
  for (int i = 0; i < 2048; ++i) keys += std::to_string(i) + "=b" + '\0';
  h.deliver(h.text(1), bytes(keys));
  const Sent sent = h.take_one();
  EXPECT_LE(sent.data.size(), kTextSegmentBytesMax);
  std::string many;
  while (many.size() < 60000) many += "a=b"s + '\0';
  h.deliver(h.text(2), bytes(many));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error);
}

TEST(SessionText, MalformedRequestsAreRejected) {
  Harness h(discovery(1));
  for (const std::string& text :
       {"SendTargets=All"s, "SendTargets\0"s, "=All\0"s, std::string(64, 'k') + "=1\0"s}) {
    h.deliver(h.text(1), bytes(text));
    EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error) << text;
  }
  h.deliver(h.text(1, 4711), bytes("SendTargets=All\0"s));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::invalid_pdu_field);
  TextRequestBhs both = h.text(1);
  both.flags = TextRequestBhs::kFinal | TextRequestBhs::kContinue;
  h.deliver(both);
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::invalid_pdu_field);
}

// CVE-2026-63888: the same exchange again after a broken one.
TEST(SessionText, DigestErrorThenTheSameTagAgain) {
  Harness h(discovery(1));
  h.deliver(h.text(1), bytes("SendTargets=All\0"s));
  h.take_sent();
  h.deliver(h.text(1), bytes("SendTargets=All\0"s), false);
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::data_digest_error);
  --h.cmd_sn;
  h.deliver(h.text(1), bytes("SendTargets=All\0"s));
  EXPECT_EQ(h.take_one().op(), Opcode::text_response);
}

// RFC 7143 §4.3.
TEST(SessionDiscovery, ServesNothingElse) {
  Harness h(discovery(1));
  h.deliver(h.read(1, 0, 512));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error);
  h.deliver(h.management(TaskManagementFunction::logical_unit_reset, 2));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error);
  h.deliver(h.data_out(1, kReservedTag, 0, 0, true), pattern(512, 1));
  h.take_sent();
  --h.cmd_sn;
  h.deliver(h.text(3), bytes("SendTargets=All\0"s));
  EXPECT_EQ(h.take_one().op(), Opcode::text_response);
  h.deliver(h.logout(4, 1, 7));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error);
  h.deliver(h.logout(4, 0));
  EXPECT_EQ(h.take_one().as<LogoutResponseBhs>().response, 0);
  EXPECT_EQ(h.session().ending(), Ending::after_send);
}

TEST(SessionLogout, ClosesAndEndsTasks) {
  for (const uint8_t reason : {uint8_t{0}, uint8_t{1}}) {
    Harness h;
    h.deliver(h.read(1, 0, 512));
    Task* task = h.start_all().at(0);
    h.deliver(h.read(2, 0, 512));
    h.deliver(h.logout(3, reason, 7));
    const auto bhs = h.take_one().as<LogoutResponseBhs>();
    EXPECT_EQ(bhs.response, 0);
    EXPECT_EQ(bhs.time2wait.get(), 2);
    EXPECT_EQ(bhs.time2retain.get(), 20);
    EXPECT_EQ(h.session().ending(), Ending::after_send);
    h.finish(*task);
    h.deliver(h.read(4, 0, 512));
    EXPECT_TRUE(h.take_sent().empty());
  }
}

TEST(SessionLogout, OtherConnectionsAndRecovery) {
  Harness h;
  h.deliver(h.logout(1, 1, 8));
  EXPECT_EQ(h.take_one().as<LogoutResponseBhs>().response, 1);
  h.deliver(h.logout(2, 2, 7));
  EXPECT_EQ(h.take_one().as<LogoutResponseBhs>().response, 2);
  h.deliver(h.logout(3, 3, 7));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::invalid_pdu_field);
  EXPECT_EQ(h.session().ending(), Ending::open);
}

TEST(SessionReject, OpcodesThatAreNoRequests) {
  Harness h;
  for (uint8_t opcode = 0; opcode < 64; ++opcode) {
    if (opcode <= 0x06 || opcode == 0x10) continue;
    Bhs bhs{};
    bhs.opcode = opcode | kImmediateBit;
    bhs.initiator_task_tag.set(opcode);
    h.deliver(bhs, pattern(40, 1));
    const Sent sent = h.take_one();
    EXPECT_EQ(reason_of(sent), RejectReason::command_not_supported) << int{opcode};
    EXPECT_EQ(sent.as<RejectBhs>().all_ones.get(), kReservedTag);
    EXPECT_EQ(std::to_integer<uint8_t>(sent.data.at(0)), opcode | kImmediateBit);
  }
  EXPECT_EQ(h.session().ending(), Ending::open);
}

TEST(SessionReject, SnackAndLateLogin) {
  Harness h;
  SnackRequestBhs snack{};
  snack.opcode = static_cast<uint8_t>(Opcode::snack_request);
  snack.beg_run.set(0xFFFF'FFF0);
  snack.run_length.set(0xFFFF'FFFF);
  h.deliver(snack);
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::snack_reject);
  LoginRequestBhs login{};
  login.opcode = static_cast<uint8_t>(Opcode::login_request) | kImmediateBit;
  h.deliver(login, pattern(100, 1));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::protocol_error);
  EXPECT_EQ(h.session().ending(), Ending::after_send);
}

TEST(SessionReject, AhsOutsideCommands) {
  Harness h;
  h.deliver(h.nop_out(1), {}, true, Data(8));
  EXPECT_EQ(reason_of(h.take_one()), RejectReason::invalid_pdu_field);
}

TEST(SessionAsync, CarriesItsParameters) {
  Harness h;
  h.session().send_async(AsyncEvent::logout_requested, 0, 0, 10);
  const auto bhs = h.take_one().as<AsyncMessageBhs>();
  EXPECT_EQ(bhs.async_event, 1);
  EXPECT_EQ(bhs.parameter3.get(), 10);
  EXPECT_EQ(bhs.all_ones.get(), kReservedTag);
  EXPECT_EQ(bhs.stat_sn.get(), 100U);
}

}  // namespace
}  // namespace itgtd::iscsi::test
