// Which keys have had their time: by age, by the norm of their value, by how often they were counted, and by
// how many there are.
//
// Source: DeepRec globalstep_shrink_policy.h, l2weight_shrink_policy.h; the rest is kvarn's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace kvarn {

enum class EvictReason : uint8_t { kAge = 0, kNorm = 1, kFrequency = 2, kCeiling = 3 };

struct EvictionRule {
  int64_t steps_to_live = 0;         // age: step - version > steps_to_live; 0: no such condition
  float l2_weight_threshold = -1;    // norm: 0.5 * sum of squares < threshold; -1: no such condition
  int64_t min_frequency = 0;         // frequency: freq < min_frequency; 0: no such condition
  bool all = false;                  // every condition must hold, not just one
  size_t min_keys = 0;               // so many admitted keys stay whatever the conditions say
  std::optional<size_t> max_keys{};  // above so many the least (freq, version, key) leave

  bool by_age() const { return steps_to_live != 0; }
  bool by_norm() const { return l2_weight_threshold != -1.0f; }
  bool by_frequency() const { return min_frequency > 0; }

  // The first reason why a key leaves, in the order of EvictReason; none if it stays. `value` is null for a
  // key without an entry, whose frequency and norm say nothing.
  std::optional<EvictReason> reason(int64_t step, int64_t version, int64_t freq, const float* value,
                                    size_t dim) const;
};

struct EvictionResult {
  size_t examined = 0;
  size_t spared = 0;  // by the floor
  std::vector<int64_t> keys;
  std::vector<uint8_t> reasons;  // EvictReason of each key
};

}  // namespace kvarn
