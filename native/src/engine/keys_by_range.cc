#include "kvarn/engine/keys_by_range.h"

#include <algorithm>
#include <utility>

#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/row_store.h"

namespace kvarn {
namespace {

constexpr size_t kPartGrain = 1 << 16;  // keys sorted by one thread at least
constexpr size_t kItemBytes = sizeof(int64_t) + sizeof(uint32_t);

size_t range_of(int64_t key) {
  return KeyIndex::group_of(key) / (KeyIndex::kGroupsPerPiece / KeysByRange::kRangesPerPiece);
}

}  // namespace

KeysByRange::KeysByRange(std::span<const int64_t> keys) {
  // A counting sort, stable: how many keys of each range each part has, then where the next one goes.
  using Counts = std::array<uint32_t, kRanges>;
  const size_t n_parts = std::clamp<size_t>(keys.size() / kPartGrain, 1, static_cast<size_t>(num_threads()));
  const size_t part_size = (keys.size() + n_parts - 1) / n_parts;
  std::vector<Counts> next(n_parts, Counts{});
  const auto for_each_part = [&](auto fn) {
    parallel_for(n_parts, 1, [&](size_t first, size_t last) {
      for (size_t p = first; p < last; p++) fn(p, p * part_size, std::min(keys.size(), (p + 1) * part_size));
    });
  };
  for_each_part([&](size_t p, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) next[p][range_of(keys[i])]++;
  });
  // Ranges lie in blocks, as many as fit.
  size_t left = 0;
  for (size_t r = 0; r < kRanges; r++) {
    uint32_t n = 0;
    for (Counts& counts : next) n += std::exchange(counts[r], n);
    const size_t bytes = (n * kItemBytes + 7) / 8 * 8;
    if (bytes > left) {
      memory_.reserve(memory_.size() + 1);
      memory_.push_back(RowStore::take_spare(bytes));
      left = memory_.back().size();
    }
    std::byte* const at = memory_.empty() ? nullptr : memory_.back().data() + memory_.back().size() - left;
    left -= bytes;
    ranges_[r] = {reinterpret_cast<int64_t*>(at), reinterpret_cast<uint32_t*>(at + n * sizeof(int64_t)), n};
  }
  for_each_part([&](size_t p, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const size_t r = range_of(keys[i]);
      const uint32_t at = next[p][r]++;
      ranges_[r].keys[at] = keys[i];
      ranges_[r].numbers[at] = static_cast<uint32_t>(i);
    }
  });
}

KeysByRange::~KeysByRange() {
  for (Pages& pages : memory_) RowStore::give_spare(std::move(pages));
}

}  // namespace kvarn
