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

std::optional<EvictReason> EmbeddingTable::judge(const EvictionRule& rule, int64_t step, int64_t key,
                                                 uint32_t row) const {
  if (is_counter(row)) {
    const RowMeta& meta = counters_.meta(row - kCounterBase);
    return rule.reason(step, record_version_ ? meta.version : -1, meta.freq, nullptr, 0);
  }
  const RowMeta meta = standing_of(rule, step, key, row);
  return rule.reason(step, meta.version, meta.freq, rows_.entry(row), rows_.layout().slots()[0].dim);
}

RowMeta EmbeddingTable::standing_of(const EvictionRule& rule, int64_t step, int64_t key, uint32_t row) const {
  RowMeta meta;
  if (has_meta()) meta = rows_.meta(row);
  if (!record_version_) meta.version = -1;
  if (record_version_ && rule.by_age() && meta.version == -1) meta.version = step;  // its time begins now
  if (!record_freq_) meta.freq = admission_ == nullptr ? 0 : admission_->frequency_of_admitted(key);
  return meta;
}

Status EmbeddingTable::evict(const EvictionRule& rule, int64_t step, bool dry_run, EvictionResult* out) {
  const bool ranks = rule.min_keys != 0 || rule.max_keys.has_value();
  std::vector<std::pair<int64_t, EvictReason>> leaving;
  std::vector<int64_t> undated;     // never updated: their time begins now
  std::vector<Standing> standings;  // of every admitted key, if ranks count
  std::vector<Standing> condemned;  // admitted keys among those leaving
  std::vector<int64_t> keys;
  std::vector<uint32_t> rows;
  std::shared_ptr<const KeyIndex::View> view;
  {
    const std::unique_lock lock(*mutex_);
    view = index_.view();
  }
  const auto examine = [&] {
    rows.resize(keys.size());
    const std::shared_lock lock(*mutex_);
    index_.find_many(keys.data(), keys.size(), rows.data());
    for (size_t i = 0; i < keys.size(); i++) {
      if (rows[i] == kNoRow) continue;
      out->examined++;
      const bool admitted = is_admitted(rows[i]);
      if (rule.by_age() && record_version_) {
        const int64_t version =
            admitted ? rows_.meta(rows[i]).version : counters_.meta(rows[i] - kCounterBase).version;
        if (version == -1) undated.push_back(keys[i]);
      }
      const auto reason = judge(rule, step, keys[i], rows[i]);
      if (reason) leaving.emplace_back(keys[i], *reason);
      if (!ranks || !admitted) continue;
      const RowMeta meta = standing_of(rule, step, keys[i], rows[i]);
      (reason ? condemned : standings).push_back({meta.freq, meta.version, keys[i]});
    }
    keys.clear();
  };
  view->for_each([&](int64_t key, uint32_t) {
    keys.push_back(key);
    if (keys.size() == kPiece) examine();
  });
  examine();
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
  const auto in_pieces = [&](size_t n, auto fn) {
    for (size_t begin = 0; begin < n; begin += kPiece) {
      const std::unique_lock lock(*mutex_);
      const size_t end = std::min(n, begin + kPiece);
      rows_.reserve_free(end - begin);
      counters_.reserve_free(end - begin);
      for (size_t i = begin; i < end; i++) fn(i);
    }
  };
  in_pieces(leaving.size(), [&](size_t i) {
    const auto [key, reason] = leaving[i];
    const uint32_t row = index_.find(key);
    // Another may have touched it meanwhile.
    if (row == kNoRow || !judge(rule, step, key, row)) return;
    erase(key, row);
    name(key, reason);
  });
  in_pieces(surplus.size(), [&](size_t i) {
    const int64_t key = surplus[i].key;
    const uint32_t row = index_.find(key);
    if (!is_admitted(row)) return;
    const RowMeta meta = standing_of(rule, step, key, row);
    if (meta.freq != surplus[i].freq || meta.version != surplus[i].version) return;
    erase(key, row);
    name(key, EvictReason::kCeiling);
  });
  in_pieces(undated.size(), [&](size_t i) {
    const uint32_t row = index_.find(undated[i]);
    if (row == kNoRow) return;
    RowStore& store = is_counter(row) ? counters_ : rows_;
    const uint32_t at = is_counter(row) ? row - kCounterBase : row;
    if (store.meta(at).version != -1) return;
    const RowStore::Writing writing(store, 1);
    if (writing.needed()) writing.keep(at);
    store.meta(at).version = step;
  });
  return {};
}

// Room to give the row back has been made.
void EmbeddingTable::erase(int64_t key, uint32_t row) {
  if (touches_.active()) touches_.touch(key, cuts_);
  index_.erase(key);
  if (is_counter(row)) {
    counters_.give_back(row - kCounterBase);
    n_counters_--;
  } else {
    rows_.give_back(row);
  }
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
  rows_.clear();
  counters_.clear();
  n_counters_ = 0;
  if (admission_ != nullptr) admission_->clear();
}

void EmbeddingTable::record_touches(bool on) {
  const std::unique_lock lock(*mutex_);
  touches_.activate(on);
}

void EmbeddingTable::forget_touches(uint32_t before) {
  const std::unique_lock lock(*mutex_);
  touches_.forget(before);
}

}  // namespace kvarn
