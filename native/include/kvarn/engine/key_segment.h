// What the key index is made of: segments of 64-byte buckets, and the arena that holds their memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "kvarn/base/pages.h"

namespace kvarn {

// One cache line: up to five keys with their rows. A key that finds its bucket full goes to the next one and
// is counted as passed in every bucket on its way, so that a search ends at the first bucket nobody passed;
// removal takes the counts back, and there are no tombstones.
struct alignas(64) KeyBucket {
  static constexpr unsigned kSlots = 5;
  static constexpr uint32_t kAllUsed = (1u << kSlots) - 1;
  static constexpr uint32_t kOnePassed = 1u << kSlots;
  // A count that has reached its end stays there: searches then go on for longer than they must.
  static constexpr uint32_t kPassedEnd = ~kAllUsed;

  int64_t keys[kSlots];
  uint32_t rows[kSlots];
  uint32_t meta;  // one bit for each used slot, above them the number of keys that passed

  uint32_t used() const { return meta & kAllUsed; }
  bool full() const { return used() == kAllUsed; }
  bool passed() const { return meta > kAllUsed; }
  void add_passed() {
    if ((meta & kPassedEnd) != kPassedEnd) meta += kOnePassed;
  }
  void take_passed() {
    if ((meta & kPassedEnd) != kPassedEnd) meta -= kOnePassed;
  }
};
static_assert(sizeof(KeyBucket) == 64);

// Where the buckets of a segment lie and how many there are, in one word, so that a search reads only this
// before it reads the bucket. There are 2 * 2^k or 3 * 2^k buckets, at an address whose low 8 bits are free:
// six hold 32 - k, and one says which it is.
class BucketRange {
 public:
  static constexpr size_t kAlignment = 256;
  static constexpr size_t kMinBuckets = kAlignment / sizeof(KeyBucket);

  BucketRange() = default;
  BucketRange(const KeyBucket* buckets, unsigned size_class)
      : word_(reinterpret_cast<uintptr_t>(buckets) | (size_class & 1) << 6 | (32 - size_class / 2)) {}

  // Sizes are numbered: 2, 3, 4, 6, 8, 12, ...
  static constexpr size_t n_buckets_of(unsigned size_class) {
    return size_t{2 | (size_class & 1)} << (size_class / 2);
  }

  KeyBucket* begin() const { return reinterpret_cast<KeyBucket*>(word_ & ~uintptr_t{kAlignment - 1}); }
  KeyBucket* end() const { return begin() + n_buckets(); }
  size_t n_buckets() const { return size_t{factor()} << (32 - (word_ & 63)); }
  // The bucket for a fraction of 2^32.
  KeyBucket* at(uint32_t fraction) const { return begin() + (fraction * factor() >> (word_ & 63)); }
  KeyBucket* after(KeyBucket* bucket) const { return bucket + 1 == end() ? begin() : bucket + 1; }

 private:
  uint64_t factor() const { return 2 + (word_ >> 6 & 1); }

  uintptr_t word_ = 0;
};

// The keys of one range of positions. Shared by the index and its views: `owners` counts both, and only a
// segment with a single owner changes.
struct KeySegment {
  std::atomic<uint32_t> owners{1};
  uint8_t size_class = 0;
  uint8_t depth = 0;    // upper bits of the position that all its keys share
  bool pooled = false;  // its memory is a piece of a block
  size_t size = 0;
  size_t limit = 0;  // more keys than these need more buckets
  BucketRange buckets;
};

// Memory for buckets. Thread-safe. Segments of the two largest usual sizes are cut from blocks, and used
// again when they come back; small tables and all other sizes take from the heap and give back.
class KeyArena {
 public:
  static constexpr unsigned kUsualClass = 18;  // 1024 buckets, 64 KiB; and the class before it, 768
  static_assert(BucketRange::n_buckets_of(kUsualClass) == 1024);

  KeyArena() = default;
  KeyArena(const KeyArena&) = delete;
  KeyArena& operator=(const KeyArena&) = delete;
  ~KeyArena();

  // An empty segment, owned by the index. Throws std::bad_alloc.
  KeySegment* make(unsigned size_class, unsigned depth);
  // The index, or a view, no longer owns it. The last owner frees it.
  void leave(KeySegment* segment) noexcept;
  void leave_view(KeySegment* segment) noexcept;
  // All segments are about to go: their memory is not given back piece by piece any more, but as blocks.
  void close() noexcept { closed_.store(true, std::memory_order_relaxed); }
  // Puts full blocks into huge pages, at most n, where there are many.
  void collapse_some(size_t n);
  // Memory in use and kept for use, without segments that only views own.
  size_t bytes() const {
    return held_.load(std::memory_order_relaxed) - only_viewed_.load(std::memory_order_relaxed);
  }

 private:
  struct Free {  // the first bytes of a piece that nobody uses
    Free* next;
    bool discarded;  // all but its first page
  };

  void* take(size_t bytes, bool pooled);
  void* take_piece(size_t bytes);
  void free_segment(KeySegment* segment) noexcept;
  Free*& free_pieces(size_t bytes);

  std::mutex mutex_;
  Free* free_[2] = {};
  // The rest of the newest block, never touched. One size is cut from its front, the other from its back.
  std::byte* fresh_ = nullptr;
  std::byte* fresh_end_ = nullptr;
  std::vector<Pages> blocks_;
  size_t collapsed_ = 0;  // of the blocks
  std::atomic<size_t> held_{0};
  std::atomic<size_t> idle_{0};  // of it, in pieces that nobody uses
  std::atomic<size_t> only_viewed_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace kvarn
