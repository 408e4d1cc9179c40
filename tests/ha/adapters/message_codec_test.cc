#include "ha/adapters/message_codec.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace itgtd::ha {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ByteVector = std::vector<std::byte>;

constexpr size_t kHeaderBytes = 8;

Report report() {
  Report report{.node_name = "gpg-node-A", .version = "1.0", .ring = {.representative = 1, .seq = 0x1234567}};
  report.quorate = true;
  report.table.groups["drbd0"] = {
      .epoch = uint64_t{7} << 40U, .owner = 2, .previous = 1, .reason = Reason::drained};
  report.table.groups["drbd1"] = {};
  report.table.standing = {.version = 3, .drained = {2, 0xFFFFFFFF}, .maintenance = true};
  GroupReport group{.digest = 0xFFFFFFFFFFFFFFFF};
  group.storage = {.fitness = StorageFitness::usable,
                   .primary = true,
                   .peer_primary = false,
                   .quorate = false,
                   .peers_connected = true,
                   .role = "Primary",
                   .disk = "UpToDate",
                   .detail = "größer als 24 Bytes, damit die Länge ein eigenes Byte hat"};
  group.vips = {{.interface = "enp0s8", .link = true, .present = true},
                {.failed = true, .detail = "no route"}};
  group.phase = Phase::stopping;
  group.epoch = 9;
  group.sessions = 70000;
  group.failure = std::string(300, 'f');
  group.since_ms = 123456789;
  report.groups["drbd0"] = group;
  report.groups["drbd1"] = {};
  return report;
}

std::vector<Message> messages() {
  return {
      Heartbeat{.seq = 1, .acks = {}},
      Heartbeat{.seq = 0xFFFFFFFFFFFFFFFF, .acks = {{1, 23}, {2, 24}, {3, 255}, {4, 256}, {5, 65536}}},
      report(),
      Report{},
      Assign{.group = "drbd0", .expected = 1, .ownership = {.epoch = 2, .owner = 3, .previous = 1}},
      Ack{.group = "drbd0", .epoch = 65535, .silence = {{1, 0}, {2, 4294967296}}},
      Outcome{.group = "g", .epoch = 1, .active = true, .retry_here = false, .text = "State change failed"},
      Wish{.kind = Wish::Kind::maintenance_off, .group = "g", .node = 3},
      Connections{.group = "g",
                  .epoch = 4,
                  .whole = true,
                  .opened = {{.local = "192.168.222.35:3260", .peer = "192.168.222.9:40000"}},
                  .closed = {{.local = "[2001:db8::35]:3260", .peer = "[2001:db8::1]:1"}, {}}},
      UnitRecord{.group = "g", .unit = "u", .epoch = 1, .version = 2, .bytes = ByteVector(300, std::byte{9})},
      UnitRecord{},
      UnitStored{.unit = "u", .epoch = 1, .version = 2, .stored = false},
      UnitVersions{.ask = true,
                   .units = {{"a", {.epoch = 1, .version = 2}}, {"b", {.epoch = 3, .version = 4}}}}};
}

ByteVector body(const nlohmann::json& json) {
  ByteVector out;
  for (const uint8_t byte : nlohmann::json::to_cbor(json)) out.push_back(static_cast<std::byte>(byte));
  return out;
}

/// A message of kind `kind` whose body is `cbor`.
ByteVector made(uint8_t kind, const ByteVector& cbor) {
  ByteVector out{std::byte{'i'}, std::byte{'t'}, std::byte{'g'}, std::byte{'h'},
                 std::byte{0},   std::byte{1},   std::byte{0},   static_cast<std::byte>(kind)};
  out.insert(out.end(), cbor.begin(), cbor.end());
  return out;
}
ByteVector made(uint8_t kind, const nlohmann::json& json) {
  return made(kind, body(json));
}

std::string error_of(const ByteVector& bytes) {
  const Result<Message> result = decode(bytes);
  return result.ok() ? "it was decoded" : result.error().to_string();
}

