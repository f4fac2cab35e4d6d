// The embedding engine: int64 keys to entries of value and optimizer slots, in batches.
//
// Made of parts that know nothing of one another: the index (key_index.h), the rows (row_store.h), who is let
// in (admission.h), what new rows start from (row_init.h), who has to leave (eviction.h), what changed
// (touch_log.h), which rows are on disk (tiers.h) and consistent cuts (snapshot.h).
//
// Thread-safe. A batch is one step under the table's lock, shared where it only reads, split over the pool;
// results do not depend on the number of threads. Every entry point checks its sizes; a call that returns an
// error has changed nothing. Running out of memory throws std::bad_alloc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kvarn/base/fair_mutex.h"
#include "kvarn/base/status.h"
#include "kvarn/engine/admission.h"
#include "kvarn/engine/entry_layout.h"
#include "kvarn/engine/eviction.h"
#include "kvarn/engine/key_index.h"
#include "kvarn/engine/last_lookup.h"
#include "kvarn/engine/row_init.h"
#include "kvarn/engine/row_store.h"
#include "kvarn/engine/snapshot.h"
#include "kvarn/engine/tiers.h"
#include "kvarn/engine/touch_log.h"
#include "kvarn/kernels/optimizer_rule.h"

namespace kvarn {

class StagedImport;

class EmbeddingTable {
 public:
  struct Options {
    bool record_freq = false;
    bool record_version = false;
    std::unique_ptr<Admission> admission{};  // null: every key is let in
    float no_permission = 0;                 // what a key reads that is not admitted
  };
  explicit EmbeddingTable(Options options);

  // Before there is any key: entries beyond what memory may hold go to disk. Every call that needs an entry
  // from there, or room for more, may then fail for the disk's sake.
  Status set_tiers(const TierOptions& options);
  // Does nothing without tiers.
  void set_cache(CacheStrategy strategy);

  // A further slot; the first is the primary value. Entries that exist get it filled.
  Status add_slot(size_t dim, std::unique_ptr<RowInit> init);
  // What the rows of entries to come start from.
  Status set_default(size_t slot, std::unique_ptr<RowInit> init);

  size_t size() const;           // all keys, those that are not admitted too
  size_t admitted_size() const;  // keys with an entry
  size_t memory_bytes() const;
  size_t n_slots() const;
  size_t slot_dim(size_t slot) const;

  // out[i] = the row of keys[i]. A key without an entry reads what it would start from, or no_permission
  // where keys must be admitted.
  Status lookup(std::span<const int64_t> keys, size_t slot, std::span<float> out);
  // The same, but where every key is let in, a missing one is created.
  Status lookup_or_create(std::span<const int64_t> keys, size_t slot, std::span<float> out);
  // The last lookup was of distinct keys; the update that follows may come with `keys`, of which keys[i] is
  // distinct[idx[i]]. It is quicker then.
  void spread_last_lookup(std::span<const int64_t> distinct, std::span<const int32_t> idx,
                          std::span<const int64_t> keys);
  // Creates missing keys with rows[i] in `slot`; the first of equal keys counts. Nobody asks for admission.
  Status create_from(std::span<const int64_t> keys, size_t slot, std::span<const float> rows);

  Status contains(std::span<const int64_t> keys, std::span<bool> out) const;
  // What users are told.
  Status frequency(std::span<const int64_t> keys, std::span<int64_t> out) const;
  // What evictions and files go by: of admitted keys what was recorded, if anything is.
  Status kept_frequency(std::span<const int64_t> keys, std::span<int64_t> out) const;
  // -1 for a missing key, one never updated, or if versions are not recorded.
  Status version(std::span<const int64_t> keys, std::span<int64_t> out) const;
  // 0 in memory, 1 on disk, -1 without an entry.
  Status tier(std::span<const int64_t> keys, std::span<int32_t> out) const;

  // What the tiers did since the table was made; zeros without them. Hits and misses are of keys in lookups.
  struct TierCounts {
    uint64_t hits_dram = 0;
    uint64_t hits_disk = 0;
    uint64_t misses = 0;
    uint64_t hot = 0;  // entries in memory
    uint64_t capacity = 0;
    uint64_t compaction_errors = 0;
    ColdStore::Stats disk{};
  };
  TierCounts tier_counts() const;

  struct Update {
    const OptimizerRule* rule = nullptr;
    std::span<const size_t> slots;  // the rule's, in its order
    std::span<const float> params;
    std::optional<int64_t> step;  // becomes the version of the keys
  };
  // Sums gradient rows [n, dim of the primary] and counts of equal keys in order (without counts a distinct
  // key counts once), lets keys in, and updates each key that has an entry once.
  Status apply(const Update& update, std::span<const int64_t> keys, std::span<const float> grads,
               std::span<const int64_t> counts);

  struct Column {
    size_t slot;
    const float* rows;  // [n, dim of the slot]
  };
  // Makes room for so many keys in all at once: quicker than growing as they come.
  void reserve(size_t n_keys);
  // Entries from a checkpoint: overwrites the slots given, a new key gets the defaults in the others. freqs
  // and versions may be empty. The last of equal keys wins.
  Status import_columns(std::span<const int64_t> keys, std::span<const Column> columns,
                        std::span<const int64_t> freqs, std::span<const int64_t> versions);
  // For at most n entries that all come in together (staged_import.h). Null where they must come by
  // import_columns: keys are admitted, rows may be on disk, or one of `sample` has an entry already.
  Status stage_import(size_t n, std::span<const int64_t> sample, std::unique_ptr<StagedImport>* out);
  // Keys that were not admitted when the checkpoint was written.
  Status import_filtered(std::span<const int64_t> keys, std::span<const int64_t> freqs,
                         std::span<const int64_t> versions);

