// Slots, lookups and questions; updates, imports and evictions have files of their own.
#include "kvarn/engine/embedding_table.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <numeric>
#include <shared_mutex>
#include <string>
#include <utility>

#include "kvarn/base/buffer.h"
#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kGroup = 64;          // keys looked up while the rows of the group before are on their way
constexpr size_t kLookupGrain = 4096;  // fewer keys than this are not worth another thread
constexpr size_t kFloatsPerLine = 16;
constexpr size_t kSpreadGrain = 2 * kLookupGrain;  // new keys that are worth another thread

// Many keys to be inserted on several threads at once, each in its own pieces of the index. A new
// key gets the row of its place among the keys all the same, so that the rows of a file stay in their order.
class Spread {
 public:
  Spread(std::span<const int64_t> keys, std::span<const uint32_t> missing) : missing_(missing) {
    const size_t n = missing.size();
    std::vector<uint16_t> group(n);
    parallel_for(n, kLookupGrain, [&](size_t begin, size_t end) {
      for (size_t m = begin; m < end; m++) {
        group[m] = static_cast<uint16_t>(KeyIndex::group_of(keys[missing[m]]));
      }
    });
    for (const uint16_t g : group) start_[g + 1u]++;
    std::partial_sum(start_.begin(), start_.end(), start_.begin());
    keys_.resize(n);
    numbers_.resize(n);
    rows_.resize(n, kNoRow);
    auto next = start_;
    for (uint32_t m = 0; m < n; m++) {
      const size_t at = next[group[m]]++;
      keys_[at] = keys[missing[m]];
      numbers_[at] = m;
    }
  }

  // Into an index that has been prepared. Throws std::bad_alloc: what came before stays inserted.
  void insert(KeyIndex& index, RowStore::Range range) {
    range_ = range;
    std::array<size_t, KeyIndex::kPieces> done{};
    parallel_for(KeyIndex::kPieces, 1, [&](size_t begin, size_t end) {
      for (size_t p = begin; p < end; p++) {
        const size_t from = start_of(p);
        const auto progress =
            index.find_or_insert_piece(keys_.data() + from, numbers_.data() + from, start_of(p + 1) - from,
                                       range_.first, rows_.data() + from);
        done[p] = progress.done;
      }
    });
    for (size_t p = 0; p < KeyIndex::kPieces; p++) insert(index, start_of(p) + done[p], start_of(p + 1));
  }

  // Says which row each key has, and where the new ones are (there is room in `created`); gives back the rows
  // that nobody got.
  void give(RowStore& store, uint32_t* rows, std::vector<uint32_t>& created) const {
    for (size_t at = 0; at < rows_.size(); at++) {
      if (rows_[at] != kNoRow) rows[missing_[numbers_[at]]] = rows_[at];
    }
    for (uint32_t m = 0; m < missing_.size(); m++) {
      if (rows[missing_[m]] == range_.first + m) created.push_back(missing_[m]);
    }
    store.populate(range_);
    if (created.size() == missing_.size()) return;
    store.give_back_unused(range_, [&](uint32_t m) { return rows[missing_[m]] == range_.first + m; });
  }

 private:
  size_t start_of(size_t piece) const { return start_[piece * KeyIndex::kGroupsPerPiece]; }
  void insert(KeyIndex& index, size_t begin, size_t end) {
    index.find_or_insert_numbered(keys_.data() + begin, numbers_.data() + begin, end - begin, range_.first,
                                  rows_.data() + begin);
  }

  std::span<const uint32_t> missing_;
  std::array<size_t, KeyIndex::kGroups + 1> start_{};
  std::vector<int64_t> keys_;      // by group
  std::vector<uint32_t> numbers_;  // the place of each among the missing
  std::vector<uint32_t> rows_;
  RowStore::Range range_{};
};

}  // namespace

EmbeddingTable::EmbeddingTable(Options options)
    : record_freq_(options.record_freq),
      record_version_(options.record_version),
      admission_(std::move(options.admission)),
      no_permission_(options.no_permission),
      rows_(EntryLayout(has_meta())),
      counters_(EntryLayout(true)) {}

Status EmbeddingTable::set_tiers(const TierOptions& options) {
  const std::unique_lock lock(*mutex_);
  if (index_.size() != 0) return Status::invalid("tiers of a table that has keys");
  return Tiers::open(options, record_freq_, &index_, &rows_, &tiers_);
}

void EmbeddingTable::set_cache(CacheStrategy strategy) {
  const std::unique_lock lock(*mutex_);
  if (tiers_ != nullptr) tiers_->set_cache(strategy);
}

