// Which entries of a table are in memory, and where the others are.
//
// An entry that is asked for comes to memory; when there are more than memory may hold, those that the cache
// policy names go to disk. The index says which of the two an entry's row number means (row_store.h). Where
// an entry is changes no number that the table gives out.
//
//   record on disk := key | freq, version | entry        int64, 2 x int64, float32s of the layout
//
// The table locks around it, and reserves before it enters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvarn/base/status.h"
#include "kvarn/engine/cache_policy.h"
#include "kvarn/engine/cold_store.h"
#include "kvarn/engine/key_index.h"
#include "kvarn/engine/row_init.h"
#include "kvarn/engine/row_store.h"

namespace kvarn {

struct TierOptions {
  std::string path;
  size_t dram_bytes = 0;  // of the entries in memory
  CacheStrategy cache = CacheStrategy::kLfu;
  size_t file_bytes = size_t{128} << 20;
};

// Copies of entries on disk, as one batch of row numbers asks for them.
class ColdEntries {
 public:
  explicit ColdEntries(const EntryLayout& layout) : record_bytes_(record_bytes(layout)) {}

  static size_t record_bytes(const EntryLayout& layout) { return kEntryAt + layout.entry_bytes(); }
  static void write(std::byte* record, int64_t key, const RowMeta& meta, const float* entry,
                    const EntryLayout& layout);

  // Reads those of `rows` that are on disk; rows[i] is that of keys[i].
  template <typename Reader>
  Status read(const Reader& reader, std::span<const int64_t> keys, std::span<const uint32_t> rows) {
    collect(rows);
    records_.resize(numbers_.size() * record_bytes_);
    if (Status s = reader.read(numbers_.data(), numbers_.size(), records_.data()); !s.ok()) return s;
    return check(keys, rows);
  }

  // How many different entries were read.
  size_t size() const { return numbers_.size(); }
  // Of rows[i], which was on disk: which of them it is, and what it holds.
  size_t place(size_t i) const { return places_[i]; }
  const float* entry(size_t i) const { return reinterpret_cast<const float*>(record(i) + kEntryAt); }
  RowMeta meta(size_t i) const;

 private:
  static constexpr size_t kMetaAt = sizeof(int64_t);
  static constexpr size_t kEntryAt = kMetaAt + sizeof(RowMeta);

  void collect(std::span<const uint32_t> rows);
  Status check(std::span<const int64_t> keys, std::span<const uint32_t> rows) const;
  const std::byte* record(size_t i) const { return records_.data() + places_[i] * record_bytes_; }

  size_t record_bytes_;
  std::vector<uint32_t> numbers_;
  std::vector<uint32_t> places_;  // of rows[i] in records_
  std::vector<std::byte> records_;
};

class Tiers {
 public:
  // Index and rows belong to the table, and outlive this. Without `counted` frequencies are not looked at.
  static Status open(const TierOptions& options, bool counted, KeyIndex* index, RowStore* rows,
                     std::unique_ptr<Tiers>* out);

  // How many entries memory holds, unless one batch needs more.
  size_t capacity() const { return capacity_; }
  size_t hot_size() const { return policy_->size(); }
  size_t memory_bytes() const;
  ColdStore::Stats disk() const { return store_->stats(); }
  // Files that could not be compacted for an error: what is live in them can still be read, or is an error
  // itself when it is asked for.
  uint64_t compaction_errors() const { return compaction_errors_; }

  // Room to enter rows below n without failing. Throws std::bad_alloc.
  void reserve(size_t n);
  // The row is the key's from now on.
  void enter(int64_t key, uint32_t row, int64_t freq);
  // Rows in memory were used, counts[i] times each (nullptr: once).
  void used(const uint32_t* rows, const int64_t* counts, size_t n) { policy_->touch(rows, counts, n); }
  // The entry with this row number, wherever it is, is gone.
  void leave(uint32_t row);
  void clear();

  // Writes entries to disk until memory has room for n more. An error has moved some or none.
  Status make_room(size_t n);
  // Brings the entries of those `rows` that are on disk to memory; rows[i] is that of keys[i], and becomes
  // the one it has now. An error has moved some or none. Throws std::bad_alloc, likewise.
  Status bring_up(std::span<const int64_t> keys, std::span<uint32_t> rows);

  // The entries of `rows`, which are on disk, get this version; rows[i] is that of keys[i], all different. An
  // error changes nothing.
  Status set_versions(std::span<const int64_t> keys, std::span<const uint32_t> rows, int64_t version);

  const ColdStore& store() const { return *store_; }
  void set_cache(CacheStrategy strategy);

  // Entries get another slot, the last of `to`, which starts from `init`: the records are written anew, which
  // changes nothing yet. `exchange` turns to them, and once more turns back; it throws std::bad_alloc, and
  // then nothing has changed. The rows in memory are the table's.
  class Relayout;
  Status relayout(const EntryLayout& to, const RowInit& init, std::unique_ptr<Relayout>* out) const;
  void exchange(Relayout& relayout);

 private:
  Tiers(const TierOptions& options, bool counted, KeyIndex* index, RowStore* rows);
  Status open_store(const EntryLayout& layout, std::unique_ptr<ColdStore>* out) const;
  static size_t capacity_of(const EntryLayout& layout, size_t bytes);
  RowMeta meta_of(uint32_t row) const;
  Status write_down(size_t n);
  void compact(size_t max_records);

  TierOptions options_;
  const bool counted_;
  KeyIndex* index_;
  RowStore* rows_;
  std::unique_ptr<ColdStore> store_;
  std::unique_ptr<CachePolicy> policy_;  // of all entries in memory
  std::vector<int64_t> keys_;            // of each row in memory
  size_t capacity_ = 1;
  uint64_t compaction_errors_ = 0;
};

class Tiers::Relayout {
 private:
  friend class Tiers;
  struct Move {
    int64_t key;
    uint32_t from;
    uint32_t to;
  };
  std::unique_ptr<ColdStore> store;
  std::vector<Move> moves;
  size_t capacity;
};

}  // namespace kvarn
