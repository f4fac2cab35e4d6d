#include "kvarn/engine/snapshot.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 16;
constexpr size_t kGrain = 4096;

size_t bucket_of(int64_t key, int64_t n_buckets) {
  const int64_t r = key % n_buckets;
  return static_cast<size_t>(r < 0 ? r + n_buckets : r);
}

}  // namespace

Snapshot::Snapshot(EntryLayout layout, unsigned slab_shift, std::vector<std::shared_ptr<Slab>> slabs,
                   std::span<const uint32_t> free_rows, size_t n_rows, size_t n_buckets,
                   std::shared_ptr<void> alive)
    : alive_(std::move(alive)),
      layout_(std::move(layout)),
      slab_shift_(slab_shift),
      slabs_(std::move(slabs)) {
  std::vector<bool> is_free(free_rows.empty() ? 0 : n_rows, false);
  for (const uint32_t row : free_rows) is_free[row] = true;
  const auto for_each_row = [&](auto&& fn) {
    for (size_t row = 0; row < n_rows; row++) {
      if (!is_free.empty() && is_free[row]) continue;
      const auto r = static_cast<uint32_t>(row);
      fn(r, slab_of(r).key(in_slab(r)));
    }
  };
  // A counting sort: stable, so entries of one bucket keep their row order.
  const auto buckets = static_cast<int64_t>(n_buckets);
  partition_offset_.assign(n_buckets + 1, 0);
  for_each_row([&](uint32_t, int64_t key) { partition_offset_[bucket_of(key, buckets) + 1]++; });
  for (size_t b = 0; b < n_buckets; b++) partition_offset_[b + 1] += partition_offset_[b];
  std::vector<int32_t> next(partition_offset_.begin(), partition_offset_.end() - 1);
  keys_.resize(n_rows - free_rows.size());
  rows_.resize(keys_.size());
  for_each_row([&](uint32_t row, int64_t key) {
    const auto at = static_cast<size_t>(next[bucket_of(key, buckets)]++);
    keys_[at] = key;
    rows_[at] = row;
  });
}

void Snapshot::values(size_t slot, size_t start, std::span<float> out) const {
  const SlotLayout s = layout_.slots()[slot];
  const uint32_t* rows = rows_.data() + start;
  parallel_for(out.size() / s.dim, kGrain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      if (i + kAhead < end) {
        const uint32_t ahead = rows[i + kAhead];
        KVARN_PREFETCH(slab_of(ahead).entry(in_slab(ahead)) + s.offset);
      }
      std::memcpy(out.data() + i * s.dim, slab_of(rows[i]).entry(in_slab(rows[i])) + s.offset,
                  s.dim * sizeof(float));
    }
  });
}

void Snapshot::freqs(size_t start, std::span<int64_t> out) const {
  for (size_t i = 0; i < out.size(); i++) {
    const uint32_t row = rows_[start + i];
    out[i] = layout_.has_freq() ? *slab_of(row).freq(in_slab(row)) : 0;
  }
}

void Snapshot::versions(size_t start, std::span<int64_t> out) const {
  for (size_t i = 0; i < out.size(); i++) {
    const uint32_t row = rows_[start + i];
    out[i] = layout_.has_version() ? *slab_of(row).version(in_slab(row)) : -1;
  }
}

}  // namespace kvarn
