// A large array that is not initialised and knows its length: pages of their own, huge ones where it pays.
#pragma once

#include <cstddef>
#include <span>

#include "kvarn/base/pages.h"

namespace kvarn {

template <typename T>
class Array {
 public:
  Array() = default;
  // Throws std::bad_alloc. Zero-filled, since pages are; nothing is touched.
  explicit Array(size_t n)
      : pages_(n == 0 ? Pages() : Pages(n * sizeof(T), n * sizeof(T) >= kHugeBytes)), n_(n) {}

  size_t size() const { return n_; }
  bool empty() const { return n_ == 0; }
  T* data() const { return reinterpret_cast<T*>(pages_.data()); }
  T& operator[](size_t i) const { return data()[i]; }
  T* begin() const { return data(); }
  T* end() const { return data() + n_; }
  operator std::span<const T>() const { return {data(), n_}; }  // NOLINT: a view of it

 private:
  static constexpr size_t kHugeBytes = 4 << 20;
  Pages pages_;
  size_t n_ = 0;
};

}  // namespace kvarn
