#include "kvarn/engine/row_store.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "kvarn/base/page_pool.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kSlabBytes = 16 << 20;
constexpr unsigned kMaxSlabShift = 18;
constexpr size_t kPopulateGrain = 8192;
constexpr size_t kCollapseFrom = 1 << 30;

constexpr size_t kPooledBytes = kSlabBytes + 4096;

// Memory of tables that went, for tables to come: a table that is dropped is often restored next. Never
// destroyed: tables may go after it would have.
PagePool& pool() {
  static auto* const made = new PagePool(kPooledBytes, 64);  // 1 GiB
  return *made;
}

}  // namespace

Pages RowStore::take_spare(size_t bytes) {
  return bytes <= kPooledBytes ? pool().take() : Pages(bytes, false);
}

void RowStore::give_spare(Pages pages) noexcept {
  if (pages.size() == kPooledBytes) pool().give(std::move(pages));
}

Slab::~Slab() { RowStore::give_spare(std::move(memory_)); }

Slab::Slab(const EntryLayout& layout, size_t n_rows)
    : memory_(RowStore::take_spare(n_rows * layout.row_bytes() + sizeof(RowMeta))) {
  const size_t entries = (n_rows * layout.entry_bytes() + 7) / 8 * 8;
  if (layout.has_meta()) metas_ = reinterpret_cast<RowMeta*>(memory_.data() + entries);
}

void Slabs::add(std::shared_ptr<Slab> slab) {
  slabs.reserve(slabs.size() + 1);
  entries.reserve(slabs.size() + 1);
  metas.reserve(slabs.size() + 1);
  entries.push_back(slab->entries());
  metas.push_back(slab->metas());
  slabs.push_back(std::move(slab));
}

RowStore::RowStore(const EntryLayout& layout) : slabs_(layout) {
  const size_t rows = std::max<size_t>(1, kSlabBytes / std::max<size_t>(1, layout.row_bytes()));
  slabs_.shift = std::min(kMaxSlabShift, static_cast<unsigned>(std::bit_width(rows)) - 1);
}

void RowStore::add_slabs(size_t n_rows) {
  while (n_with_memory() < n_rows) {
    if (!slabs_.slabs.empty()) slabs_.slabs.back()->full();
    slabs_.add(std::make_shared<Slab>(slabs_.layout, size_t{1} << slabs_.shift));
  }
}

void RowStore::reserve(size_t n) { add_slabs(n_rows_ + (n > n_free_ ? n - n_free_ : 0)); }

RowStore::Range RowStore::take_numbers(size_t n) {
  const Range range{static_cast<uint32_t>(n_rows_), n};
  n_rows_ += n;
  return range;
}

void RowStore::bring_memory(Range range) { add_slabs(range.first + range.n); }

RowStore::Range RowStore::take(size_t n) {
  if (free_.empty()) return take_numbers(n);
  Range& last = free_.back();
  const Range taken{last.first, std::min(n, last.n)};
  last.first += static_cast<uint32_t>(taken.n);
  last.n -= taken.n;
  if (last.n == 0) free_.pop_back();
  n_free_ -= taken.n;
  return taken;
}

void RowStore::populate(Range range) const {
  parallel_for(range.n, kPopulateGrain, [&](size_t begin, size_t end) {
    while (begin < end) {
      const auto row = range.first + static_cast<uint32_t>(begin);
      const size_t n = std::min(end - begin, (size_t{1} << slabs_.shift) - slabs_.in_slab(row));
      begin += n;
      if (slabs_.slabs[row >> slabs_.shift]->memory().lent()) continue;
      const auto bytes = [](auto* at) { return reinterpret_cast<std::byte*>(at); };
      Pages::populate(bytes(entry(row)), bytes(entry(row) + n * layout().stride()));
      if (layout().has_meta()) Pages::populate(bytes(&meta(row)), bytes(&meta(row) + n));
    }
  });
}

void RowStore::collapse_some(size_t n) {
  if (bytes() < kCollapseFrom) return;
  while (n > 0 && collapsed_slabs_ + 1 < slabs_.slabs.size()) {
    const Pages& memory = slabs_.slabs[collapsed_slabs_]->memory();
    const size_t now = std::min(n, memory.n_huge() - collapsed_pages_);
    memory.collapse(collapsed_pages_, now);
    n -= now;
    collapsed_pages_ += now;
    if (collapsed_pages_ == memory.n_huge()) {
      collapsed_slabs_++;
      collapsed_pages_ = 0;
    }
  }
}

void RowStore::give_back(Range range) {
  if (range.n == 0) return;
  if (range.first + range.n == n_rows_) {
    n_rows_ -= range.n;  // as if they had never been taken
    return;
  }
  n_free_ += range.n;
  if (!free_.empty() && free_.back().first + free_.back().n == range.first) {
    free_.back().n += range.n;
  } else {
    free_.push_back(range);
  }
}

void RowStore::clear() {
  slabs_.slabs.clear();
  slabs_.entries.clear();
  slabs_.metas.clear();
  n_rows_ = 0;
  free_.clear();
  n_free_ = 0;
  collapsed_slabs_ = collapsed_pages_ = 0;
  cuts_.clear();
}

std::shared_ptr<RowCut> RowStore::cut() {
  std::erase_if(cuts_, [](const auto& cut) { return cut.expired(); });
  cuts_.reserve(cuts_.size() + 1);
  // No key has a row without memory.
  auto made = std::make_shared<RowCut>(slabs_, std::min(n_rows_, n_with_memory()));
  cuts_.push_back(made);
  return made;
}

RowStore::Writing::Writing(RowStore& store, size_t at_most_rows) {
  if (store.cuts_.empty()) return;
  std::erase_if(store.cuts_, [](const auto& cut) { return cut.expired(); });
  for (const auto& weak : store.cuts_) {
    if (auto cut = weak.lock()) {
      cut->undo.reserve(at_most_rows);
      cuts_.push_back(std::move(cut));
    }
  }
}

}  // namespace kvarn
