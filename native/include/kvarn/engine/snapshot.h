// One consistent cut of a table: all slots, frequencies and versions of all keys at one moment.
//
// It shares the table's index segments and slabs. The table copies a segment before it changes it and a row
// before it writes it (undo_log.h), so taking a cut stops nobody, a forgotten one only keeps memory, and it
// costs the key order (12 bytes a key) and one copy of what changes while it lives. It outlives the table.
// Thread-safe; reading holds the table's lock, shared, for a few thousand rows at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kvarn/base/array.h"
#include "kvarn/base/fair_mutex.h"
#include "kvarn/engine/admission.h"
#include "kvarn/engine/entry_layout.h"
#include "kvarn/engine/key_index.h"
#include "kvarn/engine/row_store.h"
#include "kvarn/engine/tiers.h"

namespace kvarn {

class Snapshot {
 public:
  struct Parts {
    std::shared_ptr<FairMutex> mutex;
    std::shared_ptr<const KeyIndex::View> index;
    std::shared_ptr<RowCut> rows;
    std::shared_ptr<RowCut> counters;
    std::shared_ptr<const ColdView> on_disk;     // null: all rows are in memory
    std::shared_ptr<const Admission> admission;  // null: every key is admitted
    bool record_freq = false;
    bool record_version = false;
    uint32_t number = 0;
    // Only keys that were last touched after cut `since`, if `touched` is there.
    std::shared_ptr<const KeyIndex::View> touched;
    uint32_t since = 0;
  };
  // Keys of one kind by bucket (key mod n_buckets, never negative); inside a bucket by row, those on disk
  // last, or by key in a cut of touched keys.
  struct Keys {
    Array<int64_t> keys;
    Array<uint32_t> rows;
    std::vector<int32_t> partition_offset;  // where each bucket begins, and the end
  };

  Snapshot(Parts parts, size_t n_buckets);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  uint32_t number() const { return parts_.number; }
  const EntryLayout& layout() const { return parts_.rows->slabs.layout; }
  const Keys& admitted() const { return admitted_; }
  const Keys& filtered() const { return filtered_; }
  // Touched keys that are no longer there, ordered like the others.
  const Keys& removed() const { return removed_; }

  // out[i] = the value of `slot` for admitted().keys[start + i], for out.size() / dim keys. Fails only for
  // what the disk does not give.
  Status values(size_t slot, size_t start, std::span<float> out) const;
  Status freqs(size_t start, std::span<int64_t> out) const;
  // -1 if not recorded.
  Status versions(size_t start, std::span<int64_t> out) const;
  void filtered_metas(size_t start, std::span<int64_t> freqs, std::span<int64_t> versions) const;

 private:
  void order_all(size_t n_buckets);
  void order_touched(size_t n_buckets);
  // fn(i, entries, e): key start + i is on disk, and e of `entries`. For every such key of [start, start +
  // n).
  template <typename Fn>
  Status on_disk(size_t start, size_t n, Fn fn) const;
  // fn(begin, end) over pieces of [0, n), under the shared lock.
  template <typename Fn>
  void locked(size_t n, Fn fn) const;

  Parts parts_;
  Keys admitted_;
  Keys filtered_;
  Keys removed_;
  std::vector<int64_t> counted_;  // of admitted_, by the admission, where the table does not count
};

}  // namespace kvarn
