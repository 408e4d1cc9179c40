// JSON-RPC 2.0 as the control socket speaks it: one object a line, parameters by name, no batches.
//
// The JSON library stays in json_rpc.cc: handlers are given named scalars and give JSON text.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace itgtd::control {

/// A parameter that a method takes.
struct Parameter {
  enum class Type : uint8_t { text, number, flag };
  std::string name;
  Type type = Type::text;
  bool required = false;
};

/// The parameters of one call, as the method's list of them allows.
class Params {
 public:
  using Value = std::variant<std::string, uint64_t, bool>;

  Params() = default;
  explicit Params(std::map<std::string, Value> values) : values_(std::move(values)) {}

  /// Empty when it was not given.
  [[nodiscard]] std::string text(const std::string& name) const;
  [[nodiscard]] std::optional<uint64_t> number(const std::string& name) const;
  [[nodiscard]] std::optional<bool> flag(const std::string& name) const;

 private:
  std::map<std::string, Value> values_;
};

/// JSON-RPC 2.0 §5.1, and the one that is ours.
enum class RpcCode : int {
  parse_error = -32700,
  invalid_request = -32600,
  method_not_found = -32601,
  invalid_params = -32602,
  internal_error = -32603,
  refused = -32000,  ///< the daemon understood, and says no: the message says why and what to do
};

struct RpcError {
  RpcCode code = RpcCode::internal_error;
  std::string message;
};

struct Request {
  /// As JSON text; "null" when it could not be read. Nothing: a notification, which is not answered.
  std::optional<std::string> id;
  std::string method;
  /// What `params` was, as JSON text: an object, or "{}".
  std::string params;
};

/// A request, or why the line is none. `id` in a refusal: as far as it could be read.
struct ReadRequest {
  Request request;
  std::optional<RpcError> error;
};
[[nodiscard]] ReadRequest read_request(std::string_view line);

/// The parameters, or which of them is wrong and what is allowed.
[[nodiscard]] std::variant<Params, RpcError> read_params(const std::string& params, const std::string& method,
                                                         std::span<const Parameter> allowed);

/// One line each, newline included. `id` and `result` are JSON text.
[[nodiscard]] std::string result_line(std::string_view id, std::string_view result);
[[nodiscard]] std::string error_line(std::string_view id, const RpcError& error);

}  // namespace itgtd::control
