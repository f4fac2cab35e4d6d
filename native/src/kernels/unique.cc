#include "kvarn/kernels/unique.h"

#include <algorithm>
#include <bit>

#include "kvarn/base/hash.h"
#include "kvarn/base/simd.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 16;

struct Slot {
  int64_t value;
  int32_t position;  // -1: empty
};

}  // namespace

template <typename T>
std::vector<T> unique(std::span<const T> x, std::span<int32_t> idx, std::span<int32_t> counts) {
  const size_t n = x.size();
  std::vector<T> values;
  values.reserve(n / 2);
  // A small table that grows with the distinct values stays in cache for skewed ids.
  size_t capacity = std::bit_ceil(std::clamp<size_t>(n / 4, 64, 1 << 16));
  std::vector<Slot> slots(capacity, Slot{0, -1});
  size_t mask = capacity - 1;
  unsigned shift = 64 - static_cast<unsigned>(std::countr_zero(capacity));
  const auto home = [&](int64_t v) { return static_cast<size_t>(hash_id(v) >> shift); };
  const auto find = [&](int64_t v) {
    size_t q = home(v);
    while (slots[q].position >= 0 && slots[q].value != v) q = (q + 1) & mask;
    return q;
  };
  for (size_t i = 0; i < n; i++) {
    if (i + kAhead < n) KVARN_PREFETCH(&slots[home(x[i + kAhead])]);
    const size_t q = find(x[i]);
    int32_t position = slots[q].position;
    if (position < 0) {
      position = static_cast<int32_t>(values.size());
      slots[q] = {x[i], position};
      values.push_back(x[i]);
      if (!counts.empty()) counts[static_cast<size_t>(position)] = 0;
      if (values.size() * 2 > capacity) {
        capacity *= 4;
        mask = capacity - 1;
        shift -= 2;
        slots.assign(capacity, Slot{0, -1});
        for (size_t k = 0; k < values.size(); k++)
          slots[find(values[k])] = {values[k], static_cast<int32_t>(k)};
      }
    }
    idx[i] = position;
    if (!counts.empty()) counts[static_cast<size_t>(position)]++;
  }
  return values;
}

template std::vector<int32_t> unique(std::span<const int32_t>, std::span<int32_t>, std::span<int32_t>);
template std::vector<int64_t> unique(std::span<const int64_t>, std::span<int32_t>, std::span<int32_t>);

}  // namespace kvarn
