#include "kvarn/engine/tiers.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvarn {
namespace {

// Entries that are moved with one call of the store (DeepRec's eviction thread: 10000 a round).
constexpr size_t kRound = 10'000;
// Records that may be moved, to make files go that are mostly released, for each one that was written: a file
// is compacted when at least a third of it is released, so two keep pace.
constexpr size_t kCompactedPerWritten = 2;
constexpr size_t kCompactedAtLeast = 256;
// DeepRec pads each slot to this many floats, and its bound counts them.
constexpr size_t kPadding = 4;

}  // namespace

// -- entries on disk ------------------------------------------------------------------------------

void ColdEntries::write(std::byte* record, int64_t key, const RowMeta& meta, const float* entry,
                        const EntryLayout& layout) {
  std::memcpy(record, &key, sizeof key);
  std::memcpy(record + kMetaAt, &meta, sizeof meta);
  std::memcpy(record + kEntryAt, entry, layout.entry_bytes());
}

void ColdEntries::collect(std::span<const uint32_t> rows) {
  numbers_.clear();
  for (const uint32_t row : rows) {
    if (is_cold(row)) numbers_.push_back(row - kColdBase);
  }
  std::ranges::sort(numbers_);
  numbers_.erase(std::unique(numbers_.begin(), numbers_.end()), numbers_.end());
  places_.resize(rows.size());
  for (size_t i = 0; i < rows.size(); i++) {
    if (!is_cold(rows[i])) continue;
    const auto at = std::ranges::lower_bound(numbers_, rows[i] - kColdBase);
    places_[i] = static_cast<uint32_t>(at - numbers_.begin());
  }
}

Status ColdEntries::check(std::span<const int64_t> keys, std::span<const uint32_t> rows) const {
  for (size_t i = 0; i < rows.size(); i++) {
    if (!is_cold(rows[i])) continue;
    int64_t key;
    std::memcpy(&key, record(i), sizeof key);
    if (key != keys[i]) {
      return {Code::kDataLoss, "the record on disk of key " + std::to_string(keys[i]) + " is that of key " +
                                   std::to_string(key)};
    }
  }
  return {};
}

RowMeta ColdEntries::meta(size_t i) const {
  RowMeta meta;
  std::memcpy(&meta, record(i) + kMetaAt, sizeof meta);
  return meta;
}

// -- tiers ----------------------------------------------------------------------------------------

Tiers::Tiers(const TierOptions& options, bool counted, KeyIndex* index, RowStore* rows)
    : options_(options),
      counted_(counted),
      index_(index),
      rows_(rows),
      policy_(make_cache_policy(options.cache)) {}

Status Tiers::open(const TierOptions& options, bool counted, KeyIndex* index, RowStore* rows,
                   std::unique_ptr<Tiers>* out) {
  std::unique_ptr<Tiers> made(new Tiers(options, counted, index, rows));
  if (Status s = made->open_store(rows->layout(), &made->store_); !s.ok()) return s;
  made->capacity_ = capacity_of(rows->layout(), options.dram_bytes);
  *out = std::move(made);
  return {};
}

Status Tiers::open_store(const EntryLayout& layout, std::unique_ptr<ColdStore>* out) const {
  return ColdStore::open(options_.path, ColdEntries::record_bytes(layout), options_.file_bytes, out);
}

size_t Tiers::capacity_of(const EntryLayout& layout, size_t bytes) {
  size_t floats = 0;
  for (const SlotLayout& slot : layout.slots()) floats += (slot.dim + kPadding - 1) / kPadding * kPadding;
  return std::max<size_t>(1, bytes / std::max<size_t>(1, floats * sizeof(float)));
}

size_t Tiers::memory_bytes() const {
  // A bit for each record says whether it is live.
  return policy_->memory_bytes() + keys_.capacity() * sizeof(int64_t) + store_->stats().total / 8;
}

RowMeta Tiers::meta_of(uint32_t row) const {
  return rows_->layout().has_meta() ? rows_->meta(row) : RowMeta{};
}

void Tiers::reserve(size_t n) {
  if (n > keys_.size()) keys_.resize(std::max(n, keys_.size() + keys_.size() / 4));
  policy_->reserve(n);
}

void Tiers::enter(int64_t key, uint32_t row, int64_t freq) {
  keys_[row] = key;
  // To be needed is a use, even if no update has counted it.
  const int64_t count = counted_ ? std::max<int64_t>(freq, 1) : 1;
  policy_->touch(&row, &count, 1);
}

