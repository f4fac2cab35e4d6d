#include "kvarn/kernels/gather_rows.h"

#include <algorithm>
#include <cstring>

#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr size_t kAhead = 24;
constexpr size_t kMinBytesPerThread = 256 << 10;

template <size_t kRowBytes, typename Id>
void copy_rows(const std::byte* params, size_t any_row_bytes, std::span<const Id> indices, size_t begin,
               size_t end, std::byte* out) {
  const size_t row_bytes = kRowBytes ? kRowBytes : any_row_bytes;
  for (size_t i = begin; i < end; i++) {
    if (i + kAhead < end) KVARN_PREFETCH(params + static_cast<size_t>(indices[i + kAhead]) * row_bytes);
    std::memcpy(out + i * row_bytes, params + static_cast<size_t>(indices[i]) * row_bytes, row_bytes);
  }
}

}  // namespace

template <typename Id>
int64_t gather_rows(const std::byte* params, size_t n_rows, size_t row_bytes, std::span<const Id> indices,
                    std::byte* out) {
  const auto bad = std::find_if(indices.begin(), indices.end(),
                                [n_rows](Id id) { return id < 0 || static_cast<size_t>(id) >= n_rows; });
  if (bad != indices.end()) return bad - indices.begin();
  if (row_bytes == 0) return -1;
  const size_t grain = std::max<size_t>(1, kMinBytesPerThread / row_bytes);
  parallel_for(indices.size(), grain, [&](size_t begin, size_t end) {
    switch (row_bytes) {
      case 4:
        return copy_rows<4>(params, row_bytes, indices, begin, end, out);
      case 8:
        return copy_rows<8>(params, row_bytes, indices, begin, end, out);
      case 32:
        return copy_rows<32>(params, row_bytes, indices, begin, end, out);
      case 64:
        return copy_rows<64>(params, row_bytes, indices, begin, end, out);
      case 128:
        return copy_rows<128>(params, row_bytes, indices, begin, end, out);
      default:
        return copy_rows<0>(params, row_bytes, indices, begin, end, out);
    }
  });
  return -1;
}

template int64_t gather_rows(const std::byte*, size_t, size_t, std::span<const int32_t>, std::byte*);
template int64_t gather_rows(const std::byte*, size_t, size_t, std::span<const int64_t>, std::byte*);

}  // namespace kvarn
