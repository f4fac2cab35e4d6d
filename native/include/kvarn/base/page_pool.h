// Pages of one size that are used again: new memory costs a fault a page, which is as much as filling it.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "kvarn/base/pages.h"
#include "kvarn/base/poison.h"

namespace kvarn {

// Thread-safe. What it keeps is lent to the system (Pages::lend).
class PagePool {
 public:
  // Of `bytes` each, at most `most` of them.
  PagePool(size_t bytes, size_t most) : bytes_(bytes) { kept_.reserve(most); }

  // With anything in them: zeros if they are new. Throws std::bad_alloc.
  Pages take() {
    const std::lock_guard lock(mutex_);
    if (kept_.empty()) return Pages(bytes_, false);
    Pages pages = std::move(kept_.back());
    kept_.pop_back();
    unpoison(pages.data(), pages.size());
    return pages;
  }
  // The system has back what does not fit.
  void give(Pages pages) noexcept {
    const std::lock_guard lock(mutex_);
    if (kept_.size() == kept_.capacity()) return;
    pages.lend();
    poison(pages.data(), pages.size());
    kept_.push_back(std::move(pages));
  }

 private:
  const size_t bytes_;
  std::mutex mutex_;
  std::vector<Pages> kept_;
};

}  // namespace kvarn
