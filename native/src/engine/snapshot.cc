#include "kvarn/engine/snapshot.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <shared_mutex>
#include <tuple>
#include <utility>

#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 16;
constexpr size_t kGrain = 4096;       // rows read under one lock
constexpr size_t kColdRead = 16'384;  // rows whose records are read together: neighbours on disk come at once
constexpr size_t kSegmentGrain = 16;

constexpr int64_t kSavedPartitionNum = 1000;
constexpr size_t kOrderGrain = 1 << 16;  // keys ordered by one thread at least

// The floor modulus, quick for the number of buckets that checkpoints have.
class BucketOf {
 public:
  explicit BucketOf(size_t n_buckets) : n_(static_cast<int64_t>(n_buckets)) {}
  size_t operator()(int64_t key) const {
    const int64_t r = n_ == kSavedPartitionNum ? key % kSavedPartitionNum : key % n_;
    return static_cast<size_t>(r < 0 ? r + n_ : r);
  }

 private:
  int64_t n_;
};

// Orders the keys at places 0 .. key_of.size()-1 (of which `there` tells those that count, if it is not
// empty) by bucket: a counting sort, stable, by as many threads as are worth it.
void order_by_bucket(const Array<int64_t>& key_of, std::span<const uint64_t> there, size_t n,
                     size_t n_buckets, Snapshot::Keys* out) {
  const BucketOf bucket_of(n_buckets);
  const size_t n_places = key_of.size();
  const size_t n_parts = std::clamp<size_t>(n_places / std::max(kOrderGrain, 8 * n_buckets), 1,
                                            static_cast<size_t>(num_threads()));
  const size_t part_size = (n_places + n_parts - 1) / n_parts;
  const auto for_each_in = [&](size_t part, auto fn) {
    const size_t end = std::min(n_places, (part + 1) * part_size);
    for (size_t at = part * part_size; at < end; at++) {
      if (there.empty() || (there[at / 64] >> (at % 64) & 1) != 0) fn(at);
    }
  };
  // How many keys of each bucket each part has; then where the part's next key of the bucket goes.
  std::vector<std::vector<int32_t>> next(n_parts, std::vector<int32_t>(n_buckets, 0));
  parallel_for(n_parts, 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      for_each_in(p, [&](size_t at) { next[p][bucket_of(key_of[at])]++; });
    }
  });
  out->partition_offset.assign(n_buckets + 1, 0);
  int32_t sum = 0;
  for (size_t b = 0; b < n_buckets; b++) {
    out->partition_offset[b] = sum;
    for (auto& counts : next) sum += std::exchange(counts[b], sum);
  }
  out->partition_offset[n_buckets] = sum;
  out->keys = Array<int64_t>(n);
  out->rows = Array<uint32_t>(n);
  parallel_for(n_parts, 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      for_each_in(p, [&](size_t at) {
        const auto to = static_cast<size_t>(next[p][bucket_of(key_of[at])]++);
        out->keys[to] = key_of[at];
        out->rows[to] = static_cast<uint32_t>(at);
      });
    }
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
  std::vector<std::pair<uint32_t, int64_t>> on_disk;
  if (parts_.on_disk != nullptr) {
    parts_.index->for_each([&](int64_t key, uint32_t row) {
      if (is_cold(row)) on_disk.emplace_back(row, key);
    });
    std::ranges::sort(on_disk);
  }
  for (const bool counters : {false, true}) {
    const size_t n_rows = counters ? parts_.counters->n_rows : parts_.rows->n_rows;
    const uint32_t base = counters ? kCounterBase : 0;
    const std::span<const std::pair<uint32_t, int64_t>> behind(on_disk.data(), counters ? 0 : on_disk.size());
    const Array<int64_t> key_of(n_rows + behind.size());
    std::atomic<size_t> n = 0;
    const auto is_kind = [counters](uint32_t row) { return counters ? is_counter(row) : is_hot(row); };
    parallel_for(n_rows == 0 ? 0 : parts_.index->segments(), kSegmentGrain, [&](size_t begin, size_t end) {
      size_t seen = 0;
      parts_.index->for_each_in(begin, end, [&](int64_t key, uint32_t row) {
        if (!is_kind(row)) return;
        key_of[row - base] = key;
        seen++;
      });
      n.fetch_add(seen, std::memory_order_relaxed);
    });
    std::vector<uint64_t> there;
    if (n != n_rows) {
      // Some rows are free.
      there.assign((key_of.size() + 63) / 64, 0);
      const auto mark = [&](size_t at) { there[at / 64] |= uint64_t{1} << (at % 64); };
      parts_.index->for_each([&](int64_t, uint32_t row) {
        if (is_kind(row)) mark(row - base);
      });
      for (size_t at = n_rows; at < key_of.size(); at++) mark(at);
    }
    for (size_t i = 0; i < behind.size(); i++) key_of[n_rows + i] = behind[i].second;
    Keys* const out = counters ? &filtered_ : &admitted_;
    order_by_bucket(key_of, there, n + behind.size(), n_buckets, out);
    if (behind.empty()) continue;
    for (uint32_t& row : out->rows) {
      if (row >= n_rows) row = behind[row - n_rows].first;
    }
  }
  removed_.partition_offset.assign(n_buckets + 1, 0);
}

void Snapshot::order_touched(size_t n_buckets) {
  const BucketOf bucket_of(n_buckets);
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
      return std::pair(bucket_of(a.first), a.first) < std::pair(bucket_of(b.first), b.first);
    });
    Keys& out = *kinds[k];
    out.partition_offset.assign(n_buckets + 1, 0);
    out.keys = Array<int64_t>(found[k].size());
    out.rows = Array<uint32_t>(found[k].size());
    for (size_t i = 0; i < found[k].size(); i++) {
      std::tie(out.keys[i], out.rows[i]) = found[k][i];
      out.partition_offset[bucket_of(out.keys[i]) + 1]++;
    }
    std::partial_sum(out.partition_offset.begin(), out.partition_offset.end(), out.partition_offset.begin());
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
