#include "kvarn/engine/key_index.h"

#include <algorithm>
#include <cmath>
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

KeyIndex::~KeyIndex() { leave_all(); }

void KeyIndex::leave_all() {
  if (arena_.use_count() == 1) arena_->close();  // no view keeps some of the memory
  for (size_t at = first_entry(depth_); at < segments_.size();) {
    KeySegment* segment = segments_[at];
    at = next_entry(at);
    if (segment != no_keys()) arena_->leave(segment);
  }
}

void KeyIndex::clear() {
  auto arena = std::make_shared<KeyArena>();
  std::vector<BucketRange> ranges(size_t{1} << kMinDepth, no_keys()->buckets);
  std::vector<KeySegment*> segments(size_t{1} << kMinDepth, no_keys());
  leave_all();
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

void KeyIndex::fill(size_t begin, size_t n, KeySegment* segment) {
  for (size_t at = std::max(begin, first_entry(depth_)); at < begin + n; at++) {
    segments_[at] = segment;
    ranges_[at] = segment->buckets;
  }
}

void KeyIndex::replace(size_t entry, KeySegment* segment) {
  KeySegment* old = segments_[entry];
  const size_t n = entries_at(entry);
  fill(entry & ~(n - 1), n, segment);
  if (old != no_keys()) arena_->leave(old);
}

bool KeyIndex::unshare(size_t entry) {
  const KeySegment& shared = *segments_[entry];
  // Acquire: what the last view read, it read before our change.
  if (shared.owners.load(std::memory_order_acquire) == 1) return false;
  KeySegment* copy = arena_->make(shared.size_class, shared.depth);
  std::memcpy(copy->buckets.begin(), shared.buckets.begin(), shared.buckets.n_buckets() * sizeof(KeyBucket));
  copy->size = shared.size;
  replace(entry, copy);
  return true;
}

// ---- growth

bool KeyIndex::make_room(size_t entry, bool may_grow_directory) {
  const KeySegment& segment = *segments_[entry];
  if (segment.size_class < KeyArena::kUsualClass) {
    resize(entry, segment.size_class + 1u);
  } else if (segment.depth < depth_) {
    split(entry);
  } else if (!may_grow_directory) {
    return false;
  } else if (depth_ < kMaxDepth) {
    // If all keys go to one half, split gives it more buckets than before: keys that share many bits of the
    // hash cannot make the directory double more often than their segment grows.
    grow_directory();
    split(2 * entry);
  } else {
    resize(entry, segment.size_class + 1u);
  }
  return true;
}

// A key on its way to another segment.
struct KeyIndex::Moving {
  int64_t key;
  uint32_t row;
  uint32_t fraction;
};

template <typename Upper>
size_t KeyIndex::pick_up(const KeySegment& segment, Moving* all, Upper upper) {
  // Every slot is written, and then counted or not: whether a slot is used, and to which half its key goes,
  // no processor could guess. One place between the halves stays free for what is not counted.
  Moving* low = all;
  Moving* high = all + segment.size + 1;
  for (const KeyBucket* b = segment.buckets.begin(); b != segment.buckets.end(); b++) {
    for (unsigned slot = 0; slot < KeyBucket::kSlots; slot++) {
      const uint64_t hash = hash_id(b->keys[slot]);
      const size_t used = b->meta >> slot & 1;
      const size_t up = used & upper(hash);
      high -= up;
      *(up != 0 ? high : low) = {b->keys[slot], b->rows[slot], fraction(hash)};
      low += used - up;
    }
  }
  return static_cast<size_t>(low - all);
}

inline void KeyIndex::put(KeySegment& segment, KeyBucket* bucket, int64_t key, uint32_t row) {
  for (; bucket->full(); bucket = segment.buckets.after(bucket)) bucket->add_passed();
  const auto slot = static_cast<unsigned>(std::countr_one(bucket->meta));
  bucket->keys[slot] = key;
  bucket->rows[slot] = row;
  bucket->meta |= 1u << slot;
  segment.size++;
}

void KeyIndex::put_all(KeySegment& segment, const Moving* all, size_t n) {
  for (size_t i = 0; i < n; i++) put(segment, segment.buckets.at(all[i].fraction), all[i].key, all[i].row);
}

void KeyIndex::give_room(size_t entry) {
  const KeySegment& segment = *segments_[entry];
  if (segment.depth <= 2 || segment.size_class > KeyArena::kUsualClass) {
    // One of the first three, or one that grew instead of being split.
    if (segment.size_class > kMinClass) resize(entry, class_for(segment.size));
    return;
  }
  const size_t beside = entry ^ entries_at(entry);
  const KeySegment& other = *segments_[beside];
  if (other.depth == segment.depth && segment.size + other.size <= segment.limit / 2) merge(entry, beside);
}

void KeyIndex::merge(size_t entry, size_t beside) {
  KeySegment& first = *segments_[entry];
  KeySegment& second = *segments_[beside];
  const std::unique_ptr<Moving[]> all(new Moving[std::max(first.size, second.size) + 1]);
  KeySegment* both = arena_->make(class_for(first.size + second.size), first.depth - 1u);
  for (const KeySegment* segment : {&first, &second}) {
    pick_up(*segment, all.get(), [](uint64_t) { return size_t{0}; });
    put_all(*both, all.get(), segment->size);
  }
  const size_t n = 2 * entries_at(entry);
  fill(entry & ~(n - 1), n, both);
  arena_->leave(&first);
  arena_->leave(&second);
}

void KeyIndex::resize(size_t entry, unsigned size_class) {
  const KeySegment& old = *segments_[entry];
  const std::unique_ptr<Moving[]> all(new Moving[old.size + 1]);
  KeySegment* other = arena_->make(size_class, old.depth);
  pick_up(old, all.get(), [](uint64_t) { return size_t{0}; });
  put_all(*other, all.get(), old.size);
  replace(entry, other);
}

void KeyIndex::split(size_t entry) {
  KeySegment& old = *segments_[entry];
  const unsigned bit = 63u - old.depth;
  const std::unique_ptr<Moving[]> all(new Moving[old.size + 1]);
  const size_t n_lower = pick_up(
      old, all.get(), [bit](uint64_t hash) { return static_cast<size_t>(position(hash) >> bit & 1); });

  // No position has two leading zeros: the lower half of all is only its own upper half.
  const unsigned lower_depth = old.depth == 0 ? 2 : old.depth + 1u;
  KeySegment* lower = arena_->make(class_for(n_lower), lower_depth);
  KeySegment* upper;
  try {
    upper = arena_->make(class_for(old.size - n_lower), old.depth + 1u);
  } catch (const std::bad_alloc&) {
    arena_->leave(lower);
    throw;
  }
  put_all(*lower, all.get(), n_lower);
  put_all(*upper, all.get() + n_lower + 1, old.size - n_lower);

  const size_t half = entries_at(entry) / 2;
  const size_t begin = entry & ~(2 * half - 1);
  fill(begin, half, lower);
  fill(begin + half, half, upper);
  arena_->leave(&old);
}

double KeyIndex::share_of(size_t entry) const {
  const auto all = static_cast<double>(ranges_.size());
  const size_t n = entries_at(entry);
  const size_t begin = entry & ~(n - 1);
  // A position is the square of a root that is uniform between one half and one.
  const auto root = [all](size_t at) { return std::max(0.5, std::sqrt(static_cast<double>(at) / all)); };
  return 2.0 * (root(begin + n) - root(begin));
}

void KeyIndex::reserve(size_t n) {
  // So full that chance seldom makes a segment grow before all keys are there.
  constexpr double kFill = 0.93 * 0.8;
  const auto room = [](unsigned size_class) {
    return kFill * static_cast<double>(BucketRange::n_buckets_of(size_class) * KeyBucket::kSlots);
  };
  for (size_t at = first_entry(depth_); at < segments_.size();) {
    const double expected = static_cast<double>(n) * share_of(at);
    const KeySegment& segment = *segments_[at];
    unsigned size_class = std::max<unsigned>(segment.size_class, kMinClass);
    while (size_class < KeyArena::kUsualClass && room(size_class) < expected) size_class++;
    if (room(size_class) >= expected || depth_ == kMaxDepth) {
      if (size_class > segment.size_class) resize(at, size_class);
      at = next_entry(at);
    } else if (segments_[at] == no_keys()) {
      resize(at, kMinClass);
    } else if (segment.depth == depth_) {
      grow_directory();
      at *= 2;
    } else {
      split(at);
    }
  }
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
      resize(at, kMinClass);
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
  const KeyBucket* first = bucket;
  do {
    const uint32_t equal = matches(*bucket, key);
    if (equal != 0) return {bucket, static_cast<unsigned>(std::countr_zero(equal))};
    if (!bucket->passed()) break;
    bucket = range.after(bucket);
  } while (bucket != first);
  return {nullptr, 0};
}

uint32_t KeyIndex::find(int64_t key) const {
  const Place place = place_of(key);
  const Found found = find_in(ranges_[place.entry], place.bucket, key);
  return found.bucket == nullptr ? kNoRow : found.bucket->rows[found.slot];
}

void KeyIndex::find_many(const int64_t* keys, size_t n, uint32_t* rows) const {
  KeyBucket* homes[kGroup];
  // Keys that are not in their first bucket, and may be in the next: that one has to come from memory too.
  size_t later[kGroup];
  size_t n_later = 0;
  for (size_t i = 0; i < n; i += kGroup) {
    const size_t m = std::min(kGroup, n - i);
    for (size_t k = 0; k < m; k++) {
      homes[k] = place_of(keys[i + k]).bucket;
      KVARN_PREFETCH(homes[k]);
    }
    for (size_t k = 0; k < n_later; k++) rows[later[k]] = find(keys[later[k]]);
    n_later = 0;
    for (size_t k = 0; k < m; k++) {
      const uint32_t equal = matches(*homes[k], keys[i + k]);
      const uint32_t row = homes[k]->rows[std::countr_zero(equal | 1u << (KeyBucket::kSlots - 1))];
      rows[i + k] = equal != 0 ? row : kNoRow;
      if (equal == 0 && homes[k]->passed()) {
        KVARN_PREFETCH(homes[k] + 1);
        later[n_later++] = i + k;
      }
    }
  }
  for (size_t k = 0; k < n_later; k++) rows[later[k]] = find(keys[later[k]]);
}

// ---- changes

void KeyIndex::fill_hole(const BucketRange& range, Found hole) {
  const auto distance = [&](const KeyBucket* from, const KeyBucket* to) {
    return static_cast<size_t>(to >= from ? to - from
                                          : to - from + static_cast<ptrdiff_t>(range.n_buckets()));
  };
  while (hole.bucket->passed()) {
    Found passed{nullptr, 0};
    for (KeyBucket* b = range.after(hole.bucket); passed.bucket == nullptr && b != hole.bucket;
         b = range.after(b)) {
      for (uint32_t used = b->used(); used != 0; used &= used - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(used));
        const KeyBucket* first = range.at(fraction(hash_id(b->keys[slot])));
        if (distance(first, b) >= distance(hole.bucket, b)) passed = {b, slot};
      }
    }
    if (passed.bucket == nullptr) break;  // a count that had reached its end
    hole.bucket->keys[hole.slot] = passed.bucket->keys[passed.slot];
    hole.bucket->rows[hole.slot] = passed.bucket->rows[passed.slot];
    for (KeyBucket* b = hole.bucket; b != passed.bucket; b = range.after(b)) b->take_passed();
    hole = passed;
  }
  hole.bucket->meta &= ~(1u << hole.slot);
}

