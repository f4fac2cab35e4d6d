// The hash of an id inside this process (index, unique). Never written to a file, so it may change.
#pragma once

#include <cstdint>

namespace kvarn {

// Two rounds of multiply and shift: ids are often consecutive, or multiples of a power of two, and the index
// takes the upper bits.
inline uint64_t hash_id(int64_t id) {
  auto x = static_cast<uint64_t>(id);
  x ^= x >> 32;
  x *= 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9u;
  return x;
}

}  // namespace kvarn
