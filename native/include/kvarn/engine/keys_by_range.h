// Many keys sorted by where they lie in the index, roughly: so that whoever inserts them finds what each
// range needs of a large index in the caches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvarn/base/pages.h"
#include "kvarn/engine/key_index.h"

namespace kvarn {

class KeysByRange {
 public:
  static constexpr size_t kRangesPerPiece = 2;
  static constexpr size_t kRanges = KeyIndex::kPieces * kRangesPerPiece;
  // At most so many keys at a time: what the order saves hardly grows further, and the memory for it does.
  static constexpr size_t kMost = size_t{1} << 22;

  // Throws std::bad_alloc.
  explicit KeysByRange(std::span<const int64_t> keys);
  ~KeysByRange();
  KeysByRange(const KeysByRange&) = delete;
  KeysByRange& operator=(const KeysByRange&) = delete;

  // The keys of a range and their places among all keys; in this order.
  struct Range {
    int64_t* keys = nullptr;
    uint32_t* numbers = nullptr;
    size_t n = 0;
  };
  const Range& operator[](size_t range) const { return ranges_[range]; }

 private:
  std::array<Range, kRanges> ranges_{};
  std::vector<Pages> memory_;
};

}  // namespace kvarn
