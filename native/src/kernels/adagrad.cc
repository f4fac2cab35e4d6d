#include "kvarn/kernels/adagrad.h"

#include <cmath>

namespace kvarn {
namespace {

template <size_t kDim>
[[gnu::always_inline]] inline void apply(const RowUpdate& update, size_t accum_offset, float lr) {
  const size_t dim = kDim ? kDim : update.dim;
  for_each_row(update, accum_offset + dim, [=](float* __restrict entry, const float* __restrict g) {
    for (size_t d = 0; d < dim; d++) {
      const float a = entry[accum_offset + d] + g[d] * g[d];
      entry[accum_offset + d] = a;
      entry[d] -= lr * g[d] / std::sqrt(a);
    }
  });
}

}  // namespace

KVARN_SIMD void apply_adagrad(const RowUpdate& update, size_t accum_offset, float lr) {
  // The usual layout, the accumulator right behind the value, with all lengths known to the compiler.
  if (update.dim == 16 && accum_offset == 16) return apply<16>(update, 16, lr);
  if (update.dim == 8 && accum_offset == 8) return apply<8>(update, 8, lr);
  if (update.dim == 32 && accum_offset == 32) return apply<32>(update, 32, lr);
  apply<0>(update, accum_offset, lr);
}

}  // namespace kvarn
