#include <cmath>

#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_adagrad_decay(const RowUpdate& update, const size_t* slot_offsets,
                                        const float* params) {
  const float lr = params[0];
  const float decay_rate = params[1];
  const float baseline = params[2];
  const float period = params[3];
  // Only the first element of the power counts, so it may have any length: its place is no part of the
  // layout.
  const size_t power = slot_offsets[1];
  with_layout<1>(update, slot_offsets, [&](auto known, const std::array<size_t, 1>& at) {
    const size_t dim = known() ? known() : update.dim;
    const size_t touched = std::max(touched_floats(at, dim), power + 1);
    for_each_row(update, touched, [=](float* __restrict entry, const float* __restrict g) {
      if (period > entry[power]) {
        KVARN_SEPARATE_ELEMENTS
        for (size_t d = 0; d < dim; d++) {
          const float decayed = entry[at[0] + d] * decay_rate;
          entry[at[0] + d] = decayed < baseline ? baseline : decayed;
        }
        entry[power] += 1.0f;
      }
      KVARN_SEPARATE_ELEMENTS
      for (size_t d = 0; d < dim; d++) {
        const float a = entry[at[0] + d] + g[d] * g[d];
        entry[at[0] + d] = a;
        entry[d] -= lr * g[d] / std::sqrt(a);
      }
    });
  });
}

}  // namespace kvarn
