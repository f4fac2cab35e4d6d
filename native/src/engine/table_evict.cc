// Who has to leave: found under a shared lock piece by piece, then taken out piece by piece, so that nobody
// waits for the whole table to be looked at.
#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "kvarn/engine/embedding_table.h"

namespace kvarn {
namespace {

constexpr size_t kPiece = 4096;  // keys examined, or taken out, under one lock

// An admitted key as floor and ceiling see it; the least leave first.
struct Standing {
  int64_t freq;
  int64_t version;
  int64_t key;
  auto rank() const { return std::tie(freq, version, key); }
  bool operator<(const Standing& other) const { return rank() < other.rank(); }
};

}  // namespace

// A piece of keys with what the table has of them, wherever it lies. The caller holds the lock.
class EmbeddingTable::Examined {
 public:
  explicit Examined(const EmbeddingTable& table) : table_(table), on_disk_(table.rows_.layout()) {}

  Status look_up(std::span<const int64_t> keys) {
    keys_ = keys;
    rows_.resize(keys.size());
    table_.index_.find_many(keys.data(), keys.size(), rows_.data());
    return table_.read_cold(keys, rows_, &on_disk_);
  }

  uint32_t row(size_t i) const { return rows_[i]; }
  bool found(size_t i) const { return rows_[i] != kNoRow; }
  RowMeta meta(size_t i) const {
    if (is_counter(rows_[i])) return table_.counters_.meta(rows_[i] - kCounterBase);
    if (!table_.has_meta()) return {};
    return is_hot(rows_[i]) ? table_.rows_.meta(rows_[i]) : on_disk_.meta(i);
  }
  // Frequency and version of an admitted key as eviction sees them.
  RowMeta standing(const EvictionRule& rule, int64_t step, size_t i) const {
    RowMeta meta = this->meta(i);
    if (!table_.record_version_) meta.version = -1;
    if (table_.record_version_ && rule.by_age() && meta.version == -1)
      meta.version = step;  // its time begins
    if (!table_.record_freq_) {
      meta.freq = table_.admission_ == nullptr ? 0 : table_.admission_->frequency_of_admitted(keys_[i]);
    }
    return meta;
  }
  std::optional<EvictReason> judge(const EvictionRule& rule, int64_t step, size_t i) const {
    if (is_counter(rows_[i])) {
      const RowMeta meta = this->meta(i);
      return rule.reason(step, table_.record_version_ ? meta.version : -1, meta.freq, nullptr, 0);
    }
    const RowMeta meta = standing(rule, step, i);
    const float* entry = is_hot(rows_[i]) ? table_.rows_.entry(rows_[i]) : on_disk_.entry(i);
    return rule.reason(step, meta.version, meta.freq, entry, table_.rows_.layout().slots()[0].dim);
  }

