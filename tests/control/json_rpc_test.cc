// One line in, one line out: what is a call, and what is said of what is none.
#include "target/control/json_rpc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace itgtd::control {
namespace {

using testing::HasSubstr;

const std::vector<Parameter> kMove = {{"group", Parameter::Type::text, true},
                                      {"count", Parameter::Type::number},
                                      {"wait", Parameter::Type::flag}};

RpcError error_of(const std::string& line) {
  const ReadRequest read = read_request(line);
  return read.error.value_or(RpcError{RpcCode::refused, "no error"});
}

std::string params_error(const std::string& params) {
  const auto read = read_params(params, "move", kMove);
  const RpcError* error = std::get_if<RpcError>(&read);
  if (error == nullptr) return "";
  EXPECT_EQ(error->code, RpcCode::invalid_params);
  return error->message;
}

TEST(JsonRpc, AGoodRequest) {
  const ReadRequest read = read_request(R"({"jsonrpc":"2.0","id":7,"method":"move","params":{"group":"g"}})");
  ASSERT_FALSE(read.error);
  EXPECT_EQ(read.request.id, "7");
  EXPECT_EQ(read.request.method, "move");
  EXPECT_EQ(read.request.params, R"({"group":"g"})");
}

TEST(JsonRpc, TheIdComesBackAsItWas) {
  for (const std::string id : {"0", "-3", R"("a \"b\"")", "null", "1.5"}) {
    const ReadRequest read = read_request(R"({"jsonrpc":"2.0","method":"m","id":)" + id + "}");
    ASSERT_FALSE(read.error) << id;
    EXPECT_EQ(read.request.id, id);
  }
  EXPECT_FALSE(read_request(R"({"jsonrpc":"2.0","method":"m"})").request.id.has_value());
  EXPECT_EQ(error_of(R"({"jsonrpc":"2.0","method":"m","id":[1]})").code, RpcCode::invalid_request);
  EXPECT_EQ(error_of(R"({"jsonrpc":"2.0","method":"m","id":true})").code, RpcCode::invalid_request);
}

TEST(JsonRpc, WhatIsNoRequest) {
  for (const std::string line : {"", "{", "status", "{}}", "\xff\xfe", R"({"a":)"}) {
    EXPECT_EQ(error_of(line).code, RpcCode::parse_error) << line;
  }
  for (const std::string line :
       {"[]", "1", R"("x")", "null", "{}", R"({"jsonrpc":"1.0","method":"m"})",
        R"({"jsonrpc":2.0,"method":"m"})", R"({"jsonrpc":"2.0"})", R"({"jsonrpc":"2.0","method":1})"}) {
    EXPECT_EQ(error_of(line).code, RpcCode::invalid_request) << line;
  }
  EXPECT_THAT(error_of("[]").message, HasSubstr("batches"));
  EXPECT_EQ(error_of(R"({"jsonrpc":"2.0","method":"m","params":[1]})").code, RpcCode::invalid_params);
}

TEST(JsonRpc, AnErrorKeepsTheIdThatCouldBeRead) {
  EXPECT_EQ(read_request(R"({"jsonrpc":"1.0","id":5,"method":"m"})").request.id, "5");
  EXPECT_EQ(read_request("{").request.id, "null");
}

TEST(JsonRpc, DepthIsBounded) {
  const std::string deep(500'000, '[');
  EXPECT_THAT(error_of(R"({"jsonrpc":"2.0","method":"m","params":{"a":)" + deep).message,
              HasSubstr("brackets"));
  EXPECT_THAT(error_of(deep).message, HasSubstr("brackets"));
  // Brackets in a text are none.
  const std::string text = R"({"jsonrpc":"2.0","method":"m","params":{"a":"\")" + deep + R"("}})";
  EXPECT_FALSE(read_request(text).error);
}

TEST(JsonRpc, ParametersAreTyped) {
  const auto read = read_params(R"({"group":"g","count":3,"wait":false})", "move", kMove);
  const Params* params = std::get_if<Params>(&read);
  ASSERT_NE(params, nullptr);
  EXPECT_EQ(params->text("group"), "g");
  EXPECT_EQ(params->number("count"), 3u);
  EXPECT_EQ(params->flag("wait"), false);
  EXPECT_EQ(params->text("none"), "");
  EXPECT_FALSE(params->number("group"));
}

TEST(JsonRpc, AWrongParameterIsNamed) {
  EXPECT_EQ(params_error(R"({})"), "move: group is missing, a string");
  EXPECT_EQ(params_error(R"({"group":1})"), "move: a string is wanted for group");
  EXPECT_EQ(params_error(R"({"group":"g","count":-1})"),
            "move: a whole number that is not negative is wanted for count");
  EXPECT_EQ(params_error(R"({"group":"g","count":1.5})"),
            "move: a whole number that is not negative is wanted for count");
  EXPECT_EQ(params_error(R"({"group":"g","wait":0})"), "move: true or false is wanted for wait");
  EXPECT_EQ(params_error(R"({"grup":"g"})"), "move has no parameter 'grup'; it takes group, count and wait");
  const auto none = read_params(R"({"x":1})", "status", {});
  ASSERT_NE(std::get_if<RpcError>(&none), nullptr);
  EXPECT_THAT(std::get<RpcError>(none).message, HasSubstr("it takes none"));
}

TEST(JsonRpc, Lines) {
  EXPECT_EQ(result_line("1", R"({"a":2})"), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":2}}\n");
  EXPECT_EQ(error_line("null", {RpcCode::refused, "no \"x\"\n\xff"}),
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"no "
            "\\\"x\\\"\\n\xEF\xBF\xBD\"}}\n");
}

}  // namespace
}  // namespace itgtd::control
