// Scratch memory that is kept between batches and not initialised.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kvarn/base/pages.h"

namespace kvarn {

template <typename T>
class Buffer {
 public:
  // Room for n elements; what was in it is lost if it had to grow. Throws std::bad_alloc.
  T* at_least(size_t n) {
    if (n * sizeof(T) > pages_.size()) {
      pages_ = Pages();
      pages_ = Pages(std::max<size_t>(n * sizeof(T), kMinBytes), false);
    }
    return data();
  }
  T* data() const { return reinterpret_cast<T*>(pages_.data()); }

 private:
  static constexpr size_t kMinBytes = 4096;
  Pages pages_;
};

}  // namespace kvarn