void Tiers::leave(uint32_t row) {
  if (is_hot(row)) return policy_->forget(row);
  const uint32_t number = row - kColdBase;
  store_->release(&number, 1);
}

void Tiers::clear() {
  policy_->clear();
  std::vector<int64_t>().swap(keys_);
  store_->release_all();
}

void Tiers::set_cache(CacheStrategy strategy) {
  if (strategy == options_.cache) return;
  auto policy = make_cache_policy(strategy);
  policy->reserve(keys_.size());
  std::vector<uint32_t> rows(policy_->size());
  policy_->victims(rows.size(), rows.data());
  policy_ = std::move(policy);
  options_.cache = strategy;
  for (const uint32_t row : rows) enter(keys_[row], row, meta_of(row).freq);
}

Status Tiers::make_room(size_t n) {
  const size_t most = capacity_ > n ? capacity_ - n : 0;
  while (policy_->size() > most) {
    const size_t n = std::min(policy_->size() - most, kRound);
    if (Status s = write_down(n); !s.ok()) return s;
    compact(kCompactedPerWritten * n + kCompactedAtLeast);
  }
  return {};
}

Status Tiers::write_down(size_t n) {
  const size_t record_bytes = store_->record_bytes();
  std::vector<uint32_t> rows(n);
  std::vector<uint32_t> numbers(n);
  std::vector<std::byte> records(n * record_bytes);
  rows_->reserve_free(n);
  policy_->victims(n, rows.data());
  const auto put_back = [&](size_t from) {
    for (size_t i = from; i < n; i++) enter(keys_[rows[i]], rows[i], meta_of(rows[i]).freq);
  };
  for (size_t i = 0; i < n; i++) {
    ColdEntries::write(records.data() + i * record_bytes, keys_[rows[i]], meta_of(rows[i]),
                       rows_->entry(rows[i]), rows_->layout());
  }
  Status status;
  try {
    status = store_->append(records.data(), n, numbers.data());
  } catch (...) {
    put_back(0);
    throw;
  }
  if (!status.ok()) {
    put_back(0);
    return status;
  }
  for (size_t i = 0; i < n; i++) {
    try {
      index_->set(keys_[rows[i]], kColdBase + numbers[i]);
    } catch (...) {
      put_back(i);
      store_->release(&numbers[i], n - i);
      throw;
    }
    rows_->give_back(rows[i]);
  }
  return {};
}

// What does not succeed here is tried again later, and hurts nobody: records stay where they are.
void Tiers::compact(size_t max_records) {
  bool more = false;
  const Status status = store_->compact(
      max_records,
      [&](int64_t key, uint32_t from, uint32_t to) {
        if (index_->find(key) != kColdBase + from) return false;
        return index_->set(key, kColdBase + to);
      },
      &more);
  if (!status.ok()) compaction_errors_++;
}

Status Tiers::bring_up(std::span<const int64_t> keys, std::span<uint32_t> rows) {
  std::vector<uint32_t> cold;
  for (size_t i = 0; i < rows.size(); i++) {
    if (is_cold(rows[i])) cold.push_back(static_cast<uint32_t>(i));
  }
  ColdEntries entries(rows_->layout());
  std::vector<int64_t> some_keys;
  std::vector<uint32_t> some_rows;
  for (size_t begin = 0; begin < cold.size(); begin += kRound) {
    const auto piece = std::span(cold).subspan(begin, std::min(kRound, cold.size() - begin));
    some_keys.clear();
    some_rows.clear();
    for (const uint32_t i : piece) {
      some_keys.push_back(keys[i]);
      some_rows.push_back(rows[i]);
    }
    // An equal key of an earlier piece may have come up: its number is an old one then.
    for (size_t p = 0; p < piece.size(); p++) {
      if (begin != 0) some_rows[p] = index_->find(some_keys[p]);
    }
    if (Status s = entries.read(*store_, some_keys, some_rows); !s.ok()) return s;
    rows_->reserve(piece.size());
    reserve(rows_->rows_ever() + piece.size());
    const RowStore::Writing writing(*rows_, piece.size());
    std::vector<uint32_t> brought_up(entries.size(), kNoRow);
    for (size_t p = 0; p < piece.size(); p++) {
      const uint32_t i = piece[p];
      const uint32_t now = some_rows[p];
      if (is_hot(now)) {
        rows[i] = now;
        continue;
      }
      if (brought_up[entries.place(p)] != kNoRow) {
        rows[i] = brought_up[entries.place(p)];
        continue;
      }
      const uint32_t row = rows_->take();
      try {
        index_->set(keys[i], row);
      } catch (...) {
        rows_->give_back(row);
        throw;
      }
      if (writing.needed()) writing.keep(row);
      const RowMeta meta = entries.meta(p);
      if (rows_->layout().has_meta()) rows_->meta(row) = meta;
      std::memcpy(rows_->entry(row), entries.entry(p), rows_->layout().entry_bytes());
      enter(keys[i], row, meta.freq);
      leave(now);
      rows[i] = brought_up[entries.place(p)] = row;
    }
  }
  return {};
}

