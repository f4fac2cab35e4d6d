// What the tests of the key index share: a model to compare with, and keys for given hashes.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "kvarn/base/hash.h"

namespace kvarn::testing {

using Model = std::unordered_map<int64_t, uint32_t>;

// Whether an index, or a view, holds just what the model holds, by every way there is to look.
template <typename Index>
bool same(const Index& index, const Model& model) {
  size_t seen = 0;
  bool right = index.size() == model.size();
  index.for_each([&](int64_t key, uint32_t row) {
    const auto it = model.find(key);
    right = right && it != model.end() && it->second == row;
    seen++;
  });
  for (const auto& [key, row] : model) right = right && index.find(key) == row;
  return right && seen == model.size();
}

// The number whose product with an odd number is 1.
constexpr uint64_t inverse(uint64_t odd) {
  uint64_t x = odd;
  for (int i = 0; i < 6; i++) x *= 2 - odd * x;  // each round doubles the right bits
  return x;
}

// The key whose hash_id is `hash`.
inline int64_t unhash(uint64_t hash) {
  uint64_t x = hash * inverse(0xbf58476d1ce4e5b9u);
  x ^= x >> 29 ^ x >> 58;
  x *= inverse(0x9e3779b97f4a7c15u);
  x ^= x >> 32;
  return static_cast<int64_t>(x);
}

}  // namespace kvarn::testing
