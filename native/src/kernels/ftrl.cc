#include <cmath>

#include "update_rows.h"

namespace kvarn {
namespace {

constexpr size_t kLanes = 8;

// The squares of `row` summed in eight lanes, element i in lane i % 8, and the lanes by halves.
template <size_t kDim>
[[gnu::always_inline]] inline float norm_of(const float* row, size_t length) {
  const size_t dim = kDim ? kDim : length;
  float lanes[kLanes] = {};
  size_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    KVARN_SEPARATE_ELEMENTS
    for (size_t lane = 0; lane < kLanes; lane++) lanes[lane] += row[d + lane] * row[d + lane];
  }
  for (size_t lane = 0; lane < dim % kLanes; lane++) lanes[lane] += row[d + lane] * row[d + lane];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[half + lane];
  }
  return std::sqrt(lanes[0]);
}

struct FtrlParams {
  float lr;
  float l1;
  float l2;
  float l2_shrinkage;  // of FtrlV2
  float lr_power;
};

// power_of(a): a to the power -lr_power.
template <bool kShrinks, typename PowerOf>
[[gnu::always_inline]] inline void update_with(const RowUpdate& update, const size_t* slot_offsets,
                                               FtrlParams p, PowerOf power_of) {
  with_layout<2>(update, slot_offsets, [&](auto known, const std::array<size_t, 2>& at) {
    const size_t dim = known() ? known() : update.dim;
    const auto shrunk = [=](const float* entry, const float* g, size_t d) {
      return kShrinks ? g[d] + 2.0f * p.l2_shrinkage * entry[d] : g[d];
    };
    for_each_row(update, touched_floats(at, dim), [=](float* __restrict entry, const float* __restrict g) {
      float* accum = entry + at[0];
      float* linear = entry + at[1];
      KVARN_SEPARATE_ELEMENTS
      for (size_t d = 0; d < dim; d++) {
        const float gradient = shrunk(entry, g, d);
        const float change = power_of(accum[d] + gradient * gradient) - power_of(accum[d]);
        linear[d] += gradient - change / p.lr * entry[d];
      }
      const float norm = norm_of<known()>(linear, dim);
      if (norm > p.l1) {
        const float above = p.l1 - norm;
        KVARN_SEPARATE_ELEMENTS
        for (size_t d = 0; d < dim; d++) {
          const float gradient = shrunk(entry, g, d);
          const float new_power = power_of(accum[d] + gradient * gradient);
          entry[d] = above / ((new_power / p.lr + 2.0f * p.l2) * norm) * linear[d];
        }
      } else {
        for (size_t d = 0; d < dim; d++) entry[d] = 0.0f;
      }
      KVARN_SEPARATE_ELEMENTS
      for (size_t d = 0; d < dim; d++) accum[d] += g[d] * g[d];
    });
  });
}

template <bool kShrinks>
[[gnu::always_inline]] inline void update_by(const RowUpdate& update, const size_t* slot_offsets,
                                             const FtrlParams& p) {
  if (p.lr_power == -0.5f) {
    update_with<kShrinks>(update, slot_offsets, p, [](float a) { return std::sqrt(a); });
  } else {
    // In float64: the float32 powers of different libraries differ in the last bit.
    const double exponent = -p.lr_power;
    update_with<kShrinks>(update, slot_offsets, p,
                          [=](float a) { return static_cast<float>(std::pow(double{a}, exponent)); });
  }
}

}  // namespace

KVARN_SIMD void update_by_ftrl(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  update_by<false>(update, slot_offsets, {params[0], params[1], params[2], 0.0f, params[3]});
}

KVARN_SIMD void update_by_ftrl_v2(const RowUpdate& update, const size_t* slot_offsets, const float* params) {
  update_by<true>(update, slot_offsets, {params[0], params[1], params[2], params[3], params[4]});
}

}  // namespace kvarn
