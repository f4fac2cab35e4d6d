// Rows of many tables, looked up and combined in one call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvarn/base/status.h"
#include "kvarn/engine/embedding_table.h"

namespace kvarn {

enum class Combiner { kSum, kMean, kSqrtn };

struct GroupLookup {
  EmbeddingTable* table;
  size_t slot;
  bool create;  // missing keys are created, as lookup_or_create does; else they are only read
  std::span<const int64_t> keys;
  std::span<const int64_t> indices;  // [n, rank]: where each key is in a matrix (of `rank` dimensions)
  size_t rank;
  size_t rows;  // of the matrix
  size_t columns;
  bool sequence;                   // nothing is combined, every place has an output of its own
  std::span<const float> weights;  // for each key what its row is multiplied with; empty: nothing
  std::span<float> out;            // [rows, dim of the slot], or [rows, columns, dim]

  std::span<int32_t> ends;           // answer: for each row how many keys there are up to its end
  std::span<int32_t> unique_idx;     // answer: for each key its place in unique_keys
  std::vector<int64_t> unique_keys;  // answer: distinct keys in order of first occurrence
};

// For every lookup: out[r] = the sum of the rows of the keys of row r, in their order, divided for kMean by
// their number and for kSqrtn by its root; zeros where there are none. In a sequence keys at one place
// are summed. Lookups run on the threads of the pool, each on one of them, so
// results do not depend on their number. All sizes and indices are checked before the first table is touched.
Status group_lookup(std::span<GroupLookup> lookups, Combiner combiner);

}  // namespace kvarn