Status EmbeddingTable::add_slot(size_t dim, std::unique_ptr<RowInit> init) {
  if (dim == 0) return Status::invalid("add_slot: rows of dimension 0");
  const std::unique_lock lock(*mutex_);
  EntryLayout layout = rows_.layout();
  layout.add_slot(dim);
  const SlotLayout added = layout.slots().back();
  inits_.reserve(inits_.size() + 1);
  std::unique_ptr<Tiers::Relayout> on_disk;
  if (tiers_ != nullptr) {
    if (Status s = tiers_->relayout(layout, *init, &on_disk); !s.ok()) return s;
    tiers_->exchange(*on_disk);
  }
  const auto in_memory = [&](auto fn) {
    index_.for_each([&](int64_t key, uint32_t row) {
      if (is_hot(row)) fn(row, key);
    });
  };
  try {
    rows_.relayout(layout, in_memory, [&](int64_t key, const float* from, float* to) {
      if (added.offset != 0) std::memcpy(to, from, added.offset * sizeof(float));
      init->fill(key, {to + added.offset, dim});
    });
  } catch (...) {
    if (tiers_ != nullptr) tiers_->exchange(*on_disk);
    throw;
  }
  inits_.push_back(std::move(init));
  losses_++;
  settle();
  return {};
}

Status EmbeddingTable::set_default(size_t slot, std::unique_ptr<RowInit> init) {
  const std::unique_lock lock(*mutex_);
  if (slot >= inits_.size()) {
    return Status::invalid("set_default: slot " + std::to_string(slot) + " of " +
                           std::to_string(inits_.size()));
  }
  inits_[slot] = std::move(init);
  return {};
}

size_t EmbeddingTable::size() const {
  const std::shared_lock lock(*mutex_);
  return index_.size();
}

size_t EmbeddingTable::admitted_size() const {
  const std::shared_lock lock(*mutex_);
  return index_.size() - n_counters_;
}

size_t EmbeddingTable::memory_bytes() const {
  const std::shared_lock lock(*mutex_);
  return index_.bytes() + rows_.bytes() + counters_.bytes() +
         (tiers_ == nullptr ? 0 : tiers_->memory_bytes());
}

size_t EmbeddingTable::n_slots() const {
  const std::shared_lock lock(*mutex_);
  return rows_.layout().slots().size();
}

size_t EmbeddingTable::slot_dim(size_t slot) const {
  const std::shared_lock lock(*mutex_);
  return slot < rows_.layout().slots().size() ? rows_.layout().slots()[slot].dim : 0;
}

void EmbeddingTable::fill_defaults(float* entry, int64_t key, uint64_t but) const {
  for (size_t slot = 0; slot < inits_.size(); slot++) {
    if (slot < 64 && (but >> slot & 1) != 0) continue;
    const SlotLayout s = rows_.layout().slots()[slot];
    inits_[slot]->fill(key, {entry + s.offset, s.dim});
  }
}

void EmbeddingTable::default_row(size_t slot, int64_t key, std::span<float> out) const {
  if (admission_ != nullptr) {
    std::ranges::fill(out, slot == 0 ? no_permission_ : 0.0f);
  } else {
    inits_[slot]->fill(key, out);
  }
}

Status EmbeddingTable::check_batch(const char* what, size_t n_keys, size_t slot, size_t n_floats) const {
  const auto& slots = rows_.layout().slots();
  if (slot >= slots.size()) {
    return Status::invalid(std::string(what) + ": slot " + std::to_string(slot) + " of a table with " +
                           std::to_string(slots.size()) + " slots");
  }
  if (n_floats != n_keys * slots[slot].dim) {
    return Status::invalid(std::string(what) + ": " + std::to_string(n_floats) + " elements, expected " +
                           std::to_string(n_keys) + " rows of dimension " + std::to_string(slots[slot].dim));
  }
  return check_room(what, n_keys);
}

Status EmbeddingTable::check_room(const char* what, size_t n_keys) const {
  // The least of the ranges that row numbers are divided into (row_store.h).
  constexpr size_t kMost = kNoRow - kCounterBase;
  if (n_keys < kMost && std::max(rows_.rows_ever(), counters_.rows_ever()) < kMost - n_keys) return {};
  return Status::exhausted(std::string(what) + ": " + std::to_string(n_keys) + " keys, and " +
                           std::to_string(index_.size()) + " in the table; it can hold " +
                           std::to_string(kMost));
}

