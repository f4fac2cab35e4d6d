#include <cmath>

#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_adagrad(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  const float lr = params[0];
  update_elements<1>(update, slot_offsets, [=](float& v, float g, float& a) {
    a += g * g;
    v -= lr * g / std::sqrt(a);
  });
}

}  // namespace kvarn
