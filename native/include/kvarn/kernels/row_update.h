// What every sparse optimizer kernel works on: n entries of a table and one gradient row for each.
#pragma once

#include <cstddef>

#include "kvarn/base/simd.h"

namespace kvarn {

struct RowUpdate {
  size_t n;
  float* const* entries;      // n distinct entries
  const float* const* grads;  // n gradient rows
  size_t dim;                 // floats of a gradient row and of each slot touched
};

// fn(entry, gradient row) for every entry, which is fetched ahead over its first `touched` floats.
template <typename Fn>
[[gnu::always_inline]] inline void for_each_row(const RowUpdate& update, size_t touched, Fn fn) {
  constexpr size_t kAhead = 16;
  constexpr size_t kFloatsPerLine = 16;
  for (size_t i = 0; i < update.n; i++) {
    if (i + kAhead < update.n) {
      for (size_t f = 0; f < touched; f += kFloatsPerLine)
        KVARN_PREFETCH_WRITE(update.entries[i + kAhead] + f);
    }
    fn(update.entries[i], update.grads[i]);
  }
}

}  // namespace kvarn
