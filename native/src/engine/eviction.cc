#include "kvarn/engine/eviction.h"

namespace kvarn {

std::optional<EvictReason> EvictionRule::reason(int64_t step, int64_t version, int64_t freq,
                                                const float* value, size_t dim) const {
  std::optional<EvictReason> first;
  bool every = true;
  const auto condition = [&](bool asked, EvictReason why, auto holds) {
    if (!asked) return;
    if (!holds()) {
      every = false;
    } else if (!first) {
      first = why;
    }
  };
  // A difference of steps that int64 cannot hold is certainly more than any life.
  condition(by_age(), EvictReason::kAge, [&] {
    int64_t age = 0;
    if (version == -1) return false;
    return __builtin_sub_overflow(step, version, &age) ? step > version : age > steps_to_live;
  });
  // What was not admitted has neither values nor a frequency to be judged by.
  const bool admitted = value != nullptr;
  condition(admitted && by_norm(), EvictReason::kNorm, [&] {
    float sum = 0;
    for (size_t d = 0; d < dim; d++) sum += value[d] * value[d];
    return 0.5f * sum < l2_weight_threshold;
  });
  condition(admitted && by_frequency(), EvictReason::kFrequency, [&] { return freq < min_frequency; });
  return all && !every ? std::nullopt : first;
}

}  // namespace kvarn
