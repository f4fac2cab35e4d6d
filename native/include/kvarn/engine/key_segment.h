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
// before it reads the bucket. There are 2 * 2^k or 3 * 2^k buckets, at an address whose low 8 bits are free.
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
  size_t n_buckets() const { return size_t{2 + (word_ >> 6 & 1)} << (32 - (word_ & 63)); }
  KeyBucket* end() const { return begin() + n_buckets(); }
  // The bucket for a fraction of 2^32.
  KeyBucket* at(uint32_t fraction) const {
    return begin() + ((uint64_t{fraction} * (2 + (word_ >> 6 & 1))) >> (word_ & 63));
  }

 private:
  uintptr_t word_ = 0;
};

// The keys of one range of positions. Shared by the index and its views: `owners` counts both, and only a
// segment with a single owner changes.
struct KeySegment {
  std::atomic<uint32_t> owners{1};
  uint8_t size_class = 0;
  uint8_t depth = 0;  // upper bits of the position that all its keys share
  size_t size = 0;
  size_t limit = 0;  // more keys than these need more buckets
  BucketRange buckets;
};

// Memory for buckets. Thread-safe. Segments of the two usual sizes are cut from blocks and used again when
// they come back; what is smaller or larger is taken and given back by itself.
class KeyArena {
 public:
  static constexpr unsigned kUsualClass = 18;  // 1024 buckets, 64 KiB; and the class before it, 768
  static_assert(BucketRange::n_buckets_of(kUsualClass) == 1024);

  KeyArena() = default;
  KeyArena(const KeyArena&) = delete;
  KeyArena& operator=(const KeyArena&) = delete;

  // An empty segment with one owner. Throws std::bad_alloc.
  KeySegment* make(unsigned size_class, unsigned depth);
  // One owner less; the last one frees it.
  void release(KeySegment* segment) noexcept;
  // Memory in use and kept for use.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kBlockBytes = 2 << 20;

  struct Free {  // the first bytes of a piece that nobody uses
    Free* next;
  };
  struct Pool {  // pieces of one size
    Free* free = nullptr;
    std::byte* fresh = nullptr;  // the rest of the newest block, never touched
    std::byte* fresh_end = nullptr;
    bool huge = false;
  };

  void* take(unsigned size_class);
  void give(void* memory, unsigned size_class) noexcept;
  void* take_piece(Pool& pool, size_t bytes);

  std::mutex mutex_;
  Pool pools_[2];
  std::vector<Pages> blocks_;
  std::atomic<size_t> bytes_{0};
};

}  // namespace kvarn
