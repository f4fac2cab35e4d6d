#include "kvarn/kernels/gradient_descent.h"

namespace kvarn {

KVARN_SIMD void apply_gradient_descent(const RowUpdate& update, float lr) {
  const size_t dim = update.dim;
  for_each_row(update, dim, [=](float* __restrict entry, const float* __restrict g) {
    for (size_t d = 0; d < dim; d++) entry[d] -= lr * g[d];
  });
}

}  // namespace kvarn
