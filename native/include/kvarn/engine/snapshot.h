// One consistent cut of a table: all slots of all entries at one moment.
//
// A snapshot shares the table's slabs; the table copies a shared slab before it writes to it. So a snapshot
// holds no lock, never blocks the table, cannot deadlock, and costs memory only for the key order (12 bytes
// an entry) and for slabs that are changed while it lives. It outlives the table. Reading is thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvarn/engine/entry_layout.h"
#include "kvarn/engine/slab.h"

namespace kvarn {

class Snapshot {
 public:
  // The rows [0, n_rows) of `slabs` but `free_rows`. `alive` is dropped when the slabs are no longer read.
  Snapshot(EntryLayout layout, unsigned slab_shift, std::vector<std::shared_ptr<Slab>> slabs,
           std::span<const uint32_t> free_rows, size_t n_rows, size_t n_buckets, std::shared_ptr<void> alive);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // Keys by bucket (key mod n_buckets, never negative), inside a bucket by row.
  const std::vector<int64_t>& keys() const { return keys_; }
  // Where each bucket begins in keys(), and one end: n_buckets + 1 numbers.
  const std::vector<int32_t>& partition_offset() const { return partition_offset_; }
  const EntryLayout& layout() const { return layout_; }

  // out[i] = the value of `slot` for keys()[start + i], for out.size() / dim entries.
  void values(size_t slot, size_t start, std::span<float> out) const;
  // Zeros if not recorded.
  void freqs(size_t start, std::span<int64_t> out) const;
  // -1 if not recorded.
  void versions(size_t start, std::span<int64_t> out) const;

 private:
  const Slab& slab_of(uint32_t row) const { return *slabs_[row >> slab_shift_]; }
  size_t in_slab(uint32_t row) const { return row & ((size_t{1} << slab_shift_) - 1); }

  std::shared_ptr<void> alive_;  // first, so that it goes last
  EntryLayout layout_;
  unsigned slab_shift_;
  std::vector<std::shared_ptr<Slab>> slabs_;
  std::vector<int64_t> keys_;
  std::vector<uint32_t> rows_;
  std::vector<int32_t> partition_offset_;
};

}  // namespace kvarn
