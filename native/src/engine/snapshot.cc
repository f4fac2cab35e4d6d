#include "kvarn/engine/snapshot.h"

#include <algorithm>
#include <cstring>
#include <shared_mutex>
#include <utility>

#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 16;
constexpr size_t kGrain = 4096;       // rows read under one lock
constexpr size_t kColdRead = 16'384;  // rows whose records are read together: neighbours on disk come at once

size_t bucket_of(int64_t key, int64_t n_buckets) {
  const int64_t r = key % n_buckets;
  return static_cast<size_t>(r < 0 ? r + n_buckets : r);
}

// Orders (key, row) pairs that for_each(fn) calls in some order, twice the same, by bucket: a counting sort.
template <typename ForEach>
void order_by_bucket(size_t n, size_t n_buckets, ForEach for_each, Snapshot::Keys* out) {
  const auto buckets = static_cast<int64_t>(n_buckets);
  out->partition_offset.assign(n_buckets + 1, 0);
  for_each([&](int64_t key, uint32_t) { out->partition_offset[bucket_of(key, buckets) + 1]++; });
  for (size_t b = 0; b < n_buckets; b++) out->partition_offset[b + 1] += out->partition_offset[b];
  std::vector<int32_t> next(out->partition_offset.begin(), out->partition_offset.end() - 1);
  out->keys.resize(n);
  out->rows.resize(n);
  for_each([&](int64_t key, uint32_t row) {
    const auto at = static_cast<size_t>(next[bucket_of(key, buckets)]++);
    out->keys[at] = key;
    out->rows[at] = row;
  });
}

}  // namespace

Snapshot::Snapshot(Parts parts, size_t n_buckets) : parts_(std::move(parts)) {
  if (parts_.touched != nullptr) {
    order_touched(n_buckets);
  } else {
    order_all(n_buckets);
  }
  parts_.index.reset();  // the rows are known: segments that change need not be copied any more
  parts_.touched.reset();
  if (!parts_.record_freq && parts_.admission != nullptr) {
    // An admission goes on counting.
    counted_.resize(admitted_.keys.size());
    locked(counted_.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; i++) {
        counted_[i] = parts_.admission->frequency_of_admitted(admitted_.keys[i]);
      }
    });
  }
}

void Snapshot::order_all(size_t n_buckets) {
  // By row number, which is roughly by age: the same table gives the same order whatever its index looks
  // like, and rows that came from a file lie in the file's order.
  struct Found {
    std::vector<int64_t> keys;
    std::vector<bool> there;
    size_t n = 0;
  };
  Found found[2];
  found[0].keys.resize(parts_.rows->n_rows);
  found[0].there.resize(parts_.rows->n_rows);
  found[1].keys.resize(parts_.counters->n_rows);
  found[1].there.resize(parts_.counters->n_rows);
  std::vector<std::pair<uint32_t, int64_t>> cold;
  parts_.index->for_each([&](int64_t key, uint32_t row) {
    if (is_cold(row)) {
      cold.emplace_back(row, key);
      return;
    }
    Found& kind = found[is_counter(row)];
    const size_t at = is_counter(row) ? row - kCounterBase : row;
    kind.keys[at] = key;
    kind.there[at] = true;
    kind.n++;
  });
  std::ranges::sort(cold);
  for (const bool counters : {false, true}) {
    const Found& kind = found[counters];
    const auto in_order = [&](auto fn) {
      for (size_t row = 0; row < kind.keys.size(); row++) {
        if (kind.there[row]) fn(kind.keys[row], static_cast<uint32_t>(row));
      }
      for (const auto& [row, key] : cold) fn(key, row);
    };
    if (!counters && !cold.empty()) {
      order_by_bucket(kind.n + cold.size(), n_buckets, in_order, &admitted_);
      continue;
    }
    const auto for_each = [&](auto fn) {
      if (kind.n == kind.keys.size()) {
        for (size_t row = 0; row < kind.keys.size(); row++) fn(kind.keys[row], static_cast<uint32_t>(row));
        return;
      }
      for (size_t row = 0; row < kind.keys.size(); row++) {
        if (kind.there[row]) fn(kind.keys[row], static_cast<uint32_t>(row));
      }
    };
    order_by_bucket(kind.n, n_buckets, for_each, counters ? &filtered_ : &admitted_);
  }
  removed_.partition_offset.assign(n_buckets + 1, 0);
}