/// The CBOR as a library that is not ours reads it.
nlohmann::json json_of(const Message& message) {
  const ByteVector bytes = encode(message);
  std::vector<uint8_t> cbor;
  for (size_t i = kHeaderBytes; i < bytes.size(); i++) cbor.push_back(static_cast<uint8_t>(bytes[i]));
  return nlohmann::json::from_cbor(cbor, true, false);
}

TEST(MessageCodec, EveryMessageSurvives) {
  std::vector<bool> seen(std::variant_size_v<Message>);
  for (const Message& message : messages()) {
    const ByteVector bytes = encode(message);
    const Result<Message> back = decode(bytes);
    ASSERT_TRUE(back.ok()) << message.index() << ": " << back.error().to_string();
    EXPECT_EQ(back.value().index(), message.index());
    EXPECT_EQ(encode(back.value()), bytes) << message.index();
    // That library knows no maps with numbers as keys.
    const bool keys_are_texts =
        !std::holds_alternative<Heartbeat>(message) && !std::holds_alternative<Ack>(message);
    EXPECT_TRUE(!keys_are_texts || !json_of(message).is_discarded()) << message.index();
    seen[message.index()] = true;
  }
  EXPECT_THAT(seen, ::testing::Each(true));
}

TEST(MessageCodec, EveryMemberSurvives) {
  const Message message = report();
  const Result<Message> back = decode(encode(message));
  ASSERT_TRUE(back.ok());
  const auto& wanted = std::get<Report>(message);
  const auto& got = std::get<Report>(back.value());
  EXPECT_EQ(got.node_name, wanted.node_name);
  EXPECT_EQ(got.version, wanted.version);
  EXPECT_EQ(got.ring, wanted.ring);
  EXPECT_EQ(got.quorate, wanted.quorate);
  EXPECT_EQ(got.table, wanted.table);
  EXPECT_EQ(got.groups, wanted.groups);
}

// The bytes are a promise to nodes of the same version: when one of these changes, so does kProtocolVersion.
TEST(MessageCodec, TheBytesStayAsTheyAre) {
  const auto bytes_are = [](const Message& message, const std::vector<unsigned>& wanted) {
    ByteVector all;
    for (const unsigned byte : wanted) all.push_back(static_cast<std::byte>(byte));
    EXPECT_EQ(encode(message), all);
  };
  bytes_are(Heartbeat{.seq = 500, .acks = {{1, 2}}},
            {'i', 't', 'g', 'h', 0, 1, 0, 0, 0x82, 0x19, 0x01, 0xF4, 0xA1, 1, 2});
  bytes_are(Ack{.group = "g", .epoch = 1, .silence = {{3, 24}}},
            {'i', 't', 'g', 'h', 0, 1, 0, 3, 0x83, 0x61, 'g', 1, 0xA1, 3, 0x18, 24});
  EXPECT_EQ(json_of(Assign{.group = "g", .expected = 1, .ownership = {2, 3, 4, Reason::moved}}).dump(),
            R"(["g",1,[2,3,4,7]])");
  EXPECT_EQ(json_of(Wish{.kind = Wish::Kind::drain, .group = "", .node = 3}).dump(), R"([1,"",3])");
  EXPECT_EQ(json_of(UnitStored{.unit = "u", .epoch = 1, .version = 2, .stored = true}).dump(),
            R"(["u",1,2,true])");
  EXPECT_EQ(json_of(UnitVersions{.units = {{"a", {1, 2}}}}).dump(), R"([false,{"a":[1,2]}])");
}

TEST(MessageCodec, AnyTruncationIsAnError) {
  for (const Message& message : messages()) {
    ByteVector bytes = encode(message);
    while (!bytes.empty()) {
      bytes.pop_back();
      const Result<Message> back = decode(bytes);
      ASSERT_FALSE(back.ok()) << message.index() << " of " << bytes.size();
      if (bytes.size() > kHeaderBytes) {
        EXPECT_THAT(back.error().message, HasSubstr("ends too early"));
      }
    }
  }
}

