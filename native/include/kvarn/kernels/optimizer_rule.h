// The optimizers that entries of an embedding table can be trained by, found by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kvarn/kernels/row_update.h"

namespace kvarn {

// What an optimizer does to an entry is specified in src/kvarn/engine/optimizer_rules.py, under the same
// names and with slots and parameters in the same order; the kernels give the same bits.
struct OptimizerRule {
  const char* name;
  size_t n_slots;
  uint32_t dim_one_mask;  // bit i: slot i has one float, not as many as the primary
  size_t n_params;
  // The value is at the start of an entry, slot i slot_offsets[i] floats further. Every floating point
  // operation is rounded to float32 on its own.
  void (*apply)(const RowUpdate& update, const size_t* slot_offsets, const float* params);

  size_t slot_dim(size_t slot, size_t primary_dim) const {
    return dim_one_mask >> slot & 1 ? 1 : primary_dim;
  }
};

// nullptr if there is no rule of that name.
const OptimizerRule* find_optimizer_rule(std::string_view name);

}  // namespace kvarn