void KeyIndex::insert(int64_t key, uint32_t row) {
  uint32_t given;
  find_or_insert_many(&key, nullptr, 1, row, &given);
}

bool KeyIndex::set(int64_t key, uint32_t row) {
  const Place place = place_of(key);
  Found found = find_in(ranges_[place.entry], place.bucket, key);
  if (found.bucket == nullptr) return false;
  if (unshare(place.entry)) found = find_in(ranges_[place.entry], place_of(key).bucket, key);
  found.bucket->rows[found.slot] = row;
  return true;
}

uint32_t KeyIndex::erase(int64_t key) {
  Place place = place_of(key);
  const BucketRange& range = ranges_[place.entry];
  Found found = find_in(range, place.bucket, key);
  if (found.bucket == nullptr) return kNoRow;
  if (unshare(place.entry)) {
    place = place_of(key);
    found = find_in(range, place.bucket, key);
  }
  const uint32_t row = found.bucket->rows[found.slot];
  for (KeyBucket* b = place.bucket; b != found.bucket; b = range.after(b)) b->take_passed();
  fill_hole(range, found);
  KeySegment& segment = *segments_[place.entry];
  segment.size--;
  size_.fetch_sub(1, std::memory_order_relaxed);
  if (segment.size < segment.limit / 4) {
    try {
      give_room(place.entry);
    } catch (const std::bad_alloc&) {
      // It stays larger than it has to be.
    }
  }
  return row;
}