TEST(MessageCodec, AnyMutationIsAnErrorOrAnotherMessage) {
  size_t errors = 0;
  for (const Message& message : messages()) {
    const ByteVector bytes = encode(message);
    for (size_t at = 0; at < bytes.size(); at++) {
      for (unsigned value = 0; value < 256; value++) {
        ByteVector changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        const Result<Message> back = decode(changed);
        if (!back.ok()) {
          errors++;
          EXPECT_FALSE(back.error().message.empty());
          continue;
        }
        ASSERT_EQ(decode(encode(back.value())).ok(), true) << message.index() << " at " << at;
      }
    }
  }
  EXPECT_GT(errors, 1000U);
}

TEST(MessageCodec, TooMuchIsAnError) {
  ByteVector bytes = encode(Wish{});
  bytes.push_back(std::byte{0});
  EXPECT_THAT(error_of(bytes), HasSubstr("1 bytes too many"));
  EXPECT_THAT(
      error_of(encode(UnitRecord{
          .group = "g", .unit = "u", .epoch = 1, .version = 1, .bytes = ByteVector(kMessageBytesMax)})),
      HasSubstr("at most"));
}

TEST(MessageCodec, WhatIsNotOurs) {
  EXPECT_THAT(error_of({}), HasSubstr("0 bytes that are no message"));
  EXPECT_THAT(error_of(ByteVector(100)), HasSubstr("100 bytes that are no message"));
}

TEST(MessageCodec, AnotherVersionIsNamed) {
  ByteVector bytes = encode(Wish{});
  bytes[5] = std::byte{2};
  EXPECT_THAT(error_of(bytes), HasSubstr("version 2 of the cluster's protocol, this is 1"));
  bytes[4] = std::byte{1};
  EXPECT_THAT(error_of(bytes), HasSubstr("version 258"));
  bytes.resize(kHeaderBytes);  // whatever it has to say
  EXPECT_THAT(error_of(bytes), HasSubstr("version 258"));
}

TEST(MessageCodec, UnknownKind) {
  EXPECT_THAT(error_of(made(10, nlohmann::json::array())), HasSubstr("unknown kind 10"));
}

TEST(MessageCodec, WrongTypesAndNumbers) {
  using nlohmann::json;
  const auto reason = [](const json& number) {
    return made(2, json::array({"g", 1, json::array({1, 2, 3, number})}));
  };
  EXPECT_TRUE(decode(reason(8)).ok());
  EXPECT_THAT(error_of(reason(10)), AllOf(HasSubstr("Assign, byte"), HasSubstr("10, at most 9 is known")));
  EXPECT_THAT(error_of(reason(-1)), HasSubstr("where a number is wanted"));
  EXPECT_THAT(error_of(reason(1.5)), HasSubstr("where a number is wanted"));
  EXPECT_THAT(error_of(reason(nullptr)), HasSubstr("where a number is wanted"));
  EXPECT_THAT(error_of(made(2, json{"g"})), HasSubstr("a list of 1 where one of 3 is wanted"));
  EXPECT_THAT(error_of(made(2, json{1, 2, 3})), HasSubstr("where a text is wanted"));
  EXPECT_THAT(error_of(made(5, json{0, "", uint64_t{1} << 32U})),
              HasSubstr("at most 4294967295 is possible"));
  EXPECT_THAT(error_of(made(8, json{"u", 1, 2, 1})), HasSubstr("where a boolean is wanted"));
  EXPECT_THAT(error_of(made(8, json{"u", 1, 2, nullptr})), HasSubstr("neither true nor false"));
  EXPECT_THAT(error_of(made(7, json{"g", "u", 1, 2, "text"})), HasSubstr("where bytes is wanted"));
  EXPECT_THAT(error_of(made(9, json::array({false, json{{"a", 1}}}))), HasSubstr("where a list is wanted"));
  EXPECT_THAT(error_of(made(9, json::array({false, json{1}}))), HasSubstr("where a map is wanted"));
}