void EmbeddingTable::find(std::span<const int64_t> keys, uint32_t* rows) const {
  parallel_for(keys.size(), kLookupGrain, [&](size_t begin, size_t end) {
    index_.find_many(keys.data() + begin, end - begin, rows + begin);
  });
}

bool EmbeddingTable::find_and_copy(std::span<const int64_t> keys, size_t slot, float* out,
                                   uint32_t* rows) const {
  const SlotLayout s = rows_.layout().slots()[slot];
  std::atomic<bool> missing = false;
  const auto piece = [&]<size_t kDim>(size_t begin, size_t end) {
    const size_t dim = kDim ? kDim : s.dim;
    bool any_missing = false;
    // The rows of one group come from memory while the next group is looked up.
    const auto look_up = [&](size_t from) {
      const size_t n = std::min(kGroup, end - from);
      index_.find_many(keys.data() + from, n, rows + from);
      for (size_t i = from; i < from + n; i++) {
        if (!is_hot(rows[i])) continue;
        const float* row = rows_.entry(rows[i]) + s.offset;
        for (size_t f = 0; f < dim; f += kFloatsPerLine) KVARN_PREFETCH(row + f);
      }
    };
    look_up(begin);
    for (size_t at = begin; at < end; at += kGroup) {
      if (at + kGroup < end) look_up(at + kGroup);
      for (size_t i = at; i < std::min(at + kGroup, end); i++) {
        if (is_hot(rows[i])) {
          std::memcpy(out + i * dim, rows_.entry(rows[i]) + s.offset, dim * sizeof(float));
        } else {
          any_missing = true;
        }
      }
    }
    if (any_missing) missing.store(true, std::memory_order_relaxed);
  };
  parallel_for(keys.size(), kLookupGrain, [&](size_t begin, size_t end) {
    switch (s.dim) {
      case 1:
        return piece.operator()<1>(begin, end);
      case 8:
        return piece.operator()<8>(begin, end);
      case 16:
        return piece.operator()<16>(begin, end);
      case 32:
        return piece.operator()<32>(begin, end);
      case 64:
        return piece.operator()<64>(begin, end);
      default:
        return piece.operator()<0>(begin, end);
    }
  });
  return missing.load(std::memory_order_relaxed);
}

Status EmbeddingTable::lookup(std::span<const int64_t> keys, size_t slot, std::span<float> out) {
  static thread_local Buffer<uint32_t> buffer;
  uint32_t* const rows = buffer.at_least(keys.size());
  const auto defaults = [&] {
    const size_t dim = rows_.layout().slots()[slot].dim;
    for (size_t i = 0; i < keys.size(); i++) {
      if (!is_admitted(rows[i])) default_row(slot, keys[i], out.subspan(i * dim, dim));
    }
  };
  {
    const std::shared_lock lock(*mutex_);
    if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
    const bool all_found = !find_and_copy(keys, slot, out.data(), rows);
    if (all_found || !any_cold({rows, keys.size()})) {
      count_hits({rows, keys.size()});
      if (!all_found) defaults();
      if (tiers_ == nullptr) last_lookup_.keep(keys, buffer, all_found, losses_);
      return {};
    }
  }
  const std::unique_lock lock(*mutex_);
  if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
  find_and_copy(keys, slot, out.data(), rows);
  if (Status s = fetch(keys, slot, {}, rows, out); !s.ok()) return s;
  defaults();
  return {};
}

Status EmbeddingTable::lookup_or_create(std::span<const int64_t> keys, size_t slot, std::span<float> out) {
  if (admission_ != nullptr) return lookup(keys, slot, out);
  static thread_local Buffer<uint32_t> buffer;
  uint32_t* const rows = buffer.at_least(keys.size());
  uint64_t losses = 0;
  {
    // The usual batch finds all its keys, beside other readers.
    const std::shared_lock lock(*mutex_);
    if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
    if (!find_and_copy(keys, slot, out.data(), rows)) {
      count_hits({rows, keys.size()});
      if (tiers_ == nullptr) last_lookup_.keep(keys, buffer, true, losses_);
      return {};
    }
    losses = losses_;
  }
  const std::unique_lock lock(*mutex_);
  if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
  // Keys that others created between the locks are found below; if some lost their rows, or may have gone to
  // disk, all are looked up again.
  const bool again = tiers_ != nullptr || losses != losses_;
  const bool all_found = again && !find_and_copy(keys, slot, out.data(), rows);
  std::vector<uint32_t> missing;
  for (size_t i = 0; i < keys.size() && !all_found; i++) {
    if (rows[i] == kNoRow) missing.push_back(static_cast<uint32_t>(i));
  }
  if (Status s = fetch(keys, slot, missing, rows, out); !s.ok()) return s;
  if (missing.empty()) return {};
  create_missing(keys, missing, rows, 0);
  const SlotLayout layout = rows_.layout().slots()[slot];
  parallel_for(missing.size(), kLookupGrain, [&](size_t begin, size_t end) {
    for (size_t m = begin; m < end; m++) {
      const size_t i = missing[m];
      std::memcpy(out.data() + i * layout.dim, rows_.entry(rows[i]) + layout.offset,
                  layout.dim * sizeof(float));
    }
  });
  if (tiers_ == nullptr) last_lookup_.keep(keys, buffer, true, losses_);
  return {};
}

