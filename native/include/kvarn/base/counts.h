#pragma once

#include <cstdint>
#include <limits>

namespace kvarn {

// The sum of two counts, neither negative; the largest number there is where the sum has none.
inline int64_t add_counts(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace kvarn
