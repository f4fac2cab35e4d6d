// Sum of rows by segment id, as TensorFlow's UnsortedSegmentSum: rows with a negative id are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvarn {

// out[s, :] = sum of data[i, :] over ids[i] == s, added in order of i whatever the number of threads.
// data holds ids.size() rows of `width`, out n_segments rows. Returns the first i with ids[i] >= n_segments
// (out is then undefined), else -1.
template <typename T, typename Id>
int64_t unsorted_segment_sum(const T* data, std::span<const Id> ids, size_t width, size_t n_segments, T* out);

extern template int64_t unsorted_segment_sum(const float*, std::span<const int32_t>, size_t, size_t, float*);
extern template int64_t unsorted_segment_sum(const float*, std::span<const int64_t>, size_t, size_t, float*);
extern template int64_t unsorted_segment_sum(const double*, std::span<const int32_t>, size_t, size_t,
                                             double*);
extern template int64_t unsorted_segment_sum(const double*, std::span<const int64_t>, size_t, size_t,
                                             double*);

}  // namespace kvarn
