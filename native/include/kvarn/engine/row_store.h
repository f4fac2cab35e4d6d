// The rows of a table in memory: fixed-size entries in slabs, numbered, never moving while they live.
//
// A row number is what the index keeps for a key. It also says what kind of thing the key has:
//
//   0           .. 2^31 - 1        an entry in memory
//   2^31        .. 3 * 2^30 - 1    an entry on disk (cold_store.h)
//   3 * 2^30    .. 2^32 - 2        a counter record: a key that a filter has not admitted yet
//
// Before a row that a cut may still want to read is written, `Writing` keeps a copy for the cut (undo_log.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "kvarn/base/pages.h"
#include "kvarn/engine/entry_layout.h"
#include "kvarn/engine/undo_log.h"

namespace kvarn {

inline constexpr uint32_t kColdBase = uint32_t{1} << 31;
inline constexpr uint32_t kCounterBase = uint32_t{3} << 30;
inline constexpr uint32_t kNoRow = UINT32_MAX;

inline bool is_hot(uint32_t row) { return row < kColdBase; }
inline bool is_cold(uint32_t row) { return row >= kColdBase && row < kCounterBase; }
inline bool is_admitted(uint32_t row) { return row < kCounterBase; }
inline bool is_counter(uint32_t row) { return row >= kCounterBase && row != kNoRow; }

// A fixed number of rows in one allocation.
class Slab {
 public:
  Slab(const EntryLayout& layout, size_t n_rows);
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  float* entries() const { return reinterpret_cast<float*>(memory_.data()); }
  RowMeta* metas() const { return metas_; }  // null if the layout has none
  // No row of it is new any more. Rows are first touched in small pages: a huge one is cleared as a whole,
  // which costs what only many accesses bring in again.
  void full() const { memory_.advise_huge(); }
  const Pages& memory() const { return memory_; }

 private:
  Pages memory_;
  RowMeta* metas_ = nullptr;
};

// Slabs as a cut and a store both see them.
struct Slabs {
  explicit Slabs(const EntryLayout& of) : layout(of) {}

  void add(std::shared_ptr<Slab> slab);
  size_t in_slab(uint32_t row) const { return row & ((size_t{1} << shift) - 1); }
  float* entry(uint32_t row) const { return entries[row >> shift] + in_slab(row) * layout.stride(); }
  RowMeta& meta(uint32_t row) const { return metas[row >> shift][in_slab(row)]; }

  EntryLayout layout;
  unsigned shift = 0;
  std::vector<std::shared_ptr<Slab>> slabs;
  // Where the entries and metas of each slab begin: one step less on the way to a row.
  std::vector<float*> entries;
  std::vector<RowMeta*> metas;
};

// The rows of one moment: the slabs of then, and what was in rows that have been written since.
struct RowCut {
  RowCut(const Slabs& of, size_t rows) : slabs(of), n_rows(rows), undo(rows, of.layout) {}

  // The row as it was. The caller keeps writers away while it reads.
  const float* entry(uint32_t row) const {
    const float* kept = undo.entry(row);
    return kept != nullptr ? kept : slabs.entry(row);
  }
  RowMeta meta(uint32_t row) const {
    if (!slabs.layout.has_meta()) return {};
    const RowMeta* kept = undo.meta(row);
    return kept != nullptr ? *kept : slabs.meta(row);
  }

  Slabs slabs;
  size_t n_rows;
  UndoLog undo;
};

class RowStore {
 public:
  explicit RowStore(const EntryLayout& layout);

  const EntryLayout& layout() const { return slabs_.layout; }
  float* entry(uint32_t row) const { return slabs_.entry(row); }
  RowMeta& meta(uint32_t row) const { return slabs_.meta(row); }
  size_t rows_ever() const { return n_rows_; }  // row numbers given out, free ones included
  size_t n_free() const { return n_free_; }
  size_t bytes() const { return n_rows_ * layout().row_bytes(); }

