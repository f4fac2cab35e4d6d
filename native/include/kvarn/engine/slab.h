// A fixed number of entries in one allocation. Entries never move inside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kvarn/base/pages.h"
#include "kvarn/engine/entry_layout.h"

namespace kvarn {

class Slab {
 public:
  Slab(const EntryLayout& layout, size_t n_rows, bool huge)
      : memory_(n_rows * layout.row_bytes() + sizeof(int64_t), huge), stride_(layout.stride()) {
    size_t at = (n_rows * stride_ * sizeof(float) + 7) / 8 * 8;
    entries_ = reinterpret_cast<float*>(memory_.data());
    const auto take = [&] {
      auto* column = reinterpret_cast<int64_t*>(memory_.data() + at);
      at += n_rows * sizeof(int64_t);
      return column;
    };
    keys_ = take();
    if (layout.has_freq()) freqs_ = take();
    if (layout.has_version()) versions_ = take();
  }

  // The bytes of a slab of the same layout.
  void copy_from(const Slab& other) { std::memcpy(memory_.data(), other.memory_.data(), memory_.size()); }

  float* entry(size_t row) const { return entries_ + row * stride_; }
  int64_t& key(size_t row) const { return keys_[row]; }
  int64_t* freq(size_t row) const { return freqs_ + row; }        // only if recorded
  int64_t* version(size_t row) const { return versions_ + row; }  // only if recorded

  // The number of the last snapshot taken before this slab was made (see EmbeddingTable::unshare).
  uint64_t made_at_cut = 0;

 private:
  Pages memory_;
  size_t stride_;
  float* entries_;
  int64_t* keys_;
  int64_t* freqs_ = nullptr;
  int64_t* versions_ = nullptr;
};

}  // namespace kvarn
