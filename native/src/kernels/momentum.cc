#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_momentum(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  const float lr = params[0];
  const float momentum = params[1];
  update_elements<1>(update, slot_offsets, [=](float& v, float g, float& a) {
    a = a * momentum + g;
    v -= a * lr;
  });
}

KVARN_SIMD void update_by_nesterov_momentum(const RowUpdate& update, const size_t* slot_offsets,
                                            const float* params) {
  const float lr = params[0];
  const float momentum = params[1];
  update_elements<1>(update, slot_offsets, [=](float& v, float g, float& a) {
    a = a * momentum + g;
    v -= g * lr + a * momentum * lr;
  });
}

}  // namespace kvarn
