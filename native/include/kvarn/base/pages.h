// A block of memory taken from the system and given back to it; pages cost nothing before they are touched.
#pragma once

#include <cstddef>
#include <utility>

namespace kvarn {

class Pages {
 public:
  static constexpr size_t kHugePage = 2 << 20;

  Pages() = default;
  // Zero-filled, aligned to 2 MiB when that large. `huge` asks for huge pages: fewer TLB misses on random
  // access, but the first touch takes 2 MiB. Throws std::bad_alloc.
  Pages(size_t bytes, bool huge);
  Pages(Pages&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        lent_(std::exchange(other.lent_, false)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(lent_, other.lent_);
    return *this;
  }
  ~Pages();

  // The system may take the memory when it needs it; whoever writes it before that does so without a fault.
  // What was in it is lost.
  void lend();
  // Whether they were lent once: most of them need no fault, and no `populate`.
  bool lent() const { return lent_; }
  // Has the pages of [begin, end) at hand before they are written one after the other: cheaper than a fault
  // for each. They need not lie in these pages' bounds exactly.
  static void populate(std::byte* begin, std::byte* end);
  // Lets the system put huge pages in place of those touched, when it has time.
  void advise_huge() const;
  // Puts huge pages in place of those touched now: at most n, from the number `first` on (of n_huge). Without
  // effect where the system cannot.
  void collapse(size_t first, size_t n) const;
  size_t n_huge() const { return bytes_ / kHugePage; }
  // Gives a part back to the system, in whole pages: it reads as zeros, and costs nothing, until it is
  // touched.
  static void discard(std::byte* data, size_t bytes) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool lent_ = false;
};

}  // namespace kvarn