  // Takes out, or with `dry_run` only names, the keys that have had their time at `step`. Works in pieces:
  // other calls come in between, and a key they touch meanwhile is judged anew.
  Status evict(const EvictionRule& rule, int64_t step, bool dry_run, EvictionResult* out);
  size_t remove(std::span<const int64_t> keys);
  void clear();

  void record_touches(bool on);
  void forget_touches(uint32_t before);

  // With `since`: only keys touched after that cut. Never null on success.
  Status snapshot(size_t n_buckets, std::optional<uint32_t> since, std::unique_ptr<Snapshot>* out);

 private:
  friend class StagedImport;
  struct PartScratch;  // what one thread needs for its part of an update
  struct Batch;        // an update being made

  bool has_meta() const { return record_freq_ || record_version_; }

  // The caller of what follows holds the lock. `but` is a set of slots that the caller fills itself.
  void fill_defaults(float* entry, int64_t key, uint64_t but) const;
  // What a key without an entry reads.
  void default_row(size_t slot, int64_t key, std::span<float> out) const;
  Status check_batch(const char* what, size_t n_keys, size_t slot, size_t n_floats) const;
  Status check_room(const char* what, size_t n_keys) const;
  Status check_update(const Update& update) const;
  void find(std::span<const int64_t> keys, uint32_t* rows) const;
  // Finds all keys and copies the rows of those that have one. True if any has none.
  bool find_and_copy(std::span<const int64_t> keys, size_t slot, float* out, uint32_t* rows) const;

  // With tiers: all entries at `rows` are in memory then, and memory is back inside its bound, which the last
  // batch may have left it above. An error changes no entry.
  Status bring_up(std::span<const int64_t> keys, uint32_t* rows);
  Status make_room(size_t n);
  // What did not get to disk now is tried again by the next call that can report it.
  void settle();
  // Entries that are on disk, copied.
  Status read_cold(std::span<const int64_t> keys, std::span<const uint32_t> rows, ColdEntries* out) const;
  // answer(key, row, recorded) for every key; recorded: the frequency in the entry of an admitted key, if
  // recorded.
  template <class Answer>
  Status each_frequency(std::span<const int64_t> keys, std::span<int64_t> out, Answer answer) const;
  bool any_cold(std::span<const uint32_t> rows) const;
  void count_hits(std::span<const uint32_t> rows) const;
  // For a lookup: counts its hits, brings up what is on disk and copies it to `out`, and makes room for the
  // keys at the positions `missing`. Rows of the batch that were in memory need not be there any more.
  Status fetch(std::span<const int64_t> keys, size_t slot, std::span<const uint32_t> missing, uint32_t* rows,
               std::span<float> out);
  // Room for n more entries.
  void reserve_rows(size_t n);
  // Of a large table, some more in huge pages whenever n entries come.
  void collapse_some(size_t n);
  // Entries for the keys at the positions `missing` that are not in the index; several may be equal. rows[i]
  // gets the row of each.
  void create_missing(std::span<const int64_t> keys, std::span<const uint32_t> missing, uint32_t* rows,
                      uint64_t but);
  // An entry for a key that is not in the index (counter == kNoRow), or in place of its counter record; room
  // for the row has been reserved.
  uint32_t create(int64_t key, uint32_t counter, const RowStore::Writing& writing, uint64_t but);
  uint32_t create_counter(int64_t key, const RowStore::Writing& writing);
  void find_for_update(Batch& batch, size_t n_threads) const;
  // Searches again for the keys of a piece that had no entry in memory when they were looked up.
  void find_changed(const Batch& batch, size_t begin, size_t end) const;
  void admit(const Batch& batch);
  static void share_out(Batch& batch, size_t n_parts);
  void update_part(const Batch& batch, size_t part, size_t n_parts, PartScratch& scratch);
  // Tells the tiers which rows an update has used, and how often.
  void note_use(std::span<PartScratch> parts, bool counted);
  void touch(std::span<const int64_t> keys);
  void erase(int64_t key, uint32_t row);
  class Examined;  // keys as eviction sees them
  // Keys that were never updated: their time begins at `step`.
  void date(std::span<const int64_t> keys, int64_t step);

  const std::shared_ptr<FairMutex> mutex_ = std::make_shared<FairMutex>();
  const bool record_freq_;
  const bool record_version_;
  const std::shared_ptr<Admission> admission_;
  const float no_permission_;
  std::vector<std::unique_ptr<RowInit>> inits_;
  KeyIndex index_;
  RowStore rows_;
  RowStore counters_;
  size_t n_counters_ = 0;
  std::unique_ptr<Tiers> tiers_;             // null: all entries are in memory
  mutable std::atomic<uint64_t> hits_[3]{};  // of lookups: in memory, on disk, nowhere
  LastLookup last_lookup_;
  size_t expected_distinct_ = 0;  // keys of an update, as the last one had
  TouchLog touches_;
  uint32_t cuts_ = 0;    // taken so far
  uint64_t losses_ = 0;  // how often keys lost their rows, or rows their places
  uint64_t clears_ = 0;
};

}  // namespace kvarn
