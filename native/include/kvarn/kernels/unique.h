// Distinct values in order of first occurrence, as TensorFlow's Unique and UniqueWithCounts give them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvarn {

// idx[i] becomes the position of x[i] in the returned values; counts (may be empty, else as long as x) the
// number of occurrences of each. x must have fewer than 2^31 elements.
template <typename T>
std::vector<T> unique(std::span<const T> x, std::span<int32_t> idx, std::span<int32_t> counts);

extern template std::vector<int32_t> unique(std::span<const int32_t>, std::span<int32_t>, std::span<int32_t>);
extern template std::vector<int64_t> unique(std::span<const int64_t>, std::span<int32_t>, std::span<int32_t>);

}  // namespace kvarn
