// What the optimizers of Adam's family share.
#pragma once

#include <cmath>

namespace kvarn {

// The parameters in order, and the learning rate with the correction for moments that start from zero.
struct AdamParams {
  explicit AdamParams(const float* params)
      : alpha(params[2] * std::sqrt(1.0f - params[1]) / (1.0f - params[0])),
        beta1(params[3]),
        beta2(params[4]),
        epsilon(params[5]) {}

  float alpha;
  float beta1;
  float beta2;
  float epsilon;
};

}  // namespace kvarn
