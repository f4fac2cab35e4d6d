// What a checkpoint brings into a table, and cuts of it that go into one.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kvarn/base/buffer.h"
#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"

namespace kvarn {
namespace {

constexpr size_t kImportGrain = 4096;
constexpr size_t kAhead = 16;

Status check_column(const char* what, size_t n, size_t n_keys) {
  if (n == 0 || n == n_keys) return {};
  return Status::invalid(std::string(what) + ": " + std::to_string(n) +
                         " values, expected none or one for each of " + std::to_string(n_keys) + " keys");
}

}  // namespace

void EmbeddingTable::reserve(size_t n_keys) {
  const std::unique_lock lock(*mutex_);
  if (n_keys > index_.size()) index_.reserve(n_keys);
}

Status EmbeddingTable::import_columns(std::span<const int64_t> keys, std::span<const Column> columns,
                                      std::span<const int64_t> freqs, std::span<const int64_t> versions) {
  static thread_local Buffer<uint32_t> buffer;
  uint32_t* const rows = buffer.at_least(keys.size());
  const std::unique_lock lock(*mutex_);
  const auto& slots = rows_.layout().slots();
  uint64_t covered = 0;
  for (const Column& column : columns) {
    if (column.slot >= slots.size()) {
      return Status::invalid("import: slot " + std::to_string(column.slot) + " of " +
                             std::to_string(slots.size()));
    }
    if (column.slot < 64) covered |= uint64_t{1} << column.slot;
  }
  if (Status s = check_room("import", keys.size()); !s.ok()) return s;
  if (Status s = check_column("import: frequencies", freqs.size(), keys.size()); !s.ok()) return s;
  if (Status s = check_column("import: versions", versions.size(), keys.size()); !s.ok()) return s;
  if (Status s = make_room(0); !s.ok()) return s;
  std::vector<uint32_t> missing;
  std::vector<uint32_t> counted;
  if (admission_ == nullptr && tiers_ == nullptr) {
    // Every key has an entry in memory or none: creating finds those that have.
    missing.resize(keys.size());
    std::iota(missing.begin(), missing.end(), 0u);
    std::fill_n(rows, keys.size(), kNoRow);
  } else {
    find(keys, rows);
    if (Status s = bring_up(keys, rows); !s.ok()) return s;
    for (size_t i = 0; i < keys.size(); i++) {
      if (rows[i] == kNoRow) missing.push_back(static_cast<uint32_t>(i));
      if (is_counter(rows[i])) counted.push_back(static_cast<uint32_t>(i));
    }
  }
  const RowStore::Writing writing(rows_, keys.size());
  create_missing(keys, missing, rows, covered);
  reserve_rows(counted.size());
  for (const uint32_t i : counted) {
    const uint32_t now = index_.find(keys[i]);  // an equal key may have come before
    rows[i] = is_counter(now) ? create(keys[i], now, writing, covered) : now;
  }
  // Rows of one part are written in order, so that the last of equal keys wins.
  const size_t n_parts =
      std::clamp<size_t>(keys.size() / kImportGrain, 1, static_cast<size_t>(num_threads()));
  parallel_for(n_parts, 1, [&](size_t begin, size_t end) {
    for (size_t i = 0; i < keys.size(); i++) {
      if (n_parts > 1 && (rows[i] % n_parts < begin || rows[i] % n_parts >= end)) continue;
      if (i + kAhead < keys.size()) KVARN_PREFETCH_WRITE(rows_.entry(rows[i + kAhead]));
      if (writing.needed()) writing.keep(rows[i]);
      for (const Column& column : columns) {
        const SlotLayout s = slots[column.slot];
        std::memcpy(rows_.entry(rows[i]) + s.offset, column.rows + i * s.dim, s.dim * sizeof(float));
      }
      if (!has_meta()) continue;
      RowMeta& meta = rows_.meta(rows[i]);
      if (record_freq_ && !freqs.empty()) meta.freq = freqs[i];
      if (record_version_ && !versions.empty()) meta.version = versions[i];
    }
  });
  if (admission_ != nullptr) {
    for (size_t i = 0; i < keys.size(); i++) {
      const int64_t freq = admission_->frequency_of_imported(keys[i], freqs.empty() ? -1 : freqs[i]);
      if (!freqs.empty() && record_freq_) rows_.meta(rows[i]).freq = freq;
    }
    // Without a frequency a new key was counted at least as often as the filter asks for.
    const auto at_least = [&](const std::vector<uint32_t>& positions) {
      if (!freqs.empty() || !record_freq_) return;
      for (const uint32_t i : positions) {
        int64_t& freq = rows_.meta(rows[i]).freq;
        freq = std::max(freq, admission_->frequency_of_imported(keys[i], -1));
      }
    };
    at_least(missing);
    at_least(counted);
  }
  touch(keys);
  if (tiers_ != nullptr) {
    // The last in the file are the last to leave, of equal frequencies.
    for (size_t i = 0; i < keys.size(); i++) {
      tiers_->leave(rows[i]);
      tiers_->enter(keys[i], rows[i], has_meta() ? rows_.meta(rows[i]).freq : 0);
    }
    settle();
  }
  return {};
}

Status EmbeddingTable::import_filtered(std::span<const int64_t> keys, std::span<const int64_t> freqs,
                                       std::span<const int64_t> versions) {
  const std::unique_lock lock(*mutex_);
  if (Status s = check_room("import", keys.size()); !s.ok()) return s;
  if (freqs.size() != keys.size()) {
    return Status::invalid("import: " + std::to_string(freqs.size()) + " frequencies of " +
                           std::to_string(keys.size()) + " keys that were not admitted");
  }
  if (Status s = check_column("import: versions", versions.size(), keys.size()); !s.ok()) return s;
  if (Status s = make_room(0); !s.ok()) return s;
  reserve_rows(keys.size());
  counters_.reserve(keys.size());
  const RowStore::Writing writing(rows_, keys.size());
  const RowStore::Writing writing_counters(counters_, keys.size());
  for (size_t i = 0; i < keys.size(); i++) {
    uint32_t row = index_.find(keys[i]);
    if (is_admitted(row)) continue;  // what was learnt is not given up for a count
    RowMeta* meta = nullptr;
    if (admission_ == nullptr || admission_->imported(keys[i], freqs[i])) {
      row = create(keys[i], row, writing, 0);
      if (has_meta()) meta = &rows_.meta(row);
    } else if (admission_->keeps_records()) {
      const uint32_t record =
          is_counter(row) ? row - kCounterBase : create_counter(keys[i], writing_counters);
      if (writing_counters.needed()) writing_counters.keep(record);
      meta = &counters_.meta(record);
    } else {
      continue;
    }
    if (meta != nullptr) {
      meta->freq = freqs[i];
      if (!versions.empty() && record_version_) meta->version = versions[i];
    }
    if (tiers_ != nullptr && is_hot(row)) {
      tiers_->leave(row);
      tiers_->enter(keys[i], row, freqs[i]);
    }
    if (touches_.active()) touches_.touch(keys[i], cuts_);
  }
  settle();
  return {};
}

Status EmbeddingTable::snapshot(size_t n_buckets, std::optional<uint32_t> since,
                                std::unique_ptr<Snapshot>* out) {
  if (n_buckets == 0 || n_buckets > INT32_MAX) {
    return Status::invalid("snapshot: " + std::to_string(n_buckets) + " buckets, expected 1 to 2^31-1");
  }
  Snapshot::Parts parts;
  {
    const std::unique_lock lock(*mutex_);
    if (index_.size() > INT32_MAX) {
      return Status::exhausted("snapshot: " + std::to_string(index_.size()) +
                               " keys, more than the int32 partition offsets of the format can count");
    }
    if (since && !touches_.knows(*since)) {
      return {Code::kFailedPrecondition,
              "what was touched since cut " + std::to_string(*since) +
                  " is not known: touches must be recorded before the cut, and none forgotten after it"};
    }
    parts.mutex = mutex_;
    parts.index = index_.view();
    parts.rows = rows_.cut();
    parts.counters = counters_.cut();
    if (tiers_ != nullptr) parts.on_disk = tiers_->store().view();
    parts.admission = admission_;
    parts.record_freq = record_freq_;
    parts.record_version = record_version_;
    if (since) {
      parts.touched = touches_.view();
      parts.since = *since;
    }
    parts.number = ++cuts_;
  }
  // Ordering the keys takes long and needs no lock.
  *out = std::make_unique<Snapshot>(std::move(parts), n_buckets);
  return {};
}

}  // namespace kvarn
