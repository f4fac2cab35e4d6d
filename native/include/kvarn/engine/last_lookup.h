// The rows that the last lookup has found: the update after it mostly has the same keys, and need not search.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#include "kvarn/base/buffer.h"

namespace kvarn {

class LastLookup {
 public:
  enum Found {
    kNone,
    kSome,  // of keys that had no entry, others may have created some since
    kAll,
  };

  // Keeps the rows of keys, and leaves other memory in `rows`. Any number of readers may call it at once; of
  // these one is kept. `losses`: how often the table has taken rows from keys so far.
  void keep(std::span<const int64_t> keys, Buffer<uint32_t>& rows, bool all_found, uint64_t losses) {
    // A table that is only read does not pay for it for long.
    if (keys.empty() || patience_.load(std::memory_order_relaxed) <= 0) return;
    patience_.fetch_sub(1, std::memory_order_relaxed);
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    n_ = 0;
    try {
      std::memcpy(keys_.at_least(keys.size()), keys.data(), keys.size_bytes());
    } catch (const std::bad_alloc&) {
      return;
    }
    std::swap(rows_, rows);
    n_ = keys.size();
    found_ = all_found ? kAll : kSome;
    losses_ = losses;
  }

  // Keeps the rows of `keys` in place of those of `distinct`, if these are kept: keys[i] is distinct[idx[i]].
  // An update may come with either.
  void spread(std::span<const int64_t> distinct, std::span<const int32_t> idx,
              std::span<const int64_t> keys) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || n_ == 0 || n_ != distinct.size()) return;
    if (std::memcmp(keys_.data(), distinct.data(), distinct.size_bytes()) != 0) return;
    n_ = 0;
    try {
      spare_.at_least(keys.size());
      std::memcpy(keys_.at_least(keys.size()), keys.data(), keys.size_bytes());
    } catch (const std::bad_alloc&) {
      return;
    }
    for (size_t i = 0; i < keys.size(); i++) spare_.data()[i] = rows_.data()[idx[i]];
    std::swap(rows_, spare_);
    n_ = keys.size();
  }

  // Gives up the rows of these very keys, if they are those kept: in `rows`. Nobody else may be in the table.
  Found take(std::span<const int64_t> keys, Buffer<uint32_t>& rows, uint64_t losses) {
    patience_.store(kPatience, std::memory_order_relaxed);
    if (n_ == 0 || n_ != keys.size() || losses_ != losses) return kNone;
    if (std::memcmp(keys_.data(), keys.data(), keys.size_bytes()) != 0) return kNone;
    std::swap(rows_, rows);
    n_ = 0;
    return found_;
  }

 private:
  static constexpr int kPatience = 4;  // lookups without an update

  std::mutex mutex_;
  std::atomic<int> patience_ = 0;  // none before the first update
  Buffer<int64_t> keys_;
  Buffer<uint32_t> rows_;
  Buffer<uint32_t> spare_;
  size_t n_ = 0;
  Found found_ = kNone;
  uint64_t losses_ = 0;
};

}  // namespace kvarn
