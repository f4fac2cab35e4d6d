// Base-128 varints, the numbers of tables and protobuf messages: 7 bits a byte, low bits first, the top bit
// set on all bytes but the last.
#pragma once

#include <cstdint>
#include <string>

namespace kvarn {

constexpr int kMaxVarintBytes = 10;

enum class VarintEnd { kWhole, kCutOff, kTooLong };

// The number at `p`, modulo 2^64, and in `p` the byte after it; `p` stays when it is not whole.
inline VarintEnd read_varint(const unsigned char*& p, const unsigned char* end, uint64_t* value) {
  uint64_t sum = 0;
  for (int i = 0; i < kMaxVarintBytes; i++) {
    if (end - p <= i) return VarintEnd::kCutOff;
    const uint64_t byte = p[i];
    sum |= (byte & 127) << (7 * i);
    if (byte < 128) {
      p += i + 1;
      *value = sum;
      return VarintEnd::kWhole;
    }
  }
  return VarintEnd::kTooLong;
}

inline void append_varint(std::string* out, uint64_t value) {
  for (; value > 127; value >>= 7) out->push_back(static_cast<char>(value | 128));
  out->push_back(static_cast<char>(value));
}

}  // namespace kvarn
