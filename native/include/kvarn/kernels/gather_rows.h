// Rows of a matrix by index: the kernel of Gather over axis 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvarn {

// out[i, :] = params[indices[i], :] for rows of row_bytes bytes. Returns the smallest i whose index is
// outside [0, n_rows) (out is then undefined), else -1. Every index is checked before any row is read.
template <typename Id>
int64_t gather_rows(const std::byte* params, size_t n_rows, size_t row_bytes, std::span<const Id> indices,
                    std::byte* out);

extern template int64_t gather_rows(const std::byte*, size_t, size_t, std::span<const int32_t>, std::byte*);
extern template int64_t gather_rows(const std::byte*, size_t, size_t, std::span<const int64_t>, std::byte*);

}  // namespace kvarn
