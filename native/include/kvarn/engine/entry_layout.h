// What one entry of a table consists of, and where.
//
//   entry := value of slot 0 (the primary) | slot 1 | ...   float32, at fixed offsets
//   meta  := freq, version                                  int64 each, if either is kept
//
// Both lie in the same slab (row_store.h) under the same row number. The key is in the index alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvarn {

struct SlotLayout {
  size_t dim;     // floats
  size_t offset;  // floats from the start of the entry
};

// How often a key was counted, and the step of its last update (-1: none).
struct RowMeta {
  int64_t freq = 0;
  int64_t version = -1;
};

class EntryLayout {
 public:
  explicit EntryLayout(bool has_meta) : has_meta_(has_meta) {}

  void add_slot(size_t dim) {
    slots_.push_back({dim, end_});
    end_ += dim;
    // Rows of at least 16 bytes start on multiples of 16, so that vector loads seldom straddle cache lines.
    const size_t unit = end_ >= 4 ? 4 : 1;
    stride_ = (end_ + unit - 1) / unit * unit;
  }

  const std::vector<SlotLayout>& slots() const { return slots_; }
  size_t stride() const { return stride_; }  // floats from one entry to the next
  bool has_meta() const { return has_meta_; }
  size_t entry_bytes() const { return stride_ * sizeof(float); }
  size_t row_bytes() const { return entry_bytes() + (has_meta_ ? sizeof(RowMeta) : 0); }

 private:
  std::vector<SlotLayout> slots_;
  size_t end_ = 0;
  size_t stride_ = 0;
  bool has_meta_;
};

}  // namespace kvarn
