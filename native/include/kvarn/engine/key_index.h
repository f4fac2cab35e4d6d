// Key to row number, for any int64 key: extendible hashing over segments of cache-line buckets.
//
// A directory, indexed by the upper bits of a key's position, names the segment of the key; a search reads
// one word of the directory and then, nearly always, one bucket. A segment that is full grows up to 1024
// buckets and then splits in two, so growth costs microseconds at a time and never holds two tables.
//
// Were positions uniform, all segments would be full at the same moment and memory would double at once.
// The position is therefore a square: its density falls by half from one end to the other, and at any size
// of the table some segments are nearly full while others have just split.
//
// Not locked: any number of threads may call const functions at once, and one thread anything (but see
// find_or_insert_piece). Views may be read and dropped on any thread.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kvarn/base/hash.h"
#include "kvarn/engine/key_segment.h"

namespace kvarn {

class KeyIndex {
 public:
  static constexpr uint32_t kNoRow = UINT32_MAX;
  // Keys fall into this many pieces which share no segment once `prepare` says so.
  static constexpr size_t kPieces = 48;
  static constexpr size_t kGroupsPerPiece = 16;
  static constexpr size_t kGroups = kPieces * kGroupsPerPiece;

  // Spreads the hashes of a segment over its buckets.
  static constexpr uint64_t kSpread = 0xd6e8feb86659fd93u;

  class View;

  KeyIndex();
  ~KeyIndex();
  KeyIndex(const KeyIndex&) = delete;
  KeyIndex& operator=(const KeyIndex&) = delete;

  size_t size() const { return size_.load(std::memory_order_relaxed); }
  // Memory held, without what only views hold on to.
  size_t bytes() const;

  // kNoRow if absent.
  uint32_t find(int64_t key) const;
  // rows[i] = the row of keys[i] or kNoRow.
  void find_many(const int64_t* keys, size_t n, uint32_t* rows) const;

  // The key must be absent. Throws std::bad_alloc, and then nothing has changed.
  void insert(int64_t key, uint32_t row);
  // Another row for a key; false if it is absent. Throws std::bad_alloc, and then nothing has changed.
  bool set(int64_t key, uint32_t row);
  // The row the key had, kNoRow if absent. Throws std::bad_alloc, and then nothing has changed.
  uint32_t erase(int64_t key);

  // For i = 0 .. n-1 in order: the key at i (at positions[i], if positions are given) is looked up and, if
  // absent, inserted with row first_row + (number inserted before it); rows, indexed like keys, gets its row.
  // Returns how many were inserted. Throws std::bad_alloc: what came before stays inserted (size() tells).
  size_t find_or_insert_many(const int64_t* keys, const uint32_t* positions, size_t n, uint32_t first_row,
                             uint32_t* rows);

  // The same, but a new key gets row first_row + numbers[i]. rows is indexed like keys; those of keys that
  // were not reached because memory ran out are untouched.
  size_t find_or_insert_numbered(const int64_t* keys, const uint32_t* numbers, size_t n, uint32_t first_row,
                                 uint32_t* rows);

  // Makes room for a table of n keys at once, so that it need not grow as they come. Throws std::bad_alloc,
  // and then nothing is lost.
  void reserve(size_t n);

  // The piece of a key, 0 .. kPieces-1. Pieces are not equally likely: the first ones hold up to twice as
  // many keys as the last ones.
  static size_t piece_of(int64_t key) { return (position(hash_id(key)) >> (64 - kPieceBits)) - kPieces / 3; }
  // Gets ready for about n more keys. True: calls of find_or_insert_piece may now run at once, each for keys
  // of its own pieces; false: the index is too small for that. Throws std::bad_alloc.
  bool prepare(size_t n);
  struct Progress {
    size_t done;      // keys seen to; fewer than n if the index cannot go on without the other pieces
    size_t inserted;  // of them, those that were new
  };
  // As find_or_insert_numbered, for keys of pieces that no other thread works on. What is not done (the
  // directory has to grow, or memory ran out) is left to that one, when all pieces have come to their end.
  Progress find_or_insert_piece(const int64_t* keys, const uint32_t* numbers, size_t n, uint32_t first_row,
                                uint32_t* rows);

  // A finer division: kGroupsPerPiece groups are a piece. Keys that come group by group find what they need
  // of a large index in the caches.
  static size_t group_of(int64_t key) { return (position(hash_id(key)) >> (64 - kGroupBits)) - kGroups / 3; }

  // A large index in huge pages, n more of them.
  void collapse_some(size_t n) { arena_->collapse_some(n); }

  // Gives back all memory.
  void clear();

  // fn(key, row) for every key, in order of position by segments.
  template <typename Fn>
  void for_each(Fn fn) const {
    for (size_t at = first_entry(depth_); at < segments_.size(); at = next_entry(at)) {
      for_each_of(*segments_[at], fn);
    }
  }

  // The index as it is now, for as long as the view lives. Segments are shared: the index copies one before
  // its first change to it.
  std::shared_ptr<const View> view() const;

 private:
  friend struct KeyIndexInspector;  // of the tests

  static constexpr unsigned kPieceBits = 6;
  static constexpr unsigned kGroupBits = 10;
  static constexpr unsigned kMinDepth = 2;
  static constexpr unsigned kMaxDepth = 24;
  static constexpr size_t kGroup = 32;  // keys whose buckets are fetched together
  static_assert(kPieces == (size_t{1} << kPieceBits) / 4 * 3);
  static_assert(kGroups == (size_t{1} << kGroupBits) / 4 * 3);

