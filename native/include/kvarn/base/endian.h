// Little-endian numbers, the byte order of every format kvarn reads and writes.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace kvarn {

inline uint32_t load32(const void* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap32(v);
  return v;
}

inline uint64_t load64(const void* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap64(v);
  return v;
}

inline void append32(std::string* out, uint32_t value) {
  for (int i = 0; i < 4; i++) out->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace kvarn