void EmbeddingTable::spread_last_lookup(std::span<const int64_t> distinct, std::span<const int32_t> idx,
                                        std::span<const int64_t> keys) {
  const std::shared_lock lock(*mutex_);
  last_lookup_.spread(distinct, idx, keys);
}

Status EmbeddingTable::create_from(std::span<const int64_t> keys, size_t slot, std::span<const float> given) {
  static thread_local Buffer<uint32_t> buffer;
  uint32_t* const rows = buffer.at_least(keys.size());
  const std::unique_lock lock(*mutex_);
  if (Status s = check_batch("create_from", keys.size(), slot, given.size()); !s.ok()) return s;
  if (Status s = make_room(0); !s.ok()) return s;
  find(keys, rows);
  const SlotLayout layout = rows_.layout().slots()[slot];
  reserve_rows(keys.size());
  const RowStore::Writing writing(rows_, keys.size());
  for (size_t i = 0; i < keys.size(); i++) {
    if (is_admitted(rows[i])) continue;
    const uint32_t now = index_.find(keys[i]);  // an equal key may have come before
    if (is_admitted(now)) continue;
    const uint32_t row = create(keys[i], now, writing, uint64_t{slot < 64} << (slot & 63));
    std::memcpy(rows_.entry(row) + layout.offset, given.data() + i * layout.dim, layout.dim * sizeof(float));
    if (touches_.active()) touches_.touch(keys[i], cuts_);
  }
  settle();
  return {};
}

uint32_t EmbeddingTable::create(int64_t key, uint32_t counter, const RowStore::Writing& writing,
                                uint64_t but) {
  const uint32_t row = rows_.take();
  try {
    if (counter == kNoRow) {
      index_.insert(key, row);
    } else {
      counters_.reserve_free(1);
      index_.set(key, row);
    }
  } catch (...) {
    rows_.give_back(row);
    throw;
  }
  if (writing.needed()) writing.keep(row);
  RowMeta meta;
  if (counter != kNoRow) {
    meta = counters_.meta(counter - kCounterBase);
    counters_.give_back(counter - kCounterBase);
    n_counters_--;
  }
  if (has_meta()) rows_.meta(row) = meta;
  fill_defaults(rows_.entry(row), key, but);
  if (tiers_ != nullptr) tiers_->enter(key, row, meta.freq);
  return row;
}

