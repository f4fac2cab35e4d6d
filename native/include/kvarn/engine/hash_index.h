// Key to row number: open addressing with linear probing over 16-byte slots.
//
// Every int64 is a valid key: a slot is empty by its row, not by its key. Removal shifts the following slots
// back, so there are no tombstones. Not thread-safe; the table locks around it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kvarn/base/hash.h"
#include "kvarn/base/pages.h"
#include "kvarn/base/simd.h"

namespace kvarn {

class HashIndex {
 public:
  static constexpr uint32_t kNoRow = UINT32_MAX;
  static constexpr uint32_t kNoMark = UINT32_MAX;

  struct Slot {
    int64_t key;
    uint32_t row;   // kNoRow: the slot is empty
    uint32_t mark;  // scratch of one batch, kNoMark between batches
  };

  HashIndex() { resize(kMinCapacity); }

  size_t size() const { return size_; }
  size_t bytes() const { return memory_.size(); }

  // The slot where the search for a key with this hash begins.
  size_t home(uint64_t hash) const { return static_cast<size_t>(hash >> shift_); }
  void prefetch(uint64_t hash) const { KVARN_PREFETCH(slots_ + home(hash)); }

  // The slot that holds `key`, or the empty slot where it would go.
  Slot* find(int64_t key, uint64_t hash) const {
    for (size_t q = home(hash);; q = (q + 1) & mask_) {
      Slot* s = slots_ + q;
      if (s->key == key && s->row != kNoRow) return s;
      if (s->row == kNoRow) return s;
    }
  }
  Slot* find(int64_t key) const { return find(key, hash_id(key)); }

  // Whether there is no room for one more key.
  bool full() const { return size_ >= limit_; }
  // Doubles the room; slots move. Throws std::bad_alloc and is then unchanged.
  void grow() { resize(2 * (mask_ + 1)); }

  // Fills an empty slot that `find` returned; the index must not be full.
  void insert_at(Slot* slot, int64_t key, uint32_t row) {
    *slot = {key, row, kNoMark};
    size_++;
  }

  // The row of `key`, which is forgotten; kNoRow if it was not there.
  uint32_t erase(int64_t key) {
    Slot* found = find(key);
    const uint32_t row = found->row;
    if (row == kNoRow) return kNoRow;
    size_t hole = static_cast<size_t>(found - slots_);
    for (size_t q = (hole + 1) & mask_; slots_[q].row != kNoRow; q = (q + 1) & mask_) {
      // A slot may fill the hole unless its own search would begin after the hole.
      const size_t from_home = (q - home(hash_id(slots_[q].key))) & mask_;
      const size_t from_hole = (q - hole) & mask_;
      if (from_home >= from_hole) {
        slots_[hole] = slots_[q];
        hole = q;
      }
    }
    slots_[hole].row = kNoRow;
    size_--;
    return row;
  }

  void clear() {
    size_ = 0;
    resize(kMinCapacity);
  }

 private:
  static constexpr size_t kMinCapacity = 64;
  static constexpr size_t kLoadNumerator = 11;  // at most 0.69 full
  static constexpr size_t kLoadDenominator = 16;
  static constexpr size_t kHugeBytes = 4 << 20;

  void resize(size_t capacity) {
    const size_t bytes = capacity * sizeof(Slot);
    Pages memory(bytes, bytes >= kHugeBytes);
    std::memset(memory.data(), 0xff, bytes);
    const Slot* old = slots_;
    const size_t old_capacity = size_ == 0 ? 0 : mask_ + 1;
    slots_ = reinterpret_cast<Slot*>(memory.data());
    mask_ = capacity - 1;
    limit_ = capacity / kLoadDenominator * kLoadNumerator;
    shift_ = 64 - static_cast<unsigned>(std::countr_zero(capacity));
    // Homes are the upper bits of the hash: slots in old order land in new order, so this walks memory
    // forward.
    for (size_t q = 0; q < old_capacity; q++) {
      if (old[q].row != kNoRow) *find(old[q].key) = old[q];
    }
    memory_ = std::move(memory);
  }

  Pages memory_;
  Slot* slots_ = nullptr;
  size_t mask_ = 0;
  size_t limit_ = 0;
  unsigned shift_ = 0;
  size_t size_ = 0;
};

}  // namespace kvarn