Status Tiers::set_versions(std::span<const int64_t> keys, std::span<const uint32_t> rows, int64_t version) {
  const EntryLayout& layout = rows_->layout();
  const size_t record_bytes = ColdEntries::record_bytes(layout);
  ColdEntries entries(layout);
  if (Status s = entries.read(*store_, keys, rows); !s.ok()) return s;
  std::vector<std::byte> records(rows.size() * record_bytes);
  for (size_t i = 0; i < rows.size(); i++) {
    RowMeta meta = entries.meta(i);
    meta.version = version;
    ColdEntries::write(records.data() + i * record_bytes, keys[i], meta, entries.entry(i), layout);
  }
  std::vector<uint32_t> numbers(rows.size());
  if (Status s = store_->append(records.data(), rows.size(), numbers.data()); !s.ok()) return s;
  for (size_t i = 0; i < rows.size(); i++) {
    try {
      index_->set(keys[i], kColdBase + numbers[i]);
    } catch (...) {
      store_->release(&numbers[i], numbers.size() - i);
      throw;
    }
    leave(rows[i]);
  }
  compact(kCompactedPerWritten * rows.size() + kCompactedAtLeast);
  return {};
}

// -- another slot ---------------------------------------------------------------------------------

Status Tiers::relayout(const EntryLayout& to, const RowInit& init, std::unique_ptr<Relayout>* out) const {
  auto made = std::make_unique<Relayout>();
  if (Status s = open_store(to, &made->store); !s.ok()) return s;
  made->capacity = capacity_of(to, options_.dram_bytes);
  made->moves.reserve(store_->stats().live);
  index_->for_each([&](int64_t key, uint32_t row) {
    if (is_cold(row)) made->moves.push_back({key, row, 0});
  });
  std::ranges::sort(made->moves, {}, &Relayout::Move::from);
  const EntryLayout& from = rows_->layout();
  const SlotLayout added = to.slots().back();
  const size_t record_bytes = ColdEntries::record_bytes(to);
  ColdEntries entries(from);
  std::vector<float> entry(to.stride());
  for (size_t begin = 0; begin < made->moves.size(); begin += kRound) {
    const auto piece = std::span(made->moves).subspan(begin, std::min(kRound, made->moves.size() - begin));
    std::vector<int64_t> keys;
    std::vector<uint32_t> rows;
    for (const auto& move : piece) {
      keys.push_back(move.key);
      rows.push_back(move.from);
    }
    if (Status s = entries.read(*store_, keys, rows); !s.ok()) return s;
    std::vector<std::byte> records(piece.size() * record_bytes);
    for (size_t i = 0; i < piece.size(); i++) {
      std::memcpy(entry.data(), entries.entry(i), added.offset * sizeof(float));
      init.fill(keys[i], {entry.data() + added.offset, added.dim});
      ColdEntries::write(records.data() + i * record_bytes, keys[i], entries.meta(i), entry.data(), to);
    }
    std::vector<uint32_t> numbers(piece.size());
    if (Status s = made->store->append(records.data(), piece.size(), numbers.data()); !s.ok()) return s;
    for (size_t i = 0; i < piece.size(); i++) piece[i].to = kColdBase + numbers[i];
  }
  *out = std::move(made);
  return {};
}

void Tiers::exchange(Relayout& relayout) {
  size_t done = 0;
  try {
    for (; done < relayout.moves.size(); done++) {
      index_->set(relayout.moves[done].key, relayout.moves[done].to);
    }
  } catch (...) {
    // Parts of the index that have been written once are not copied again.
    while (done-- > 0) index_->set(relayout.moves[done].key, relayout.moves[done].from);
    throw;
  }
  for (auto& move : relayout.moves) std::swap(move.from, move.to);
  std::swap(store_, relayout.store);
  std::swap(capacity_, relayout.capacity);
}

}  // namespace kvarn