void EmbeddingTable::create_missing(std::span<const int64_t> keys, std::span<const uint32_t> missing,
                                    uint32_t* rows, uint64_t but) {
  if (missing.empty()) return;
  reserve_rows(missing.size());
  rows_.reserve_free(1);
  const RowStore::Writing writing(rows_, missing.size());
  std::vector<uint32_t> created;  // where each new key occurs first
  created.reserve(missing.size());
  const bool all_given = inits_.size() < 64 && but == (uint64_t{1} << inits_.size()) - 1;
  const auto fill = [&] {
    const size_t n = all_given && !has_meta() ? 0 : created.size();
    parallel_for(n, kLookupGrain, [&](size_t begin, size_t end) {
      for (size_t c = begin; c < end; c++) {
        const uint32_t i = created[c];
        if (writing.needed()) writing.keep(rows[i]);
        if (has_meta()) rows_.meta(rows[i]) = RowMeta{};
        if (!all_given) fill_defaults(rows_.entry(rows[i]), keys[i], but);
      }
    });
    for (const uint32_t i : created) {
      if (touches_.active()) touches_.touch(keys[i], cuts_);
      if (tiers_ != nullptr) tiers_->enter(keys[i], rows[i], 0);
    }
  };
  if (missing.size() >= kSpreadGrain && num_threads() > 1 && rows_.n_free() == 0 &&
      index_.prepare(missing.size())) {
    Spread spread(keys, missing);
    const auto account = [&] { spread.give(rows_, rows, created); };
    try {
      spread.insert(index_, rows_.take(missing.size()));
    } catch (...) {
      account();
      fill();  // what is in the index has a row
      throw;
    }
    account();
    return fill();
  }
  // Of the rows in `range` the first n went to new keys, in order of their first occurrence.
  const auto account = [&](std::span<const uint32_t> positions, RowStore::Range range, size_t n) {
    const size_t all = created.size() + n;
    rows_.populate({range.first, n});
    uint32_t next = range.first;
    for (size_t i = 0; created.size() < all; i++) {
      if (rows[positions[i]] != next) continue;
      created.push_back(positions[i]);
      next++;
    }
    rows_.give_back({next, range.n - n});
  };
  while (!missing.empty()) {
    const RowStore::Range range = rows_.take(missing.size());
    const auto positions = missing.first(range.n);
    const size_t before = index_.size();
    try {
      index_.find_or_insert_many(keys.data(), positions.data(), positions.size(), range.first, rows);
    } catch (...) {
      account(positions, range, index_.size() - before);
      fill();
      throw;
    }
    account(positions, range, index_.size() - before);
    missing = missing.subspan(range.n);
  }
  fill();
}

void EmbeddingTable::touch(std::span<const int64_t> keys) {
  if (!touches_.active()) return;
  for (const int64_t key : keys) touches_.touch(key, cuts_);
}

Status EmbeddingTable::contains(std::span<const int64_t> keys, std::span<bool> out) const {
  if (out.size() != keys.size()) return Status::invalid("contains: one answer per key expected");
  const std::shared_lock lock(*mutex_);
  for (size_t i = 0; i < keys.size(); i++) out[i] = is_admitted(index_.find(keys[i]));
  return {};
}

template <class Answer>
Status EmbeddingTable::each_frequency(std::span<const int64_t> keys, std::span<int64_t> out,
                                      Answer answer) const {
  if (out.size() != keys.size()) return Status::invalid("frequency: one answer per key expected");
  const std::shared_lock lock(*mutex_);
  std::vector<uint32_t> rows(keys.size());
  find(keys, rows.data());
  ColdEntries on_disk(rows_.layout());
  if (record_freq_) {
    if (Status s = read_cold(keys, rows, &on_disk); !s.ok()) return s;
  }
  for (size_t i = 0; i < keys.size(); i++) {
    if (is_counter(rows[i])) {
      out[i] = counters_.meta(rows[i] - kCounterBase).freq;
      continue;
    }
    std::optional<int64_t> recorded;
    if (is_admitted(rows[i]) && record_freq_) {
      recorded = is_hot(rows[i]) ? rows_.meta(rows[i]).freq : on_disk.meta(i).freq;
    }
    out[i] = answer(keys[i], rows[i], recorded);
  }
  return {};
}

Status EmbeddingTable::frequency(std::span<const int64_t> keys, std::span<int64_t> out) const {
  return each_frequency(keys, out, [&](int64_t key, uint32_t row, std::optional<int64_t> recorded) {
    return admission_ == nullptr ? recorded.value_or(0)
                                 : admission_->frequency(key, is_admitted(row), recorded);
  });
}

Status EmbeddingTable::kept_frequency(std::span<const int64_t> keys, std::span<int64_t> out) const {
  return each_frequency(keys, out, [&](int64_t key, uint32_t row, std::optional<int64_t> recorded) {
    if (recorded || admission_ == nullptr || !is_admitted(row)) return recorded.value_or(0);
    return admission_->frequency_of_admitted(key);
  });
}

Status EmbeddingTable::version(std::span<const int64_t> keys, std::span<int64_t> out) const {
  if (out.size() != keys.size()) return Status::invalid("version: one answer per key expected");
  const std::shared_lock lock(*mutex_);
  std::vector<uint32_t> rows(keys.size());
  find(keys, rows.data());
  ColdEntries on_disk(rows_.layout());
  if (record_version_) {
    if (Status s = read_cold(keys, rows, &on_disk); !s.ok()) return s;
  }
  for (size_t i = 0; i < keys.size(); i++) {
    if (rows[i] == kNoRow || !record_version_) {
      out[i] = -1;
    } else if (is_counter(rows[i])) {
      out[i] = counters_.meta(rows[i] - kCounterBase).version;
    } else {
      out[i] = is_hot(rows[i]) ? rows_.meta(rows[i]).version : on_disk.meta(i).version;
    }
  }
  return {};
}