 private:
  const EmbeddingTable& table_;
  std::span<const int64_t> keys_;
  std::vector<uint32_t> rows_;
  ColdEntries on_disk_;
};

Status EmbeddingTable::evict(const EvictionRule& rule, int64_t step, bool dry_run, EvictionResult* out) {
  const bool ranks = rule.min_keys != 0 || rule.max_keys.has_value();
  std::vector<std::pair<int64_t, EvictReason>> leaving;
  std::vector<int64_t> undated;     // never updated: their time begins now
  std::vector<Standing> standings;  // of every admitted key, if ranks count
  std::vector<Standing> condemned;  // admitted keys among those leaving
  std::vector<int64_t> keys;
  std::vector<std::pair<uint32_t, int64_t>> on_disk;  // looked at in the order of the files
  std::shared_ptr<const KeyIndex::View> view;
  {
    const std::unique_lock lock(*mutex_);
    view = index_.view();
  }
  const auto examine = [&]() -> Status {
    const std::shared_lock lock(*mutex_);
    Examined piece(*this);
    if (Status s = piece.look_up(keys); !s.ok()) return s;
    for (size_t i = 0; i < keys.size(); i++) {
      if (!piece.found(i)) continue;
      out->examined++;
      if (rule.by_age() && record_version_ && piece.meta(i).version == -1) undated.push_back(keys[i]);
      const auto reason = piece.judge(rule, step, i);
      if (reason) leaving.emplace_back(keys[i], *reason);
      if (!ranks || !is_admitted(piece.row(i))) continue;
      const RowMeta meta = piece.standing(rule, step, i);
      (reason ? condemned : standings).push_back({meta.freq, meta.version, keys[i]});
    }
    keys.clear();
    return {};
  };
  Status failed;
  view->for_each([&](int64_t key, uint32_t row) {
    if (is_cold(row)) {
      on_disk.emplace_back(row, key);
      return;
    }
    keys.push_back(key);
    if (keys.size() == kPiece && failed.ok()) failed = examine();
  });
  std::ranges::sort(on_disk);
  for (size_t i = 0; i < on_disk.size() && failed.ok(); i++) {
    keys.push_back(on_disk[i].second);
    if (keys.size() == kPiece) failed = examine();
  }
  if (failed.ok()) failed = examine();
  if (!failed.ok()) return failed;
  on_disk.clear();
  view.reset();  // from here on the index need not copy what changes

  if (standings.size() < rule.min_keys) {
    // The floor: those who would be the last to leave stay.
    out->spared = std::min(rule.min_keys - standings.size(), condemned.size());
    std::nth_element(condemned.begin(), condemned.end() - static_cast<ptrdiff_t>(out->spared),
                     condemned.end());
    std::unordered_set<int64_t> spared;
    for (auto it = condemned.end() - static_cast<ptrdiff_t>(out->spared); it != condemned.end(); ++it) {
      spared.insert(it->key);
    }
    std::erase_if(leaving, [&](const auto& each) { return spared.contains(each.first); });
  }
  const size_t staying = standings.size() + out->spared;
  std::vector<Standing> surplus;
  const size_t most = rule.max_keys ? std::max(*rule.max_keys, rule.min_keys) : staying;
  if (staying > most && !standings.empty()) {
    const size_t n = std::min(staying - most, standings.size());
    std::nth_element(standings.begin(), standings.begin() + static_cast<ptrdiff_t>(n - 1), standings.end());
    standings.resize(n);
    std::sort(standings.begin(), standings.end());
    surplus = std::move(standings);
  }

  const auto name = [&](int64_t key, EvictReason reason) {
    out->keys.push_back(key);
    out->reasons.push_back(static_cast<uint8_t>(reason));
  };
  if (dry_run) {
    for (const auto& [key, reason] : leaving) name(key, reason);
    for (const Standing& each : surplus) name(each.key, EvictReason::kCeiling);
    return {};
  }
  out->keys.reserve(leaving.size() + surplus.size());
  out->reasons.reserve(leaving.size() + surplus.size());
  // fn(piece, i, n): what is key i of `piece`, number n of all. Keys that the disk does not give any more,
  // though they were read a moment ago, stay for the next time.
  const auto in_pieces = [&](const auto& all, auto key_of, auto fn) {
    Examined piece(*this);
    for (size_t begin = 0; begin < all.size(); begin += kPiece) {
      const size_t n = std::min(all.size() - begin, kPiece);
      keys.clear();
      for (size_t i = 0; i < n; i++) keys.push_back(key_of(all[begin + i]));
      const std::unique_lock lock(*mutex_);
      if (const Status s = piece.look_up(keys); !s.ok()) continue;
      rows_.reserve_free(n);
      counters_.reserve_free(n);
      for (size_t i = 0; i < n; i++) {
        if (piece.found(i)) fn(piece, i, all[begin + i]);
      }
    }
  };
  in_pieces(
      leaving, [](const auto& each) { return each.first; },
      [&](const Examined& piece, size_t i, const auto& each) {
        // Another may have touched it meanwhile.
        if (!piece.judge(rule, step, i)) return;
        erase(each.first, piece.row(i));
        name(each.first, each.second);
      });
  in_pieces(
      surplus, [](const Standing& each) { return each.key; },
      [&](const Examined& piece, size_t i, const Standing& each) {
        if (!is_admitted(piece.row(i))) return;
        const RowMeta meta = piece.standing(rule, step, i);
        if (meta.freq != each.freq || meta.version != each.version) return;
        erase(each.key, piece.row(i));
        name(each.key, EvictReason::kCeiling);
      });
  for (size_t begin = 0; begin < undated.size(); begin += kPiece) {
    date(std::span(undated).subspan(begin, std::min(undated.size() - begin, kPiece)), step);
  }
  return {};
}

void EmbeddingTable::date(std::span<const int64_t> keys, int64_t step) {
  std::vector<int64_t> cold_keys;
  std::vector<uint32_t> cold_rows;
  const std::unique_lock lock(*mutex_);
  Examined piece(*this);
  // What the disk does not give or take now has its time begin with the next eviction.
  if (const Status s = piece.look_up(keys); !s.ok()) return;
  for (size_t i = 0; i < keys.size(); i++) {
    const uint32_t row = piece.row(i);
    if (row == kNoRow || piece.meta(i).version != -1) continue;
    if (touches_.active()) touches_.touch(keys[i], cuts_);
    if (is_cold(row)) {
      cold_keys.push_back(keys[i]);
      cold_rows.push_back(row);
      continue;
    }
    RowStore& store = is_counter(row) ? counters_ : rows_;
    const uint32_t at = is_counter(row) ? row - kCounterBase : row;
    const RowStore::Writing writing(store, 1);
    if (writing.needed()) writing.keep(at);
    store.meta(at).version = step;
  }
  if (cold_rows.empty()) return;
  if (const Status s = tiers_->set_versions(cold_keys, cold_rows, step); !s.ok()) return;
}

// Room to give the row back has been made.
void EmbeddingTable::erase(int64_t key, uint32_t row) {
  if (touches_.active()) touches_.touch(key, cuts_);
  index_.erase(key);
  losses_++;
  if (is_counter(row)) {
    counters_.give_back(row - kCounterBase);
    n_counters_--;
    return;
  }
  if (tiers_ != nullptr) tiers_->leave(row);
  if (is_hot(row)) rows_.give_back(row);
}

size_t EmbeddingTable::remove(std::span<const int64_t> keys) {
  const std::unique_lock lock(*mutex_);
  size_t removed = 0;
  rows_.reserve_free(std::min(keys.size(), index_.size()));
  counters_.reserve_free(std::min(keys.size(), n_counters_));
  for (const int64_t key : keys) {
    const uint32_t row = index_.find(key);
    if (row == kNoRow) continue;
    erase(key, row);
    removed++;
  }
  return removed;
}

void EmbeddingTable::clear() {
  const std::unique_lock lock(*mutex_);
  if (touches_.active()) {
    index_.for_each([&](int64_t key, uint32_t) { touches_.touch(key, cuts_); });
  }
  index_.clear();
  losses_++;
  clears_++;
  rows_.clear();
  counters_.clear();
  n_counters_ = 0;
  if (tiers_ != nullptr) tiers_->clear();
  if (admission_ != nullptr) admission_->clear();
}

void EmbeddingTable::record_touches(bool on) {
  const std::unique_lock lock(*mutex_);
  touches_.activate(on, cuts_);
}

void EmbeddingTable::forget_touches(uint32_t before) {
  const std::unique_lock lock(*mutex_);
  touches_.forget(before);
}

}  // namespace kvarn