void Snapshot::order_touched(size_t n_buckets) {
  const auto buckets = static_cast<int64_t>(n_buckets);
  std::vector<std::pair<int64_t, uint32_t>> found[3];  // admitted, filtered, removed
  parts_.touched->for_each([&](int64_t key, uint32_t cut) {
    if (cut < parts_.since) return;
    const uint32_t row = parts_.index->find(key);
    if (row == kNoRow) {
      found[2].emplace_back(key, row);
    } else if (is_counter(row)) {
      found[1].emplace_back(key, row - kCounterBase);
    } else {
      found[0].emplace_back(key, row);
    }
  });
  Keys* const kinds[] = {&admitted_, &filtered_, &removed_};
  for (size_t k = 0; k < 3; k++) {
    std::ranges::sort(found[k], [&](const auto& a, const auto& b) {
      return std::pair(bucket_of(a.first, buckets), a.first) <
             std::pair(bucket_of(b.first, buckets), b.first);
    });
    const auto for_each = [&](auto fn) {
      for (const auto& [key, row] : found[k]) fn(key, row);
    };
    order_by_bucket(found[k].size(), n_buckets, for_each, kinds[k]);
  }
}

template <typename Fn>
void Snapshot::locked(size_t n, Fn fn) const {
  parallel_for(n, kGrain, [&](size_t begin, size_t end) {
    for (size_t at = begin; at < end; at += kGrain) {
      const std::shared_lock lock(*parts_.mutex);
      fn(at, std::min(end, at + kGrain));
    }
  });
}

template <typename Fn>
Status Snapshot::on_disk(size_t start, size_t n, Fn fn) const {
  if (parts_.on_disk == nullptr) return {};
  const std::span<const int64_t> keys(admitted_.keys.data() + start, n);
  const std::span<const uint32_t> rows(admitted_.rows.data() + start, n);
  ColdEntries entries(layout());
  for (size_t begin = 0; begin < n; begin += kColdRead) {
    const size_t some = std::min(kColdRead, n - begin);
    const auto piece = rows.subspan(begin, some);
    if (Status s = entries.read(*parts_.on_disk, keys.subspan(begin, some), piece); !s.ok()) return s;
    for (size_t i = 0; i < some; i++) {
      if (is_cold(piece[i])) fn(begin + i, entries, i);
    }
  }
  return {};
}

Status Snapshot::values(size_t slot, size_t start, std::span<float> out) const {
  const SlotLayout s = layout().slots()[slot];
  const uint32_t* rows = admitted_.rows.data() + start;
  const RowCut& cut = *parts_.rows;
  locked(out.size() / s.dim, [&](size_t begin, size_t end) {
    const bool changed = !cut.undo.empty();
    for (size_t i = begin; i < end; i++) {
      if (i + kAhead < end && is_hot(rows[i + kAhead])) {
        KVARN_PREFETCH(cut.slabs.entry(rows[i + kAhead]) + s.offset);
      }
      if (!is_hot(rows[i])) continue;
      const float* entry = changed ? cut.entry(rows[i]) : cut.slabs.entry(rows[i]);
      std::memcpy(out.data() + i * s.dim, entry + s.offset, s.dim * sizeof(float));
    }
  });
  return on_disk(start, out.size() / s.dim, [&](size_t i, const ColdEntries& entries, size_t e) {
    std::memcpy(out.data() + i * s.dim, entries.entry(e) + s.offset, s.dim * sizeof(float));
  });
}

Status Snapshot::freqs(size_t start, std::span<int64_t> out) const {
  if (!parts_.record_freq) {
    if (counted_.empty()) {
      std::ranges::fill(out, 0);
    } else {
      std::copy_n(counted_.begin() + static_cast<ptrdiff_t>(start), out.size(), out.begin());
    }
    return {};
  }
  locked(out.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const uint32_t row = admitted_.rows[start + i];
      if (is_hot(row)) out[i] = parts_.rows->meta(row).freq;
    }
  });
  return on_disk(start, out.size(),
                 [&](size_t i, const ColdEntries& entries, size_t e) { out[i] = entries.meta(e).freq; });
}

Status Snapshot::versions(size_t start, std::span<int64_t> out) const {
  if (!parts_.record_version) {
    std::ranges::fill(out, -1);
    return {};
  }
  locked(out.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const uint32_t row = admitted_.rows[start + i];
      if (is_hot(row)) out[i] = parts_.rows->meta(row).version;
    }
  });
  return on_disk(start, out.size(),
                 [&](size_t i, const ColdEntries& entries, size_t e) { out[i] = entries.meta(e).version; });
}

void Snapshot::filtered_metas(size_t start, std::span<int64_t> freqs, std::span<int64_t> versions) const {
  locked(freqs.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const RowMeta meta = parts_.counters->meta(filtered_.rows[start + i]);
      freqs[i] = meta.freq;
      versions[i] = parts_.record_version ? meta.version : -1;
    }
  });
}

}  // namespace kvarn