// -- tiers ----------------------------------------------------------------------------------------

Status EmbeddingTable::tier(std::span<const int64_t> keys, std::span<int32_t> out) const {
  if (out.size() != keys.size()) return Status::invalid("tier: one answer per key expected");
  const std::shared_lock lock(*mutex_);
  for (size_t i = 0; i < keys.size(); i++) {
    const uint32_t row = index_.find(keys[i]);
    out[i] = is_hot(row) ? 0 : is_cold(row) ? 1 : -1;
  }
  return {};
}

EmbeddingTable::TierCounts EmbeddingTable::tier_counts() const {
  const std::shared_lock lock(*mutex_);
  if (tiers_ == nullptr) return {};
  return {hits_[0],           hits_[1],           hits_[2],
          tiers_->hot_size(), tiers_->capacity(), tiers_->compaction_errors(),
          tiers_->disk()};
}

void EmbeddingTable::reserve_rows(size_t n) {
  rows_.reserve(n);
  collapse_some(n);
  if (tiers_ != nullptr) tiers_->reserve(rows_.rows_ever() + n);
}

void EmbeddingTable::collapse_some(size_t n) {
  // Twice as fast as the table grows.
  const size_t pages = 2 * n * rows_.layout().row_bytes() / Pages::kHugePage + 1;
  rows_.collapse_some(pages);
  index_.collapse_some(pages);
}

Status EmbeddingTable::make_room(size_t n) { return tiers_ == nullptr ? Status() : tiers_->make_room(n); }

void EmbeddingTable::settle() {
  try {
    if (const Status later = make_room(0); !later.ok()) return;
  } catch (const std::bad_alloc&) {
    return;
  }
}

Status EmbeddingTable::bring_up(std::span<const int64_t> keys, uint32_t* rows) {
  return tiers_ == nullptr ? Status() : tiers_->bring_up(keys, {rows, keys.size()});
}

Status EmbeddingTable::read_cold(std::span<const int64_t> keys, std::span<const uint32_t> rows,
                                 ColdEntries* out) const {
  return tiers_ == nullptr ? Status() : out->read(tiers_->store(), keys, rows);
}

bool EmbeddingTable::any_cold(std::span<const uint32_t> rows) const {
  return tiers_ != nullptr && std::ranges::any_of(rows, is_cold);
}

void EmbeddingTable::count_hits(std::span<const uint32_t> rows) const {
  if (tiers_ == nullptr) return;
  uint64_t counts[3] = {};
  for (const uint32_t row : rows) counts[is_hot(row) ? 0 : is_cold(row) ? 1 : 2]++;
  for (size_t i = 0; i < 3; i++) hits_[i].fetch_add(counts[i], std::memory_order_relaxed);
}

Status EmbeddingTable::fetch(std::span<const int64_t> keys, size_t slot, std::span<const uint32_t> missing,
                             uint32_t* rows, std::span<float> out) {
  if (tiers_ == nullptr) return {};
  std::vector<uint32_t> cold;
  std::vector<int64_t> coming;
  for (size_t i = 0; i < keys.size(); i++) {
    if (is_cold(rows[i])) cold.push_back(static_cast<uint32_t>(i));
  }
  for (const auto& positions : {std::span<const uint32_t>(cold), missing}) {
    for (const uint32_t i : positions) coming.push_back(keys[i]);
  }
  count_hits({rows, keys.size()});
  std::ranges::sort(coming);
  const auto equal = std::ranges::unique(coming);
  // Rows of this batch may have to leave for it: they have been copied.
  if (Status s = make_room(coming.size() - equal.size()); !s.ok()) return s;
  if (cold.empty()) return {};
  // Compaction may have moved them.
  std::vector<int64_t> cold_keys;
  for (const uint32_t i : cold) cold_keys.push_back(keys[i]);
  std::vector<uint32_t> cold_rows(cold.size());
  find(cold_keys, cold_rows.data());
  if (Status s = bring_up(cold_keys, cold_rows.data()); !s.ok()) return s;
  const SlotLayout layout = rows_.layout().slots()[slot];
  for (size_t c = 0; c < cold.size(); c++) {
    std::memcpy(out.data() + cold[c] * layout.dim, rows_.entry(cold_rows[c]) + layout.offset,
                layout.dim * sizeof(float));
    rows[cold[c]] = cold_rows[c];
  }
  return {};
}

}  // namespace kvarn
