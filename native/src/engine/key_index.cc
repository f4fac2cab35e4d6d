#include "kvarn/engine/key_index.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "kvarn/base/simd.h"

namespace kvarn {
namespace {

constexpr unsigned kMinClass = 2;
static_assert(BucketRange::n_buckets_of(kMinClass) == BucketRange::kMinBuckets);

// What an index without keys consists of. Never written: it is always full.
alignas(BucketRange::kAlignment) constinit KeyBucket no_buckets[BucketRange::kMinBuckets] = {};

KeySegment* no_keys() {
  static KeySegment segment{.size_class = kMinClass - 1, .buckets = BucketRange(no_buckets, kMinClass)};
  return &segment;
}

// One bit for each slot that holds the key.
uint32_t matches(const KeyBucket& bucket, int64_t key) {
  uint32_t equal = 0;
  for (unsigned slot = 0; slot < KeyBucket::kSlots; slot++) {
    equal |= static_cast<uint32_t>(bucket.keys[slot] == key) << slot;
  }
  return equal & bucket.used();
}

KeyBucket* next_bucket(const BucketRange& range, KeyBucket* bucket) {
  return ++bucket == range.end() ? range.begin() : bucket;
}

// For a segment that gets `n` keys: room for a third more.
unsigned class_for(size_t n) {
  unsigned size_class = kMinClass;
  while (BucketRange::n_buckets_of(size_class) * KeyBucket::kSlots * 2 < n * 3) size_class++;
  return size_class;
}

}  // namespace

// ---- directory

KeyIndex::KeyIndex()
    : arena_(std::make_shared<KeyArena>()),
      ranges_(size_t{1} << kMinDepth, no_keys()->buckets),
      segments_(size_t{1} << kMinDepth, no_keys()) {}

KeyIndex::~KeyIndex() { release_all(); }

void KeyIndex::release_all() {
  for (size_t at = first_entry(depth_); at < segments_.size();) {
    KeySegment* segment = segments_[at];
    at = next_entry(at);
    if (segment != no_keys()) arena_->release(segment);
  }
}

void KeyIndex::clear() {
  auto arena = std::make_shared<KeyArena>();
  std::vector<BucketRange> ranges(size_t{1} << kMinDepth, no_keys()->buckets);
  std::vector<KeySegment*> segments(size_t{1} << kMinDepth, no_keys());
  release_all();
  arena_ = std::move(arena);
  ranges_ = std::move(ranges);
  segments_ = std::move(segments);
  depth_ = kMinDepth;
  size_.store(0, std::memory_order_relaxed);
}

size_t KeyIndex::bytes() const {
  return sizeof(*this) + arena_->bytes() + ranges_.capacity() * sizeof(BucketRange) +
         segments_.capacity() * sizeof(KeySegment*);
}

bool KeyIndex::directory_may_grow() const {
  if (depth_ == kMaxDepth) return false;
  size_t n_segments = 0;
  for (size_t at = first_entry(depth_); at < segments_.size(); at = next_entry(at)) n_segments++;
  // Keys that share many bits of the hash must not make the directory large.
  return segments_.size() <= 8 * n_segments;
}

void KeyIndex::grow_directory() {
  std::vector<BucketRange> ranges(2 * ranges_.size());
  std::vector<KeySegment*> segments(2 * segments_.size());
  for (size_t at = 0; at < ranges.size(); at++) {
    ranges[at] = ranges_[at / 2];
    segments[at] = segments_[at / 2];
  }
  ranges_ = std::move(ranges);
  segments_ = std::move(segments);
  depth_++;
}

void KeyIndex::replace(size_t entry, KeySegment* segment) {
  KeySegment* old = segments_[entry];
  const size_t end = next_entry(entry);
  const size_t begin = std::max(end - entries_at(entry), first_entry(depth_));
  for (size_t at = begin; at < end; at++) {
    segments_[at] = segment;
    ranges_[at] = segment->buckets;
  }
  if (old != no_keys()) arena_->release(old);
}

void KeyIndex::unshare(size_t entry) {
  const KeySegment& shared = *segments_[entry];
  // Acquire: what the last view read, it read before our change.
  if (shared.owners.load(std::memory_order_acquire) == 1) return;
  KeySegment* copy = arena_->make(shared.size_class, shared.depth);
  std::memcpy(copy->buckets.begin(), shared.buckets.begin(), shared.buckets.n_buckets() * sizeof(KeyBucket));
  copy->size = shared.size;
  replace(entry, copy);
}

// ---- growth

bool KeyIndex::make_room(size_t entry, bool may_grow_directory) {
  const KeySegment& segment = *segments_[entry];
  if (segment.size_class < KeyArena::kUsualClass) {
    resize(entry);
  } else if (segment.depth < depth_) {
    split(entry);
  } else if (!may_grow_directory) {
    return false;
  } else if (directory_may_grow()) {
    grow_directory();
    split(2 * entry);
  } else {
    resize(entry);
  }
  return true;
}

void KeyIndex::resize(size_t entry) {
  const KeySegment& old = *segments_[entry];
  KeySegment* larger = arena_->make(old.size_class + 1u, old.depth);
  const auto move = [larger](int64_t key, uint32_t row) { put(*larger, key, row, fraction(hash_id(key))); };
  for_each_of(old, move);
  replace(entry, larger);
}

void KeyIndex::split(size_t entry) {
  KeySegment& old = *segments_[entry];
  const unsigned bit = 63u - old.depth;
  size_t n_upper = 0;
  const auto count = [&](int64_t key, uint32_t) { n_upper += position(hash_id(key)) >> bit & 1; };
  for_each_of(old, count);

  // No position has two leading zeros: the lower half of all is only its own upper half.
  const unsigned lower_depth = old.depth == 0 ? 2 : old.depth + 1u;
  KeySegment* lower = arena_->make(class_for(old.size - n_upper), lower_depth);
  KeySegment* upper;
  try {
    upper = arena_->make(class_for(n_upper), old.depth + 1u);
  } catch (const std::bad_alloc&) {
    arena_->release(lower);
    throw;
  }
  const auto move = [=](int64_t key, uint32_t row) {
    const uint64_t hash = hash_id(key);
    put((position(hash) >> bit & 1) != 0 ? *upper : *lower, key, row, fraction(hash));
  };
  for_each_of(old, move);

  const size_t end = next_entry(entry);
  const size_t middle = end - entries_at(entry) / 2;
  const size_t begin = std::max(end - entries_at(entry), first_entry(depth_));
  for (size_t at = begin; at < end; at++) {
    segments_[at] = at < middle ? lower : upper;
    ranges_[at] = segments_[at]->buckets;
  }
  arena_->release(&old);
}

bool KeyIndex::prepare(size_t n) {
  constexpr size_t kKeysPerPiece = 2048;
  const size_t target = size() + n;
  if (target < kPieces * kKeysPerPiece) return false;
  // The densest positions hold twice the average; half a segment's keys may come together by chance.
  const size_t full = BucketRange::n_buckets_of(KeyArena::kUsualClass) * KeyBucket::kSlots;
  const auto depth = static_cast<unsigned>(std::bit_width(target * 4 / full));
  while (depth_ < std::clamp(depth, kPieceBits, kMaxDepth)) grow_directory();
  for (size_t at = first_entry(depth_); at < segments_.size();) {
    if (segments_[at] == no_keys()) {
      resize(at);
    } else if (segments_[at]->depth < kPieceBits) {
      split(at);
    } else {
      at = next_entry(at);
    }
  }
  return true;
}

// ---- searches

KeyIndex::Found KeyIndex::find_in(const BucketRange& range, KeyBucket* bucket, int64_t key) {
  const KeyBucket* home = bucket;
  do {
    const uint32_t equal = matches(*bucket, key);
    if (equal != 0) return {bucket, static_cast<unsigned>(std::countr_zero(equal))};
    if (!bucket->passed()) break;
    bucket = next_bucket(range, bucket);
  } while (bucket != home);
  return {nullptr, 0};
}

uint32_t KeyIndex::find(int64_t key) const {
  const Place place = place_of(key);
  const Found found = find_in(ranges_[place.entry], place.bucket, key);
  return found.bucket == nullptr ? kNoRow : found.bucket->rows[found.slot];
}

void KeyIndex::find_many(const int64_t* keys, size_t n, uint32_t* rows) const {
  Place places[kGroup];
  for (size_t i = 0; i < n; i += kGroup) {
    const size_t m = std::min(kGroup, n - i);
    for (size_t k = 0; k < m; k++) {
      places[k] = place_of(keys[i + k]);
      KVARN_PREFETCH(places[k].bucket);
    }
    for (size_t k = 0; k < m; k++) {
      const Found found = find_in(ranges_[places[k].entry], places[k].bucket, keys[i + k]);
      rows[i + k] = found.bucket == nullptr ? kNoRow : found.bucket->rows[found.slot];
    }
  }
}

// ---- changes

void KeyIndex::put(KeySegment& segment, int64_t key, uint32_t row, uint32_t fraction) {
  KeyBucket* bucket = segment.buckets.at(fraction);
  for (; bucket->full(); bucket = next_bucket(segment.buckets, bucket)) bucket->add_passed();
  const auto slot = static_cast<unsigned>(std::countr_one(bucket->meta));
  bucket->keys[slot] = key;
  bucket->rows[slot] = row;
  bucket->meta |= 1u << slot;
  segment.size++;
}

void KeyIndex::insert(int64_t key, uint32_t row) {
  uint32_t given;
  find_or_insert(&key, nullptr, 1, row, &given, true);
}

bool KeyIndex::set(int64_t key, uint32_t row) {
  const size_t entry = entry_of(hash_id(key));
  if (find(key) == kNoRow) return false;
  unshare(entry);
  const Found found = find_in(ranges_[entry], place_of(key).bucket, key);
  found.bucket->rows[found.slot] = row;
  return true;
}

uint32_t KeyIndex::erase(int64_t key) {
  Place place = place_of(key);
  Found found = find_in(ranges_[place.entry], place.bucket, key);
  if (found.bucket == nullptr) return kNoRow;
  unshare(place.entry);
  place = place_of(key);
  const BucketRange& range = ranges_[place.entry];
  found = find_in(range, place.bucket, key);
  for (KeyBucket* b = place.bucket; b != found.bucket; b = next_bucket(range, b)) b->take_passed();
  found.bucket->meta &= ~(1u << found.slot);
  segments_[place.entry]->size--;
  size_.fetch_sub(1, std::memory_order_relaxed);
  return found.bucket->rows[found.slot];
}

KeyIndex::Progress KeyIndex::find_or_insert(const int64_t* keys, const uint32_t* positions, size_t n,
                                            uint32_t first_row, uint32_t* rows, bool may_grow_directory) {
  // Other threads may count their own keys meanwhile.
  struct Count {
    std::atomic<size_t>& total;
    size_t inserted = 0;
    ~Count() { total.fetch_add(inserted, std::memory_order_relaxed); }
  } count{size_};
  size_t where[kGroup];
  Place places[kGroup];
  for (size_t i = 0; i < n; i += kGroup) {
    const size_t m = std::min(kGroup, n - i);
    for (size_t k = 0; k < m; k++) {
      where[k] = positions == nullptr ? i + k : positions[i + k];
      places[k] = place_of(keys[where[k]]);
      KVARN_PREFETCH_WRITE(places[k].bucket);
    }
    for (size_t k = 0; k < m; k++) {
      const int64_t key = keys[where[k]];
      const Found found = find_in(ranges_[places[k].entry], places[k].bucket, key);
      if (found.bucket != nullptr) {
        rows[where[k]] = found.bucket->rows[found.slot];
        continue;
      }
      KeySegment* segment = segments_[places[k].entry];
      if (segment->size == segment->limit || segment->owners.load(std::memory_order_acquire) != 1) {
        if (segment->size < segment->limit) {
          unshare(places[k].entry);
        } else if (!make_room(places[k].entry, may_grow_directory)) {
          return {i + k, count.inserted};
        }
        // Buckets have moved.
        for (size_t later = k; later < m; later++) places[later] = place_of(keys[where[later]]);
        segment = segments_[places[k].entry];
      }
      const uint32_t row = first_row + static_cast<uint32_t>(count.inserted);
      put(*segment, key, row, fraction(hash_id(key)));
      rows[where[k]] = row;
      count.inserted++;
    }
  }
  return {n, count.inserted};
}

size_t KeyIndex::find_or_insert_many(const int64_t* keys, const uint32_t* positions, size_t n,
                                     uint32_t first_row, uint32_t* rows) {
  return find_or_insert(keys, positions, n, first_row, rows, true).inserted;
}

KeyIndex::Progress KeyIndex::find_or_insert_piece(const int64_t* keys, const uint32_t* positions, size_t n,
                                                  uint32_t first_row, uint32_t* rows) {
  return find_or_insert(keys, positions, n, first_row, rows, false);
}

// ---- views

std::shared_ptr<const KeyIndex::View> KeyIndex::view() const {
  return std::shared_ptr<const View>(new View(*this));
}

KeyIndex::View::View(const KeyIndex& index)
    : arena_(index.arena_), directory_(index.segments_.size()), depth_(index.depth_), size_(index.size()) {
  segments_.reserve(directory_.size());
  for (size_t at = first_entry(depth_); at < directory_.size();) {
    const size_t end = index.next_entry(at);
    std::fill(directory_.begin() + static_cast<ptrdiff_t>(at),
              directory_.begin() + static_cast<ptrdiff_t>(end), static_cast<uint32_t>(segments_.size()));
    segments_.push_back(index.segments_[at]);
    at = end;
  }
  for (KeySegment* segment : segments_) segment->owners.fetch_add(1, std::memory_order_relaxed);
}

KeyIndex::View::~View() {
  for (KeySegment* segment : segments_) arena_->release(segment);
}

uint32_t KeyIndex::View::find(int64_t key) const {
  const uint64_t hash = hash_id(key);
  const KeySegment& segment = *segments_[directory_[position(hash) >> (64 - depth_)]];
  const Found found = find_in(segment.buckets, segment.buckets.at(fraction(hash)), key);
  return found.bucket == nullptr ? kNoRow : found.bucket->rows[found.slot];
}

}  // namespace kvarn
