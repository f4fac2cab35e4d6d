// What the tests of the key index share: a model to compare with, and keys for given hashes.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "kvarn/base/hash.h"
#include "kvarn/engine/key_index.h"

namespace kvarn {

struct KeyIndexInspector {
  // Whether the index is what it says it is: the directory leads to the segments, every key lies in its
  // segment on its way, every passed key is counted in just the buckets it passed, and these are full.
  static bool sound(const KeyIndex& index) {
    bool right = index.ranges_.size() == size_t{1} << index.depth_;
    size_t n_keys = 0;
    for (size_t at = index.first_entry(index.depth_); at < index.segments_.size();) {
      const KeySegment& segment = *index.segments_[at];
      const size_t end = index.next_entry(at);
      for (size_t i = at; i < end; i++) {
        right =
            right && index.segments_[i] == &segment && index.ranges_[i].begin() == segment.buckets.begin();
      }
      right = right && segment.size <= segment.limit;
      std::unordered_map<const KeyBucket*, uint32_t> passed;
      size_t n = 0;
      const BucketRange& range = segment.buckets;
      for (KeyBucket* b = range.begin(); b != range.end(); b++) {
        for (unsigned slot = 0; slot < KeyBucket::kSlots; slot++) {
          if ((b->used() >> slot & 1) == 0) continue;
          const uint64_t hash = hash_id(b->keys[slot]);
          const size_t entry = index.entry_of(hash);
          right = right && at <= entry && entry < end;
          for (KeyBucket* on = range.at(KeyIndex::fraction(hash)); on != b; on = range.after(on))
            passed[on]++;
          n++;
        }
      }
      for (const KeyBucket* b = range.begin(); b != range.end(); b++) {
        right = right && b->meta >> KeyBucket::kSlots == passed[b] && (b->full() || !b->passed());
      }
      right = right && n == segment.size;
      n_keys += n;
      at = end;
    }
    return right && n_keys == index.size();
  }
};

}  // namespace kvarn

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
