#include "kvarn/engine/group_lookup.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "kvarn/base/buffer.h"
#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/kernels/unique.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 8;

std::string numbered(size_t i, const std::string& what) {
  return "group_lookup: lookup " + std::to_string(i) + " " + what;
}

// Checks a lookup and counts the keys of its rows.
Status check(const GroupLookup& one, size_t i) {
  const size_t n = one.keys.size();
  if (n > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return Status::invalid(numbered(i, "has " + std::to_string(n) + " keys, expected fewer than 2^31"));
  }
  if (one.slot >= one.table->n_slots()) {
    return Status::invalid(numbered(
        i, "is in slot " + std::to_string(one.slot) + " of " + std::to_string(one.table->n_slots())));
  }
  if (one.rank < (one.sequence ? 2 : 1) || one.indices.size() / one.rank != n ||
      one.indices.size() % one.rank != 0 || one.unique_idx.size() != n ||
      (!one.weights.empty() && one.weights.size() != n)) {
    return Status::invalid(numbered(
        i, "has " + std::to_string(n) + " keys, " + std::to_string(one.indices.size()) + " indices of rank " +
               std::to_string(one.rank) + " and " + std::to_string(one.weights.size()) + " weights"));
  }
  size_t floats = 0;
  if (__builtin_mul_overflow(one.rows, one.sequence ? one.columns : 1, &floats) ||
      __builtin_mul_overflow(floats, one.table->slot_dim(one.slot), &floats) || one.out.size() != floats ||
      one.ends.size() != one.rows) {
    return Status::invalid(numbered(i, "has room for " + std::to_string(one.out.size()) + " floats and " +
                                           std::to_string(one.ends.size()) + " ends for " +
                                           std::to_string(one.rows) + " rows"));
  }
  std::fill(one.ends.begin(), one.ends.end(), 0);
  for (size_t k = 0; k < n; k++) {
    // A negative index lies past every end.
    const auto row = static_cast<size_t>(one.indices[k * one.rank]);
    if (row >= one.rows ||
        (one.sequence && static_cast<size_t>(one.indices[k * one.rank + 1]) >= one.columns)) {
      return Status::invalid(
          numbered(i, "has indices outside of its shape, those of key " + std::to_string(k)));
    }
    one.ends[row]++;
  }
  for (size_t r = 1; r < one.rows; r++) one.ends[r] += one.ends[r - 1];
  return {};
}

// Adds each key's row, times its weight, to where it belongs. A width known at compile time makes each row a
// few instructions; 0 stands for any.
template <size_t kWidth, bool kWeighted>
void add_rows(const GroupLookup& one, const float* rows, size_t any_width) {
  const size_t width = kWidth ? kWidth : any_width;
  const size_t n = one.keys.size();
  for (size_t i = 0; i < n; i++) {
    if (i + kAhead < n) {
      KVARN_PREFETCH(rows + static_cast<size_t>(one.unique_idx[i + kAhead]) * width);
    }
    const int64_t* const at = one.indices.data() + i * one.rank;
    auto place = static_cast<size_t>(at[0]);
    if (one.sequence) place = place * one.columns + static_cast<size_t>(at[1]);
    const float* const from = rows + static_cast<size_t>(one.unique_idx[i]) * width;
    float* const to = one.out.data() + place * width;
    if constexpr (kWeighted) {
      const float weight = one.weights[i];
      for (size_t k = 0; k < width; k++) to[k] += from[k] * weight;
    } else {
      for (size_t k = 0; k < width; k++) to[k] += from[k];
    }
  }
}

template <bool kWeighted>
void add_rows_of(const GroupLookup& one, const float* rows, size_t width) {
  switch (width) {
    case 4:
      return add_rows<4, kWeighted>(one, rows, width);
    case 8:
      return add_rows<8, kWeighted>(one, rows, width);
    case 16:
      return add_rows<16, kWeighted>(one, rows, width);
    case 32:
      return add_rows<32, kWeighted>(one, rows, width);
    case 64:
      return add_rows<64, kWeighted>(one, rows, width);
    default:
      return add_rows<0, kWeighted>(one, rows, width);
  }
}

void divide(const GroupLookup& one, Combiner combiner, size_t width) {
  for (size_t r = 0; r < one.rows; r++) {
    const int32_t found = one.ends[r] - (r == 0 ? 0 : one.ends[r - 1]);
    if (found < 2) continue;  // a sum of one row is what it is
    const auto number = static_cast<float>(found);
    const float by = combiner == Combiner::kMean ? number : std::sqrt(number);
    for (size_t k = 0; k < width; k++) one.out[r * width + k] /= by;
  }
}

Status run(GroupLookup& one, Combiner combiner) try {
  static thread_local Buffer<float> buffer;
  const size_t width = one.table->slot_dim(one.slot);
  one.unique_keys = unique<int64_t>(one.keys, one.unique_idx, {});
  const std::span rows(buffer.at_least(one.unique_keys.size() * width), one.unique_keys.size() * width);
  const Status found = one.create ? one.table->lookup_or_create(one.unique_keys, one.slot, rows)
                                  : one.table->lookup(one.unique_keys, one.slot, rows);
  if (!found.ok()) return found;
  one.table->spread_last_lookup(one.unique_keys, one.unique_idx, one.keys);
  std::fill(one.out.begin(), one.out.end(), 0.0f);
  if (one.weights.empty()) {
    add_rows_of<false>(one, rows.data(), width);
  } else {
    add_rows_of<true>(one, rows.data(), width);
  }
  if (combiner != Combiner::kSum && !one.sequence) divide(one, combiner, width);
  return {};
} catch (const std::bad_alloc&) {
  return Status::exhausted("group_lookup: out of memory");
}

}  // namespace

Status group_lookup(std::span<GroupLookup> lookups, Combiner combiner) {
  for (size_t i = 0; i < lookups.size(); i++) {
    if (Status s = check(lookups[i], i); !s.ok()) return s;
  }
  std::vector<Status> statuses(lookups.size());
  parallel_for(lookups.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) statuses[i] = run(lookups[i], combiner);
  });
  for (Status& s : statuses) {
    if (!s.ok()) return std::move(s);
  }
  return {};
}

}  // namespace kvarn