void KeyIndex::find_or_insert(const int64_t* keys, const uint32_t* positions, const uint32_t* numbers,
                              size_t n, uint32_t first_row, uint32_t* rows, bool may_grow_directory,
                              size_t& done, size_t& inserted) {
  const auto where = [positions](size_t i) { return positions == nullptr ? i : size_t{positions[i]}; };
  // A ring: the place of key i + kGroup is looked up when key i is done.
  Place places[kGroup];
  const auto fetch = [&](size_t i) {
    if (i >= n) return;
    Place& place = places[i % kGroup];
    place = place_of(keys[where(i)]);
    KVARN_PREFETCH_WRITE(place.bucket);
  };
  // A key that is not in its first bucket, or does not fit there, goes to the next one: that has to come from
  // memory too. (Past the end of the segment it is the wrong one, and no harm is done.)
  const auto fetch_next = [&](size_t i) {
    if (i >= n) return;
    const KeyBucket* home = places[i % kGroup].bucket;
    KVARN_PREFETCH_WRITE(home + (home->meta >= KeyBucket::kAllUsed ? 1 : 0));
  };
  for (size_t i = 0; i < std::min(kGroup, n); i++) fetch(i);
  for (size_t i = 0; i < std::min(kGroup / 2, n); i++) fetch_next(i);
  for (size_t& i = done; i < n; fetch(i + kGroup), fetch_next(i + kGroup / 2), i++) {
    const int64_t key = keys[where(i)];
    Place& place = places[i % kGroup];
    const Found found = find_in(ranges_[place.entry], place.bucket, key);
    if (found.bucket != nullptr) {
      rows[where(i)] = found.bucket->rows[found.slot];
      continue;
    }
    KeySegment* segment = segments_[place.entry];
    if (segment->size == segment->limit || segment->owners.load(std::memory_order_acquire) != 1) {
      if (segment->size < segment->limit) {
        unshare(place.entry);
      } else if (!make_room(place.entry, may_grow_directory)) {
        return;
      }
      // Buckets have moved.
      for (size_t later = i; later < std::min(i + kGroup, n); later++) fetch(later);
      segment = segments_[place.entry];
    }
    const uint32_t row = first_row + (numbers != nullptr ? numbers[i] : static_cast<uint32_t>(inserted));
    put(*segment, place.bucket, key, row);
    rows[where(i)] = row;
    inserted++;
  }
}

