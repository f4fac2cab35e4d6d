// Adagrad on entries of an embedding table.
#pragma once

#include <cstddef>

#include "kvarn/kernels/row_update.h"

namespace kvarn {

// a += g * g; v -= lr * g / sqrt(a), all in float32 and rounded after every operation, where v is the primary
// value (at the start of the entry) and a the slot `accum_offset` floats further.
// Source: DeepRec training_ali_ops.cc, KvSparseApplyAdagrad.
void apply_adagrad(const RowUpdate& update, size_t accum_offset, float lr);

}  // namespace kvarn
