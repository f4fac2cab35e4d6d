// What was in the rows of one cut that have been written since: each row is copied at most once, so a cut
// costs at most the rows that change while it lives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kvarn/base/pages.h"
#include "kvarn/engine/entry_layout.h"

namespace kvarn {

class UndoLog {
 public:
  UndoLog(size_t n_rows, const EntryLayout& layout);

  // Room for so many more rows. Throws std::bad_alloc.
  void reserve(size_t n);
  // Copies a row unless it is kept already. Threads may do so at once for different rows, after `reserve`.
  void keep(uint32_t row, const float* entry, const RowMeta* meta) {
    uint32_t& place = places()[row];
    if (place != 0) return;
    const uint32_t number = used_.fetch_add(1, std::memory_order_relaxed);
    std::byte* record = record_at(number);
    if (meta != nullptr) std::memcpy(record, meta, sizeof(RowMeta));
    std::memcpy(record + meta_bytes_, entry, entry_bytes_);
    place = number + 1;
  }

  // Null: the row is as it was.
  const float* entry(uint32_t row) const {
    const uint32_t place = places()[row];
    return place == 0 ? nullptr : reinterpret_cast<const float*>(record_at(place - 1) + meta_bytes_);
  }
  const RowMeta* meta(uint32_t row) const {
    const uint32_t place = places()[row];
    return place == 0 ? nullptr : reinterpret_cast<const RowMeta*>(record_at(place - 1));
  }
  bool empty() const { return used_.load(std::memory_order_relaxed) == 0; }
  size_t bytes() const { return used_.load(std::memory_order_relaxed) * record_bytes_; }

 private:
  uint32_t* places() const { return reinterpret_cast<uint32_t*>(places_.data()); }
  std::byte* record_at(uint32_t number) const {
    return blocks_[number >> block_shift_].data() + (number & block_mask_) * record_bytes_;
  }

  size_t meta_bytes_;
  size_t entry_bytes_;
  size_t record_bytes_;
  unsigned block_shift_;
  uint32_t block_mask_;
  Pages places_;  // of each row: 1 + its record, 0 if it has none; untouched pages cost nothing
  std::vector<Pages> blocks_;
  std::atomic<uint32_t> used_ = 0;
};

}  // namespace kvarn
