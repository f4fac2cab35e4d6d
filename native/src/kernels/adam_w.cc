#include "adam.h"
#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_adam_w(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  const AdamParams p(params);
  const float weight_decay = params[6];
  const float rest1 = 1.0f - p.beta1;
  const float rest2 = 1.0f - p.beta2;
  update_elements<2>(update, slot_offsets, [=](float& v, float g, float& m, float& s) {
    m += (g - m) * rest1;
    s += (g * g - s) * rest2;
    v -= p.alpha * (m / (std::sqrt(s) + p.epsilon) + weight_decay * v);
  });
}

}  // namespace kvarn
