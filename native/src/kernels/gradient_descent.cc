#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_gradient_descent(const RowUpdate& update, const size_t* slot_offsets,
                                           const float* params) {
  const float lr = params[0];
  update_elements<0>(update, slot_offsets, [=](float& v, float g) { v -= lr * g; });
}

}  // namespace kvarn
