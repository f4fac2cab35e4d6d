// Gradient descent on entries of an embedding table.
#pragma once

#include "kvarn/kernels/row_update.h"

namespace kvarn {

// v -= lr * g in float32, v the primary value (at the start of the entry).
// Source: DeepRec training_ali_ops.cc, KvResourceSparseApplyGradientDescent.
void apply_gradient_descent(const RowUpdate& update, float lr);

}  // namespace kvarn
