// The outcome of a batch call: a TensorFlow error code and a message, or OK.
//
// Codes are those of tensorflow/core/lib/core/error_codes.proto; the bindings turn them into kvarn.errors.
#pragma once

#include <string>
#include <utility>

namespace kvarn {

enum class Code : int {
  kOk = 0,
  kInvalidArgument = 3,
  kNotFound = 5,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kOutOfRange = 11,
  kInternal = 13,
  kDataLoss = 15,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status invalid(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }
  static Status exhausted(std::string message) { return {Code::kResourceExhausted, std::move(message)}; }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

}  // namespace kvarn
