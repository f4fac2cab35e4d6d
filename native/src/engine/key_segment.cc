#include "kvarn/engine/key_segment.h"

#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace kvarn {
namespace {

// From here on blocks are huge pages; before, a block costs only what is touched of it.
constexpr size_t kHugeFrom = 16 << 20;
// At most this full: more makes searches pass on, less wastes memory.
constexpr size_t kFullNumerator = 9;
constexpr size_t kFullDenominator = 10;

size_t bytes_of(unsigned size_class) { return BucketRange::n_buckets_of(size_class) * sizeof(KeyBucket); }

}  // namespace

KeySegment* KeyArena::make(unsigned size_class, unsigned depth) {
  auto segment = std::make_unique<KeySegment>();
  void* memory = take(size_class);
  std::memset(memory, 0, bytes_of(size_class));
  segment->size_class = static_cast<uint8_t>(size_class);
  segment->depth = static_cast<uint8_t>(depth);
  segment->limit =
      BucketRange::n_buckets_of(size_class) * KeyBucket::kSlots * kFullNumerator / kFullDenominator;
  segment->buckets = BucketRange(static_cast<KeyBucket*>(memory), size_class);
  return segment.release();
}

void KeyArena::release(KeySegment* segment) noexcept {
  // Whoever frees has seen all that the other owners read.
  if (segment->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  give(segment->buckets.begin(), segment->size_class);
  delete segment;
}

void* KeyArena::take(unsigned size_class) {
  const size_t bytes = bytes_of(size_class);
  if (size_class + 1 == kUsualClass || size_class == kUsualClass) {
    return take_piece(pools_[kUsualClass - size_class], bytes);
  }
  void* memory = ::operator new(bytes, std::align_val_t{BucketRange::kAlignment});
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  return memory;
}

void KeyArena::give(void* memory, unsigned size_class) noexcept {
  if (size_class + 1 == kUsualClass || size_class == kUsualClass) {
    Pool& pool = pools_[kUsualClass - size_class];
    const std::lock_guard lock(mutex_);
    pool.free = new (memory) Free{pool.free};
    return;
  }
  ::operator delete(memory, std::align_val_t{BucketRange::kAlignment});
  bytes_.fetch_sub(bytes_of(size_class), std::memory_order_relaxed);
}

void* KeyArena::take_piece(Pool& pool, size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (pool.free != nullptr) return std::exchange(pool.free, pool.free->next);
  if (static_cast<size_t>(pool.fresh_end - pool.fresh) < bytes) {
    const bool huge = this->bytes() >= kHugeFrom;
    blocks_.emplace_back(kBlockBytes, huge);
    pool.fresh = blocks_.back().data();
    pool.fresh_end = pool.fresh + kBlockBytes;
    pool.huge = huge;
    if (huge) bytes_.fetch_add(kBlockBytes, std::memory_order_relaxed);
  }
  if (!pool.huge) bytes_.fetch_add(bytes, std::memory_order_relaxed);
  return std::exchange(pool.fresh, pool.fresh + bytes);
}

}  // namespace kvarn
