// Protobuf varints, one and in runs: 7 bits a byte, low bits first, the top bit set on all bytes but the
// last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvarn {

constexpr size_t kMaxVarintBytes = 10;

enum class VarintEnd { kWhole, kCutOff, kTooLong };

// The number at `p`, modulo 2^64, and in `p` the byte after it; `p` stays when it is not whole.
inline VarintEnd read_varint(const unsigned char*& p, const unsigned char* end, uint64_t* value) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kMaxVarintBytes; i++) {
    if (static_cast<size_t>(end - p) <= i) return VarintEnd::kCutOff;
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

// Decodes out.size() varints from the start of `data`, each cut to the width of T. The number of bytes they
// take, or 0 when one is cut off or has more than kMaxVarintBytes bytes and `out` is not empty; `out` is then
// undefined.
template <typename T>
size_t decode_varints(std::span<const unsigned char> data, std::span<T> out) {
  const unsigned char* p = data.data();
  const unsigned char* const end = p + data.size();
  for (T& value : out) {
    if (p == end) return 0;
    uint64_t v = *p++;
    if (v >= 128) {
      v &= 127;
      for (unsigned shift = 7;; shift += 7) {
        if (p == end || shift > 7 * (kMaxVarintBytes - 1)) return 0;
        const uint64_t b = *p++;
        v |= (b & 127) << shift;
        if (b < 128) break;
      }
    }
    value = static_cast<T>(v);
  }
  return static_cast<size_t>(p - data.data());
}

// A number as protobuf writes it: negative ones as 64 bits, so 10 bytes, whatever their type.
template <typename T>
uint64_t varint_bits(T value) {
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}

// How many bytes `values` take as varints.
template <typename T>
size_t varints_size(std::span<const T> values) {
  size_t size = values.size();
  for (const T value : values) {
    for (uint64_t v = varint_bits(value); v >= 128; v >>= 7) size++;
  }
  return size;
}

// Writes `values` as varints to `out`, which has varints_size(values) bytes.
template <typename T>
void encode_varints(std::span<const T> values, unsigned char* out) {
  for (const T value : values) {
    uint64_t v = varint_bits(value);
    for (; v >= 128; v >>= 7) *out++ = static_cast<unsigned char>(v | 128);
    *out++ = static_cast<unsigned char>(v);
  }
}

}  // namespace kvarn
