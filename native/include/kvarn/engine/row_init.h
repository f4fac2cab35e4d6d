// What a slot of a new entry starts from: a row of a matrix, chosen by the key, or numbers drawn from the
// key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace kvarn {

class RowInit {
 public:
  virtual ~RowInit() = default;
  // Writes the row of `key`. Thread-safe.
  virtual void fill(int64_t key, std::span<float> row) const = 0;
};

// Row |key| mod n of a matrix [n, dim], where |INT64_MIN| is 2^63.
class MatrixRows final : public RowInit {
 public:
  // matrix.size() is a multiple of dim, at least dim.
  MatrixRows(std::span<const float> matrix, size_t dim)
      : matrix_(matrix.begin(), matrix.end()), n_rows_(matrix.size() / dim) {}

  void fill(int64_t key, std::span<float> row) const override {
    std::memcpy(row.data(), matrix_.data() + row_of(key) * row.size(), row.size_bytes());
  }

 private:
  size_t row_of(int64_t key) const {
    if (n_rows_ == 1) return 0;
    const auto k = static_cast<uint64_t>(key);
    return static_cast<size_t>((key < 0 ? ~k + 1 : k) % n_rows_);
  }

  std::vector<float> matrix_;
  size_t n_rows_;
};

// Numbers drawn from (seed, key, column) alone. Specified, bit for bit, by SeededRows in
// src/kvarn/engine/policies.py.
class SeededRows final : public RowInit {
 public:
  enum class Distribution { kUniform, kNormal, kTruncatedNormal };

  // Over [a, b), or with mean a and standard deviation b.
  SeededRows(int64_t seed, Distribution distribution, double a, double b);
  void fill(int64_t key, std::span<float> row) const override;

 private:
  uint64_t mixed_seed_;
  Distribution distribution_;
  double a_;
  double b_;
};

}  // namespace kvarn
