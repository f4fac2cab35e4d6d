// The embedding engine: int64 keys to entries of value and optimizer slots, in batches.
//
// Thread-safe. A batch works under one lock of the table (shared where it only reads), split over the pool;
// results do not depend on the number of threads. Rows never move while a batch runs. Every entry point
// checks its sizes; a call that returns an error has changed nothing. Running out of memory throws
// std::bad_alloc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "kvarn/base/status.h"
#include "kvarn/engine/entry_layout.h"
#include "kvarn/engine/hash_index.h"
#include "kvarn/engine/slab.h"
#include "kvarn/engine/snapshot.h"
#include "kvarn/kernels/row_update.h"

namespace kvarn {

class EmbeddingTable {
 public:
  EmbeddingTable(bool record_freq, bool record_version);

  // A further slot (the first is the primary value) whose new entries start from row |key| mod n_defaults of
  // `defaults` [n_defaults, dim]. Entries that exist get it filled the same way.
  Status add_slot(size_t dim, std::span<const float> defaults);
  // Another default matrix for entries to come.
  Status set_default(size_t slot, std::span<const float> defaults);

  size_t size() const;
  // Bytes of the index and of the entries in use.
  size_t memory_bytes() const;
  size_t n_slots() const;
  size_t slot_dim(size_t slot) const;

  // out[i] = the value of keys[i]; a missing key is created. Each occurrence counts once in its frequency.
  Status lookup_or_create(std::span<const int64_t> keys, size_t slot, std::span<float> out);
  // The same, but a missing key stays missing and reads as its default row.
  Status lookup(std::span<const int64_t> keys, size_t slot, std::span<float> out) const;

  Status contains(std::span<const int64_t> keys, std::span<bool> out) const;
  // 0 for a missing key, or if frequencies are not recorded.
  Status frequency(std::span<const int64_t> keys, std::span<int64_t> out) const;
  // -1 for a missing key, one never updated, or if versions are not recorded.
  Status version(std::span<const int64_t> keys, std::span<int64_t> out) const;

  // Sum the gradient rows [n, dim of the primary] of equal keys in order, create missing keys, update each
  // key once and stamp its version with `step`.
  Status apply_gradient_descent(std::span<const int64_t> keys, std::span<const float> grads, float lr,
                                std::optional<int64_t> step);
  Status apply_adagrad(std::span<const int64_t> keys, std::span<const float> grads, float lr,
                       size_t accum_slot, std::optional<int64_t> step);

  // Overwrites `slot` of each key; a new key gets the defaults in its other slots. freqs and versions may be
  // empty. The last of equal keys wins.
  Status import_rows(size_t slot, std::span<const int64_t> keys, std::span<const float> values,
                     std::span<const int64_t> freqs, std::span<const int64_t> versions);

  // Never null on success.
  Status snapshot(size_t n_buckets, std::unique_ptr<Snapshot>* out) const;

  void clear();
  // How many of the keys were there.
  size_t remove(std::span<const int64_t> keys);

 private:
  using Kernel = std::function<void(const RowUpdate&)>;
  struct PartScratch;  // what one thread needs for its part of an update

  struct Defaults {
    std::vector<float> matrix;
    size_t n_rows;
  };

  // The caller of what follows holds the lock.
  const Slab& slab_of(uint32_t row) const { return *slabs_[row >> slab_shift_]; }
  size_t in_slab(uint32_t row) const { return row & slab_mask_; }
  float* entry(uint32_t row) const { return slab_of(row).entry(in_slab(row)); }

  const float* default_row(size_t slot, int64_t key) const;
  void fill_defaults(float* entry, int64_t key) const;
  uint32_t find_or_create(int64_t key);
  // Copies the slab of a row about to be written, if a snapshot that lives shares it.
  void unshare(uint32_t row);
  void unshare_keys(std::span<const int64_t> keys);

  Status check_batch(const char* what, size_t n_keys, size_t slot, size_t n_floats) const;
  // Copies the rows found; rows[i] = kNoRow for a missing key. True if any is missing.
  bool find_and_copy(std::span<const int64_t> keys, size_t slot, float* out, uint32_t* rows) const;
  Status apply(const char* what, std::span<const int64_t> keys, std::span<const float> grads,
               std::optional<int64_t> step, const Kernel& kernel);
  void apply_part(std::span<const int64_t> keys, const float* grads, const uint32_t* positions,
                  size_t n_positions, size_t part, size_t n_parts, std::optional<int64_t> step,
                  const Kernel& kernel, PartScratch& scratch);

  mutable std::shared_mutex mutex_;
  EntryLayout layout_;
  std::vector<Defaults> defaults_;
  HashIndex index_;
  std::vector<std::shared_ptr<Slab>> slabs_;
  unsigned slab_shift_ = 0;
  size_t slab_mask_ = 0;
  uint32_t next_row_ = 0;
  std::vector<uint32_t> free_rows_;
  mutable uint64_t cut_ = 0;  // number of snapshots ever taken
  std::shared_ptr<std::atomic<int>> live_snapshots_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace kvarn