TEST(MessageCodec, TimesThatAreNonsense) {
  const auto ack = [](uint64_t time) {
    ByteVector cbor{std::byte{0x83}, std::byte{0x60}, std::byte{1}, std::byte{0xA1}, std::byte{1}};
    const ByteVector number = body(time);
    cbor.insert(cbor.end(), number.begin(), number.end());
    return made(3, cbor);
  };
  EXPECT_TRUE(decode(ack(uint64_t{1} << 45U)).ok());
  EXPECT_THAT(error_of(ack((uint64_t{1} << 45U) + 1)), HasSubstr("a time of"));
  EXPECT_THAT(error_of(ack(~uint64_t{0})), HasSubstr("a time of"));
  const Result<Message> back = decode(encode(Ack{.group = "g", .epoch = 1, .silence = {{1, -5}}}));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(std::get<Ack>(back.value()).silence.at(1), 0);
}

TEST(MessageCodec, KeysAscend) {
  const auto drained = [](std::vector<uint8_t> cbor) {
    ByteVector out;
    for (const uint8_t byte : cbor) out.push_back(static_cast<std::byte>(byte));
    return made(0, out);
  };
  EXPECT_TRUE(decode(drained({0x82, 1, 0xA2, 1, 1, 2, 1})).ok());
  EXPECT_THAT(error_of(drained({0x82, 1, 0xA2, 2, 1, 1, 1})), HasSubstr("does not follow"));
  EXPECT_THAT(error_of(drained({0x82, 1, 0xA2, 1, 1, 1, 1})), HasSubstr("does not follow"));
}

TEST(MessageCodec, LengthsThatNobodyHas) {
  for (const unsigned head : {0x9AU, 0xBAU, 0x7AU, 0x5AU, 0x9BU, 0xBBU, 0x7BU, 0x5BU, 0x9FU, 0xBFU, 0x7FU}) {
    for (uint8_t kind = 0; kind < 10; kind++) {
      // As the message itself, and as its first member.
      ByteVector cbor(40, std::byte{0xFF});
      cbor[0] = static_cast<std::byte>(head);
      EXPECT_FALSE(decode(made(kind, cbor)).ok()) << head << " " << kind;
      const ByteVector good = encode(messages()[kind]);
      cbor.insert(cbor.begin(), good[kHeaderBytes]);
      EXPECT_FALSE(decode(made(kind, cbor)).ok()) << head << " " << kind;
    }
  }
  // As deep as the longest message can be.
  for (const unsigned byte : {0x81U, 0xA1U, 0x9FU, 0x7FU, 0x5FU, 0xC0U}) {
    EXPECT_FALSE(
        decode(made(1, ByteVector(kMessageBytesMax - kHeaderBytes, static_cast<std::byte>(byte)))).ok());
  }
}

TEST(MessageCodec, TextsAreUtf8) {
  using nlohmann::json;
  for (const char* bad :
       {"\xFF", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "a\x80"}) {
    ByteVector cbor{std::byte{0x84}, static_cast<std::byte>(0x60 + std::string_view(bad).size())};
    for (const char c : std::string_view(bad)) cbor.push_back(static_cast<std::byte>(c));
    for (const unsigned byte : {1U, 2U, 0xF5U}) cbor.push_back(static_cast<std::byte>(byte));
    EXPECT_THAT(error_of(made(8, cbor)), HasSubstr("not UTF-8"));
  }
  EXPECT_TRUE(decode(made(8, json{"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\x7F", 1, 2, true})).ok());
}

// What a tool says is sent as far as it can be.
TEST(MessageCodec, TextsAreMadeToFit) {
  const auto sent = [](std::string text) {
    const Result<Message> back = decode(encode(Outcome{.group = "g", .epoch = 1, .text = std::move(text)}));
    return back.ok() ? std::get<Outcome>(back.value()).text : back.error().to_string();
  };
  EXPECT_EQ(sent("drbd \xFF\xFE \xC3\xA4"), "drbd ?? \xC3\xA4");
  EXPECT_EQ(sent(std::string(100000, 'x')), std::string(8192, 'x'));
  EXPECT_EQ(sent(std::string(8191, 'x') + "\xC3\xA4"), std::string(8191, 'x'));  // no half of a character
}

}  // namespace
}  // namespace itgtd::ha
