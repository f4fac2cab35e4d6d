#include <cmath>

#include "update_rows.h"

namespace kvarn {

KVARN_SIMD void update_by_rms_prop(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  const float lr = params[0];
  const float rest = 1.0f - params[1];
  const float momentum = params[2];
  const float epsilon = params[3];
  update_elements<2>(update, slot_offsets, [=](float& v, float g, float& ms, float& mom) {
    ms += (g * g - ms) * rest;
    mom = mom * momentum + g * lr / std::sqrt(ms + epsilon);
    v -= mom;
  });
}

KVARN_SIMD void update_by_centered_rms_prop(const RowUpdate& update, const size_t* slot_offsets,
                                            const float* params) {
  const float lr = params[0];
  const float rest = 1.0f - params[1];
  const float momentum = params[2];
  const float epsilon = params[3];
  update_elements<3>(update, slot_offsets, [=](float& v, float g, float& mg, float& ms, float& mom) {
    ms += (g * g - ms) * rest;
    mg += (g - mg) * rest;
    mom = mom * momentum + g * lr / std::sqrt(ms - mg * mg + epsilon);
    v -= mom;
  });
}

}  // namespace kvarn