namespace {

// Adds the keys of one call to those of the index in the end, however it ends: other threads may add theirs.
struct Inserted {
  std::atomic<size_t>& total;
  size_t n = 0;
  ~Inserted() { total.fetch_add(n, std::memory_order_relaxed); }
};

}  // namespace

size_t KeyIndex::find_or_insert_many(const int64_t* keys, const uint32_t* positions, size_t n,
                                     uint32_t first_row, uint32_t* rows) {
  Inserted inserted{size_};
  size_t done = 0;
  find_or_insert(keys, positions, nullptr, n, first_row, rows, true, done, inserted.n);
  return inserted.n;
}

size_t KeyIndex::find_or_insert_numbered(const int64_t* keys, const uint32_t* numbers, size_t n,
                                         uint32_t first_row, uint32_t* rows) {
  Inserted inserted{size_};
  size_t done = 0;
  find_or_insert(keys, nullptr, numbers, n, first_row, rows, true, done, inserted.n);
  return inserted.n;
}

KeyIndex::Progress KeyIndex::find_or_insert_piece(const int64_t* keys, const uint32_t* numbers, size_t n,
                                                  uint32_t first_row, uint32_t* rows) {
  Inserted inserted{size_};
  size_t done = 0;
  try {
    find_or_insert(keys, nullptr, numbers, n, first_row, rows, false, done, inserted.n);
  } catch (const std::bad_alloc&) {
    // The rest will find out whether there is memory again.
  }
  return {done, inserted.n};
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
  for (KeySegment* segment : segments_) arena_->leave_view(segment);
}

uint32_t KeyIndex::View::find(int64_t key) const {
  const uint64_t hash = hash_id(key);
  const KeySegment& segment = *segments_[directory_[position(hash) >> (64 - depth_)]];
  const Found found = find_in(segment.buckets, segment.buckets.at(fraction(hash)), key);
  return found.bucket == nullptr ? kNoRow : found.bucket->rows[found.slot];
}

}  // namespace kvarn
