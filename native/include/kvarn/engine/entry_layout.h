// What one entry of a table consists of, and where.
//
//   entry      := value of slot 0 (the primary) | slot 1 | ...      float32, at fixed offsets
//   entry meta := key, freq (if recorded), version (if recorded)    int64 each
//
// Both live in the same slab (slab.h), so an entry is born, copied and freed as one thing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvarn {

struct SlotLayout {
  size_t dim;     // floats
  size_t offset;  // floats from the start of the entry
};

class EntryLayout {
 public:
  EntryLayout(bool record_freq, bool record_version) : has_freq_(record_freq), has_version_(record_version) {}

  void add_slot(size_t dim) {
    slots_.push_back({dim, end_});
    end_ += dim;
    // Rows of at least 16 bytes start on multiples of 16, so that vector loads seldom straddle cache lines.
    const size_t unit = end_ >= 4 ? 4 : 1;
    stride_ = (end_ + unit - 1) / unit * unit;
  }

  const std::vector<SlotLayout>& slots() const { return slots_; }
  size_t stride() const { return stride_; }  // floats from one entry to the next
  bool has_freq() const { return has_freq_; }
  bool has_version() const { return has_version_; }

  size_t row_bytes() const {
    return stride_ * sizeof(float) +
           sizeof(int64_t) * (1u + (has_freq_ ? 1u : 0u) + (has_version_ ? 1u : 0u));
  }

 private:
  std::vector<SlotLayout> slots_;
  size_t end_ = 0;
  size_t stride_ = 0;
  bool has_freq_;
  bool has_version_;
};

}  // namespace kvarn
