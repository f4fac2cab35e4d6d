// Which rows leave memory first: the rows of a table in the order of their use.
//
// Lists over arrays that are indexed by row: touching, forgetting and choosing a row cost the same whatever
// their number, and a row costs 8 bytes (LRU) or 12 (LFU). Not locked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace kvarn {

class CachePolicy {
 public:
  virtual ~CachePolicy() = default;

  // Room for rows below n, which can then be touched without failing. Throws std::bad_alloc.
  virtual void reserve(size_t n) = 0;
  // These rows were used, in this order, counts[i] times each (nullptr: once). A row that is not known comes
  // in. Throws std::bad_alloc, and then nothing has changed.
  virtual void touch(const uint32_t* rows, const int64_t* counts, size_t n) = 0;
  // The row holds nothing any more; nothing happens if it is not known.
  virtual void forget(uint32_t row) = 0;
  // Up to n rows, those that leave first in front; they are forgotten. Returns how many.
  virtual size_t victims(size_t n, uint32_t* rows) = 0;
  virtual void clear() = 0;

  virtual size_t size() const = 0;
  virtual size_t memory_bytes() const = 0;
};

enum class CacheStrategy { kLru = 0, kLfu = 1 };

// LRU: the least recently touched leaves first. LFU: the one with the smallest sum of counts; of equal ones
// the one that came to it first. Sums from 1024 on are told apart to one part in 512.
std::unique_ptr<CachePolicy> make_cache_policy(CacheStrategy strategy);

}  // namespace kvarn
