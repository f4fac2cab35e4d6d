#include "kvarn/kernels/segment_sum.h"

#include <algorithm>
#include <cstring>

#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 8;
constexpr size_t kMinBytesPerThread = 512 << 10;

// Rows of a width known at compile time add in a few instructions; 0 stands for any width.
template <size_t kWidth, typename T, typename Id>
void add_rows(const T* data, std::span<const Id> ids, size_t any_width, size_t begin, size_t end, T* out) {
  const size_t width = kWidth ? kWidth : any_width;
  for (size_t i = 0; i < ids.size(); i++) {
    if (i + kAhead < ids.size()) {
      const auto ahead = static_cast<size_t>(ids[i + kAhead]);
      if (ahead >= begin && ahead < end) KVARN_PREFETCH_WRITE(out + ahead * width);
    }
    const auto s = static_cast<size_t>(ids[i]);  // a negative id lies past every end
    if (s < begin || s >= end) continue;
    T* o = out + s * width;
    const T* d = data + i * width;
    for (size_t k = 0; k < width; k++) o[k] += d[k];
  }
}

}  // namespace

template <typename T, typename Id>
int64_t unsorted_segment_sum(const T* data, std::span<const Id> ids, size_t width, size_t n_segments,
                             T* out) {
  const auto bad = std::find_if(ids.begin(), ids.end(), [n_segments](Id id) {
    return id >= 0 && static_cast<size_t>(id) >= n_segments;
  });
  if (bad != ids.end()) return bad - ids.begin();
  if (width == 0) return -1;
  // Threads own ranges of segments, not of rows, so that every sum is made in order by one of them.
  const size_t row_bytes = width * sizeof(T);
  const size_t useful = std::max<size_t>(1, ids.size() * row_bytes / kMinBytesPerThread);
  const size_t grain = std::max<size_t>(1, n_segments / useful);
  parallel_for(n_segments, grain, [&](size_t begin, size_t end) {
    std::memset(out + begin * width, 0, (end - begin) * row_bytes);
    switch (width) {
      case 1:
        return add_rows<1>(data, ids, width, begin, end, out);
      case 8:
        return add_rows<8>(data, ids, width, begin, end, out);
      case 16:
        return add_rows<16>(data, ids, width, begin, end, out);
      case 32:
        return add_rows<32>(data, ids, width, begin, end, out);
      case 64:
        return add_rows<64>(data, ids, width, begin, end, out);
      default:
        return add_rows<0>(data, ids, width, begin, end, out);
    }
  });
  return -1;
}

template int64_t unsorted_segment_sum(const float*, std::span<const int32_t>, size_t, size_t, float*);
template int64_t unsorted_segment_sum(const float*, std::span<const int64_t>, size_t, size_t, float*);
template int64_t unsorted_segment_sum(const double*, std::span<const int32_t>, size_t, size_t, double*);
template int64_t unsorted_segment_sum(const double*, std::span<const int64_t>, size_t, size_t, double*);

}  // namespace kvarn
