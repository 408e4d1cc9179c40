#include "target/control/json_rpc.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "target/config/text.h"

namespace itgtd::control {
namespace {

using Json = nlohmann::json;

/// Bytes that are not UTF-8 are replaced: what a client sent must not end the daemon.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The library writes a value by recursion, and calls need no depth at all.
constexpr size_t kDepthMax = 16;

bool too_deep(std::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string && c == '\\') {
      ++at;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      if (++depth > kDepthMax) return true;
    } else if (!in_string && (c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

ReadRequest refused(std::optional<std::string> id, RpcCode code, std::string message) {
  ReadRequest read;
  read.request.id = std::move(id);
  read.error = RpcError{code, std::move(message)};
  return read;
}

const char* name_of(Parameter::Type type) {
  switch (type) {
    case Parameter::Type::text:
      return "a string";
    case Parameter::Type::number:
      return "a whole number that is not negative";
    case Parameter::Type::flag:
      return "true or false";
  }
  return "unknown";
}

std::optional<Params::Value> value_of(const Json& json, Parameter::Type type) {
  switch (type) {
    case Parameter::Type::text:
      if (json.is_string()) return json.get<std::string>();
      break;
    case Parameter::Type::number:
      if (json.is_number_unsigned()) return json.get<uint64_t>();
      break;
    case Parameter::Type::flag:
      if (json.is_boolean()) return json.get<bool>();
      break;
  }
  return std::nullopt;
}

RpcError unknown_parameter(const std::string& name, const std::string& method,
                           std::span<const Parameter> allowed) {
  std::vector<std::string_view> names;
  for (const Parameter& parameter : allowed) names.push_back(parameter.name);
  const std::string takes = names.empty() ? "none" : config::all_of(names);
  return {RpcCode::invalid_params,
          fmt::format("{} has no parameter {}; it takes {}", method, config::in_quotes(name), takes)};
}

template <typename T>
std::optional<T> find(const std::map<std::string, Params::Value>& values, const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end()) return std::nullopt;
  const T* value = std::get_if<T>(&found->second);
  return value == nullptr ? std::nullopt : std::optional<T>(*value);
}

}  // namespace

std::string Params::text(const std::string& name) const {
  return find<std::string>(values_, name).value_or("");
}
std::optional<uint64_t> Params::number(const std::string& name) const {
  return find<uint64_t>(values_, name);
}
std::optional<bool> Params::flag(const std::string& name) const {
  return find<bool>(values_, name);
}

ReadRequest read_request(std::string_view line) {
  if (too_deep(line)) {
    return refused("null", RpcCode::parse_error,
                   fmt::format("not a request: more than {} brackets within one another", kDepthMax));
  }
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded()) {
    return refused("null", RpcCode::parse_error, "not JSON: a request is one JSON object on one line");
  }
  if (json.is_array()) {
    return refused("null", RpcCode::invalid_request,
                   "batches are not supported: send one request object a line");
  }
  if (!json.is_object()) {
    return refused("null", RpcCode::invalid_request, "a request is a JSON object");
  }
  std::optional<std::string> id;
  if (const auto found = json.find("id"); found != json.end()) {
    // JSON-RPC 2.0 §4: a string, a number or null.
    if (!found->is_string() && !found->is_number() && !found->is_null()) {
      return refused("null", RpcCode::invalid_request, "id: a string or a number is wanted");
    }
    id = dump(*found);
  }
  // §5: an invalid request is answered, with or without an id.
  const std::string answer_to = id.value_or("null");
  if (const auto found = json.find("jsonrpc"); found == json.end() || *found != "2.0") {
    return refused(answer_to, RpcCode::invalid_request, "jsonrpc: \"2.0\" is wanted");
  }
  const auto method = json.find("method");
  if (method == json.end() || !method->is_string()) {
    return refused(answer_to, RpcCode::invalid_request, "method: a string is wanted");
  }
  ReadRequest read;
  read.request.id = std::move(id);
  read.request.method = method->get<std::string>();
  read.request.params = "{}";
  if (const auto params = json.find("params"); params != json.end() && !params->is_null()) {
    if (!params->is_object()) {
      return refused(answer_to, RpcCode::invalid_params,
                     "params: an object is wanted, parameters go by name");
    }
    read.request.params = dump(*params);
  }
  return read;
}

std::variant<Params, RpcError> read_params(const std::string& params, const std::string& method,
                                           std::span<const Parameter> allowed) {
  const Json json = Json::parse(params, nullptr, false);
  if (!json.is_object()) return RpcError{RpcCode::invalid_params, "params: an object is wanted"};
  std::map<std::string, Params::Value> values;
  for (const auto& [name, given] : json.items()) {
    const auto same = [&name = name](const Parameter& parameter) { return parameter.name == name; };
    const auto parameter = std::find_if(allowed.begin(), allowed.end(), same);
    if (parameter == allowed.end()) return unknown_parameter(name, method, allowed);
    std::optional<Params::Value> value = value_of(given, parameter->type);
    if (!value) {
      return RpcError{RpcCode::invalid_params,
                      fmt::format("{}: {} is wanted for {}", method, name_of(parameter->type), name)};
    }
    values.emplace(name, *std::move(value));
  }
  for (const Parameter& parameter : allowed) {
    if (!parameter.required || values.contains(parameter.name)) continue;
    return RpcError{RpcCode::invalid_params,
                    fmt::format("{}: {} is missing, {}", method, parameter.name, name_of(parameter.type))};
  }
  return Params(std::move(values));
}

std::string result_line(std::string_view id, std::string_view result) {
  return fmt::format("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{}}}\n", id, result);
}

std::string error_line(std::string_view id, const RpcError& error) {
  return fmt::format("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{},\"message\":{}}}}}\n", id,
                     static_cast<int>(error.code), dump(error.message));
}

}  // namespace itgtd::control
