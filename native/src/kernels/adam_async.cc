#include "adam.h"
#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_adam_async(const RowUpdate& update, const size_t* slot_offsets,
                                     const float* params) {
  const AdamParams p(params);
  const float rest1 = 1.0f - p.beta1;
  const float rest2 = 1.0f - p.beta2;
  update_elements<2>(update, slot_offsets, [=](float& v, float g, float& m, float& s) {
    m = m * p.beta1 + g * rest1;
    s = s * p.beta2 + g * g * rest2;
    v -= m * p.alpha / (std::sqrt(s) + p.epsilon);
  });
}

KVARN_SIMD void update_by_adam_async_sparse_rmsprop(const RowUpdate& update, const size_t* slot_offsets,
                                                    const float* params) {
  const float lr = params[0];
  const float beta1 = params[1];
  const float beta2 = params[2];
  const float epsilon = params[3];
  const float rest2 = 1.0f - beta2;
  update_elements<2>(update, slot_offsets, [=](float& v, float g, float& m, float& s) {
    s = s * beta2 + g * g * rest2;
    m = m * beta1 + lr * g / std::sqrt(s + epsilon);
    v -= m;
  });
}

}  // namespace kvarn