  // At least 2^62: the square of a number between 2^31 and 2^32. The lowest quarter of the directory is
  // nobody's, which costs less than a division by three in every search.
  static uint64_t position(uint64_t hash) {
    const uint64_t root = hash >> 33 | uint64_t{1} << 31;
    return root * root;
  }
  // Which bucket of its segment. Keys made to share the upper bits of the hash differ here.
  static uint32_t fraction(uint64_t hash) { return static_cast<uint32_t>(hash * kSpread >> 32); }

  // A bucket where a search begins, and the directory entry that led to it.
  struct Place {
    KeyBucket* bucket;
    size_t entry;
  };
  // Where a key is.
  struct Found {
    KeyBucket* bucket;
    unsigned slot;
  };

  size_t entry_of(uint64_t hash) const { return static_cast<size_t>(position(hash) >> (64 - depth_)); }
  Place place_of(int64_t key) const {
    const uint64_t hash = hash_id(key);
    const size_t entry = entry_of(hash);
    return {ranges_[entry].at(fraction(hash)), entry};
  }
  static Found find_in(const BucketRange& range, KeyBucket* bucket, int64_t key);

  static size_t first_entry(unsigned depth) { return size_t{1} << (depth - 2); }
  // Entries of the directory that lead to the segment at this one: [first, next).
  size_t entries_at(size_t entry) const { return size_t{1} << (depth_ - segments_[entry]->depth); }
  size_t next_entry(size_t entry) const {
    const size_t n = entries_at(entry);
    return (entry & ~(n - 1)) + n;
  }

  template <typename Fn>
  static void for_each_of(const KeySegment& segment, Fn& fn) {
    for (const KeyBucket* b = segment.buckets.begin(); b != segment.buckets.end(); b++) {
      for (uint32_t used = b->used(); used != 0; used &= used - 1) {
        const auto slot = static_cast<unsigned>(std::countr_zero(used));
        fn(b->keys[slot], b->rows[slot]);
      }
    }
  }

  // Searched from `bucket` on, where the search for this key begins.
  static void put(KeySegment& segment, KeyBucket* bucket, int64_t key, uint32_t row);
  // Frees a slot: a key that passed its bucket comes back to it, which frees another slot, and so on. Without
  // this, keys that come and go would leave longer and longer ways behind.
  static void fill_hole(const BucketRange& range, Found hole);
  struct Moving;
  // Puts the keys of a segment into `all`: those of which upper(hash) is 0, whose number it returns; one
  // place free; the others.
  template <typename Upper>
  static size_t pick_up(const KeySegment& segment, Moving* all, Upper upper);
  static void put_all(KeySegment& segment, const Moving* all, size_t n);
  // Lets n entries of the directory lead to a segment.
  void fill(size_t begin, size_t n, KeySegment* segment);
  // Replaces the segment at an entry by `segment`, of the same depth.
  void replace(size_t entry, KeySegment* segment);
  // Before a change: true if the segment at an entry was shared, and is now a copy.
  bool unshare(size_t entry);
  // Makes room for one more key; false if only a larger directory could and it may not grow now.
  bool make_room(size_t entry, bool may_grow_directory);
  // Other buckets for the segment at an entry.
  void resize(size_t entry, unsigned size_class);
  void split(size_t entry);
  // After removals: the reverse of make_room, where there is anything to gain.
  void give_room(size_t entry);
  // The share of all keys that positions give to the segment at an entry.
  double share_of(size_t entry) const;
  // Puts the segments at two entries, halves of one range, together.
  void merge(size_t entry, size_t beside);
  void grow_directory();
  // Counts up what is done, whatever ends it.
  void find_or_insert(const int64_t* keys, const uint32_t* positions, const uint32_t* numbers, size_t n,
                      uint32_t first_row, uint32_t* rows, bool may_grow_directory, size_t& done,
                      size_t& inserted);
  void leave_all();

  std::shared_ptr<KeyArena> arena_;
  // The directory, 2^depth_ entries: what a search needs, and what a change needs besides.
  std::vector<BucketRange> ranges_;
  std::vector<KeySegment*> segments_;
  unsigned depth_ = kMinDepth;
  std::atomic<size_t> size_{0};
};

class KeyIndex::View {
 public:
  ~View();
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  size_t size() const { return size_; }
  uint32_t find(int64_t key) const;
  template <typename Fn>
  void for_each(Fn fn) const {
    for_each_in(0, segments_.size(), fn);
  }
  size_t segments() const { return segments_.size(); }
  // fn(key, row) for the keys of segments [first, last).
  template <typename Fn>
  void for_each_in(size_t first_segment, size_t last_segment, Fn fn) const {
    for (size_t s = first_segment; s < last_segment; s++) for_each_of(*segments_[s], fn);
  }

 private:
  friend class KeyIndex;
  explicit View(const KeyIndex& index);

  std::shared_ptr<KeyArena> arena_;
  std::vector<KeySegment*> segments_;  // each once
  std::vector<uint32_t> directory_;    // the number of the segment
  unsigned depth_;
  size_t size_;
};

}  // namespace kvarn