  // Makes `take` work for n rows. Throws std::bad_alloc and then nothing has changed.
  void reserve(size_t n);
  // Rows that follow one another.
  struct Range {
    uint32_t first;
    size_t n;
  };
  // At most n rows nobody has, freed ones first; at least one.
  Range take(size_t n);
  uint32_t take() { return take(1).first; }
  // The numbers of n rows that nobody ever had. They have no memory yet: rows that are written one after the
  // other take it when they need it.
  Range take_numbers(size_t n);
  void bring_memory(Range range);
  // Brings in the memory of rows that are about to be written for the first time.
  void populate(Range range) const;
  // Puts rows of full slabs into huge pages, at most n of them: where there is more than a gibibyte of rows,
  // most of what a lookup costs is to find its pages.
  void collapse_some(size_t n);
  // Makes room to give back so many ranges without failing.
  void reserve_free(size_t n) { free_.reserve(free_.size() + n); }
  void give_back(Range range);
  void give_back(uint32_t row) { give_back({row, 1}); }
  // Gives back row first + i of a range where !used(i). What memory does not suffice for stays unused.
  template <typename Used>
  void give_back_unused(Range range, Used used) {
    std::vector<Range> unused;
    try {
      for (uint32_t i = 0; i < range.n; i++) {
        if (used(i)) continue;
        const uint32_t row = range.first + i;
        if (!unused.empty() && unused.back().first + unused.back().n == row) {
          unused.back().n++;
        } else {
          unused.push_back({row, 1});
        }
      }
      reserve_free(unused.size());
    } catch (const std::bad_alloc&) {
      return;
    }
    for (size_t u = unused.size(); u-- > 0;) give_back(unused[u]);
  }

  // Memory that was of rows, or will be: for what is over soon. At least so many bytes, with anything in
  // them.
  static Pages take_spare(size_t bytes);
  static void give_spare(Pages pages) noexcept;

  void clear();
  // Rows keep their numbers in slabs of another layout; fn(from, to) fills the entry of each number given.
  // Metas are copied.
  template <typename ForEachRow, typename Fn>
  void relayout(const EntryLayout& layout, ForEachRow for_each_row, Fn fn) {
    RowStore made(layout);
    made.reserve(n_rows_);
    made.n_rows_ = n_rows_;
    for_each_row([&](uint32_t row, int64_t key) {
      if (layout.has_meta()) made.meta(row) = meta(row);
      fn(key, entry(row), made.entry(row));
    });
    made.free_ = std::move(free_);
    made.n_free_ = n_free_;
    *this = std::move(made);
  }

  std::shared_ptr<RowCut> cut();

  // Keeps what cuts still need of the rows about to be written. One at a time, under the table's exclusive
  // lock; `keep` may run on several threads for different rows. May throw while it is made, not later.
  class Writing {
   public:
    Writing(RowStore& store, size_t at_most_rows);
    bool needed() const { return !cuts_.empty(); }
    void keep(uint32_t row) const {
      for (const auto& cut : cuts_) {
        if (row < cut->n_rows) cut->undo.keep(row, cut->slabs.entry(row), meta_of(*cut, row));
      }
    }

   private:
    static const RowMeta* meta_of(const RowCut& cut, uint32_t row) {
      return cut.slabs.layout.has_meta() ? &cut.slabs.meta(row) : nullptr;
    }
    std::vector<std::shared_ptr<RowCut>> cuts_;
  };

 private:
  size_t n_with_memory() const { return slabs_.slabs.size() << slabs_.shift; }
  // Memory for the first n_rows rows.
  void add_slabs(size_t n_rows);

  Slabs slabs_;
  size_t n_rows_ = 0;
  std::vector<Range> free_;
  size_t n_free_ = 0;
  size_t collapsed_slabs_ = 0;
  size_t collapsed_pages_ = 0;  // of the next one
  std::vector<std::weak_ptr<RowCut>> cuts_;
};

}  // namespace kvarn
