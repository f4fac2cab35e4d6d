#include "kvarn/engine/key_segment.h"

#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "kvarn/base/page_pool.h"
#include "kvarn/base/poison.h"

namespace kvarn {
namespace {

constexpr size_t kBlockBytes = Pages::kHugePage;
// From so many blocks on they are made huge pages now, not when the system has time.
constexpr size_t kCollapseFrom = 128;
constexpr size_t kPoolFrom = 1 << 20;  // smaller tables would not use again most of what comes back
// Of more pieces that nobody uses (after a view of a table that changed, or removals) only a page each is
// kept.
constexpr size_t kMaxIdleFraction = 16;
constexpr size_t kPage = 4096;
// From here on blocks become huge pages when they are full.
constexpr size_t kHugeFrom = 16 << 20;
// At most this full. At 9/10 a key passes ten full buckets on average before it is inserted, at 3/4 there is
// one byte more a key.
constexpr size_t kFullNumerator = 4;
constexpr size_t kFullDenominator = 5;

constexpr size_t bytes_of(unsigned size_class) {
  return BucketRange::n_buckets_of(size_class) * sizeof(KeyBucket);
}

constexpr size_t kLargePiece = bytes_of(KeyArena::kUsualClass);

// Blocks of tables that went, as slabs of rows are kept (row_store.cc).
PagePool& pool() {
  static auto* const made = new PagePool(kBlockBytes, 64);  // 128 MiB
  return *made;
}

}  // namespace

KeyArena::~KeyArena() {
  for (Pages& block : blocks_) {
    unpoison(block.data(), block.size());
    pool().give(std::move(block));
  }
}

KeySegment* KeyArena::make(unsigned size_class, unsigned depth) {
  auto segment = std::make_unique<KeySegment>();
  const size_t bytes = bytes_of(size_class);
  segment->size_class = static_cast<uint8_t>(size_class);
  segment->depth = static_cast<uint8_t>(depth);
  segment->pooled = (size_class == kUsualClass || size_class == kUsualClass - 1) &&
                    held_.load(std::memory_order_relaxed) >= kPoolFrom;
  segment->limit =
      BucketRange::n_buckets_of(size_class) * KeyBucket::kSlots * kFullNumerator / kFullDenominator;
  void* memory = take(bytes, segment->pooled);
  std::memset(memory, 0, bytes);
  segment->buckets = BucketRange(static_cast<KeyBucket*>(memory), size_class);
  held_.fetch_add(sizeof(KeySegment), std::memory_order_relaxed);
  return segment.release();
}

// Whoever frees has seen all that the other owners read: hence acquire and release.
void KeyArena::collapse_some(size_t n) {
  const std::lock_guard lock(mutex_);
  if (blocks_.size() < kCollapseFrom) return;
  for (; n > 0 && collapsed_ + 1 < blocks_.size(); n--) blocks_[collapsed_++].collapse(0, 1);
}

void KeyArena::leave(KeySegment* segment) noexcept {
  const size_t bytes = bytes_of(segment->size_class) + sizeof(KeySegment);
  // Before the last view can take it back.
  only_viewed_.fetch_add(bytes, std::memory_order_relaxed);
  if (segment->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  only_viewed_.fetch_sub(bytes, std::memory_order_relaxed);
  free_segment(segment);
}

void KeyArena::leave_view(KeySegment* segment) noexcept {
  if (segment->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  only_viewed_.fetch_sub(bytes_of(segment->size_class) + sizeof(KeySegment), std::memory_order_relaxed);
  free_segment(segment);
}

void* KeyArena::take(size_t bytes, bool pooled) {
  if (pooled) return take_piece(bytes);
  void* memory = ::operator new(bytes, std::align_val_t{BucketRange::kAlignment});
  held_.fetch_add(bytes, std::memory_order_relaxed);
  return memory;
}

void KeyArena::free_segment(KeySegment* segment) noexcept {
  const size_t bytes = bytes_of(segment->size_class);
  void* memory = segment->buckets.begin();
  if (segment->pooled) {
    const bool discard = !closed_.load(std::memory_order_relaxed) &&
                         idle_.load(std::memory_order_relaxed) > this->bytes() / kMaxIdleFraction;
    const size_t given_back = discard ? bytes - kPage : 0;
    if (discard) Pages::discard(static_cast<std::byte*>(memory) + kPage, bytes - kPage);
    held_.fetch_sub(given_back, std::memory_order_relaxed);
    idle_.fetch_add(bytes - given_back, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    Free*& pieces = free_pieces(bytes);
    pieces = new (memory) Free{pieces, discard};
    poison(pieces + 1, bytes - sizeof(Free));
  } else {
    ::operator delete(memory, std::align_val_t{BucketRange::kAlignment});
    held_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  held_.fetch_sub(sizeof(KeySegment), std::memory_order_relaxed);
  delete segment;
}

KeyArena::Free*& KeyArena::free_pieces(size_t bytes) { return free_[bytes == kLargePiece ? 1 : 0]; }

void* KeyArena::take_piece(size_t bytes) {
  const std::lock_guard lock(mutex_);
  Free*& pieces = free_pieces(bytes);
  if (pieces != nullptr) {
    Free* piece = std::exchange(pieces, pieces->next);
    unpoison(piece, bytes);
    const size_t given_back = piece->discarded ? bytes - kPage : 0;
    held_.fetch_add(given_back, std::memory_order_relaxed);
    idle_.fetch_sub(bytes - given_back, std::memory_order_relaxed);
    return piece;
  }
  if (static_cast<size_t>(fresh_end_ - fresh_) < bytes) {
    // A block is first touched in small pages, as rows are (row_store.h).
    if (!blocks_.empty() && held_.load(std::memory_order_relaxed) >= kHugeFrom) blocks_.back().advise_huge();
    const Pages& block = blocks_.emplace_back(pool().take());
    fresh_ = block.data();
    fresh_end_ = fresh_ + kBlockBytes;
  }
  held_.fetch_add(bytes, std::memory_order_relaxed);
  if (bytes == kLargePiece) return fresh_end_ -= bytes;
  return std::exchange(fresh_, fresh_ + bytes);
}

}  // namespace kvarn
