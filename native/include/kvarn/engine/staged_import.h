// New entries from a checkpoint that nobody sees before the last of them is there.
//
// Their rows are written first, under row numbers that no key has. Then all keys go into the index together,
// which is quicker than batch by batch: they can go in the order in which the index lies in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvarn/base/status.h"
#include "kvarn/engine/embedding_table.h"
#include "kvarn/engine/row_store.h"

namespace kvarn {

// Made by EmbeddingTable::stage_import, of a table that outlives it. For one thread; the table goes on
// working.
class StagedImport {
 public:
  ~StagedImport() { release(); }
  StagedImport(const StagedImport&) = delete;
  StagedImport& operator=(const StagedImport&) = delete;

  // The next n entries. `columns` has every slot of the table; freqs and versions may be empty, for all
  // entries or for none.
  Status write(size_t n, std::span<const EmbeddingTable::Column> columns, std::span<const int64_t> freqs,
               std::span<const int64_t> versions);
  // Lets all entries in, keys[i] the i-th. Keys that have come into the table meanwhile are overwritten, and
  // the last of equal keys wins, as by import_columns.
  Status commit(std::span<const int64_t> keys);
  // Gives back the rows of what was not committed.
  void release();

  const EmbeddingTable& table() const { return table_; }

 private:
  friend class EmbeddingTable;
  struct Known {  // an entry whose key the index had already
    uint32_t number;
    uint32_t row;
  };

  StagedImport(EmbeddingTable& table, size_t n);

  // The caller of what follows holds the lock.
  Status check_table() const;
  // Keys into the index. Throws std::bad_alloc: keys that came before it stay.
  void insert(std::span<const int64_t> keys, std::vector<Known>& known);
  // The keys from number `first` on.
  void insert_some(std::span<const int64_t> keys, uint32_t first, std::vector<Known>& known);
  void overwrite(std::span<const Known> known);
  // Gives back every row that is not the one of its key.
  void give_back_unused(std::span<const int64_t> keys) const;

  EmbeddingTable& table_;
  const size_t n_slots_;
  const uint64_t clears_;
  RowStore::Range range_;
  size_t written_ = 0;
  bool has_freqs_ = false;
  bool has_versions_ = false;
  bool done_ = false;  // committed or released
};

}  // namespace kvarn
