// Result<T>: a value, or the reason why the world did not give one.
//
// For what disks, sockets, files and operators do. Protocol outcomes are values of their own (Sense,
// LoginStatus, Reject); bugs are assertions.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace itgtd {

/// Why something could not be done: an errno (0 where there is none) and a sentence for a person.
struct Error {
  int code = 0;
  std::string message;

  /// The sentence, with the system's word for `code` behind it where there is one.
  [[nodiscard]] std::string to_string() const {
    return code == 0 ? message : message + ": " + std::strerror(code);
  }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() {
    T* value = std::get_if<0>(&state_);
    ITGTD_ASSERT(value != nullptr);
    return *value;
  }
  const T& value() const {
    const T* value = std::get_if<0>(&state_);
    ITGTD_ASSERT(value != nullptr);
    return *value;
  }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const {
    const Error* error = std::get_if<1>(&state_);
    ITGTD_ASSERT(error != nullptr);
    return *error;
  }

 private:
  std::variant<T, Error> state_;
};

/// A Result without a value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}

  [[nodiscard]] bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] const Error& error() const {
    ITGTD_ASSERT(failed_);
    return error_;
  }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace itgtd
