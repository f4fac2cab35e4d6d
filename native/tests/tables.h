// Tables and updates as the tests of the engine write them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "check.h"
#include "kvarn/engine/embedding_table.h"

namespace kvarn::testing {

struct SlotSpec {
  size_t dim;
  float start;
};

inline Status add_slot(EmbeddingTable& table, std::span<const float> matrix, size_t dim) {
  return table.add_slot(dim, std::make_unique<MatrixRows>(matrix, dim));
}

inline std::unique_ptr<EmbeddingTable> make_table(std::vector<SlotSpec> slots,
                                                  EmbeddingTable::Options options = {}) {
  auto table = std::make_unique<EmbeddingTable>(std::move(options));
  for (const SlotSpec& slot : slots) {
    CHECK(add_slot(*table, std::vector<float>(slot.dim, slot.start), slot.dim).ok());
  }
  return table;
}

inline EmbeddingTable::Options recording(bool freq, bool version) { return {freq, version, nullptr, 0}; }

inline Status apply(EmbeddingTable& table, const char* rule, std::span<const int64_t> keys,
                    std::span<const float> grads, std::initializer_list<size_t> slots,
                    std::initializer_list<float> params, std::optional<int64_t> step = {},
                    std::span<const int64_t> counts = {}) {
  return table.apply(
      {find_optimizer_rule(rule), {slots.begin(), slots.size()}, {params.begin(), params.size()}, step}, keys,
      grads, counts);
}

inline Status descend(EmbeddingTable& table, std::span<const int64_t> keys, std::span<const float> grads,
                      float lr, std::optional<int64_t> step = {}, std::span<const int64_t> counts = {}) {
  return apply(table, "GradientDescent", keys, grads, {}, {lr}, step, counts);
}

inline Status import_rows(EmbeddingTable& table, size_t slot, std::span<const int64_t> keys,
                          std::span<const float> rows, std::span<const int64_t> freqs = {},
                          std::span<const int64_t> versions = {}) {
  const EmbeddingTable::Column column{slot, rows.data()};
  return table.import_columns(keys, std::span(&column, 1), freqs, versions);
}

template <typename T>
bool are(std::span<const T> found, std::initializer_list<T> expected) {
  return std::ranges::equal(found, expected);
}

inline std::vector<int64_t> range(int64_t first, size_t n) {
  std::vector<int64_t> keys(n);
  std::iota(keys.begin(), keys.end(), first);
  return keys;
}

}  // namespace kvarn::testing
