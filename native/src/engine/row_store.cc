#include "kvarn/engine/row_store.h"

#include <algorithm>
#include <bit>

namespace kvarn {
namespace {

constexpr size_t kSlabBytes = 16 << 20;
constexpr unsigned kMaxSlabShift = 18;

}  // namespace

Slab::Slab(const EntryLayout& layout, size_t n_rows, bool huge)
    : memory_(n_rows * layout.row_bytes() + sizeof(RowMeta), huge) {
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

void RowStore::reserve(size_t n) {
  const size_t fresh = n > free_.size() ? n - free_.size() : 0;
  while (slabs_.slabs.size() << slabs_.shift < n_rows_ + fresh) {
    // The first slab of a small table would mostly hold untouched memory, so it takes ordinary pages.
    slabs_.add(std::make_shared<Slab>(slabs_.layout, size_t{1} << slabs_.shift, !slabs_.slabs.empty()));
  }
}

uint32_t RowStore::take() {
  if (free_.empty()) return take_new(1);
  const uint32_t row = free_.back();
  free_.pop_back();
  return row;
}

uint32_t RowStore::take_new(size_t n) {
  const auto first = static_cast<uint32_t>(n_rows_);
  n_rows_ += n;
  return first;
}

void RowStore::clear() {
  slabs_.slabs.clear();
  slabs_.entries.clear();
  slabs_.metas.clear();
  n_rows_ = 0;
  free_.clear();
  cuts_.clear();
}

std::shared_ptr<RowCut> RowStore::cut() {
  std::erase_if(cuts_, [](const auto& cut) { return cut.expired(); });
  cuts_.reserve(cuts_.size() + 1);
  auto made = std::make_shared<RowCut>(slabs_, n_rows_);
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
