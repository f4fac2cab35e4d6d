#include "kvarn/base/pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace kvarn {
namespace {

constexpr size_t kPage = 4096;
#if defined(__linux__)
[[maybe_unused]] constexpr int kCollapse = 25;  // MADV_COLLAPSE, which older headers lack
#endif

}  // namespace

#if defined(KVARN_SANITIZED)

// The heap, so that the sanitizer sees its bounds.
Pages::Pages(size_t bytes, bool /*huge*/) : bytes_(bytes) {
  const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
  data_ = static_cast<std::byte*>(std::aligned_alloc(kPage, rounded));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_, 0, rounded);
}

Pages::~Pages() { std::free(data_); }

void Pages::advise_huge() const {}
void Pages::collapse(size_t /*first*/, size_t /*n*/) const {}
void Pages::lend() { lent_ = true; }
void Pages::populate(std::byte* /*begin*/, std::byte* /*end*/) {}
void Pages::discard(std::byte* data, size_t bytes) noexcept { std::memset(data, 0, bytes); }

#else

Pages::Pages(size_t bytes, bool huge) : bytes_((bytes + kPage - 1) / kPage * kPage) {
  const size_t slack = bytes_ >= kHugePage ? kHugePage : 0;
  if (bytes_ < bytes || bytes_ + slack < bytes_) throw std::bad_alloc();
  void* p = mmap(nullptr, bytes_ + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(p);
  if (slack != 0) {
    const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(p) % kHugePage) % kHugePage;
    if (head != 0) munmap(data_, head);
    data_ += head;
    if (slack - head != 0) munmap(data_ + bytes_, slack - head);
  }
  if (huge) advise_huge();
}

void Pages::advise_huge() const {
#if defined(MADV_HUGEPAGE)
  if (bytes_ >= kHugePage) madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
}

void Pages::collapse([[maybe_unused]] size_t first, [[maybe_unused]] size_t n) const {
#if defined(__linux__)
  for (size_t page = first; page < std::min(first + n, n_huge()); page++) {
    madvise(data_ + page * kHugePage, kHugePage, kCollapse);
  }
#endif
}

void Pages::lend() {
  lent_ = true;
#if defined(MADV_FREE)
  madvise(data_, bytes_, MADV_FREE);
#endif
#if defined(MADV_NOHUGEPAGE)
  madvise(data_, bytes_, MADV_NOHUGEPAGE);
#endif
}

void Pages::populate(std::byte* begin, std::byte* end) {
#if defined(MADV_POPULATE_WRITE)
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + kPage - 1) / kPage * kPage;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / kPage * kPage;
  // An older system does not know how: the pages come one by one.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_POPULATE_WRITE);
#else
  (void)begin;
  (void)end;
#endif
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

void Pages::discard(std::byte* data, size_t bytes) noexcept {
  if (madvise(data, bytes, MADV_DONTNEED) != 0) std::memset(data, 0, bytes);
}

#endif

}  // namespace kvarn
