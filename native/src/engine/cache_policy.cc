#include "kvarn/engine/cache_policy.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

namespace kvarn {
namespace {

constexpr uint32_t kNone = UINT32_MAX;        // no neighbour: the end of a list
constexpr uint32_t kAbsent = UINT32_MAX - 1;  // as `previous`: the row is in no list

struct Links {
  uint32_t previous = kAbsent;
  uint32_t next = kNone;
};

struct List {
  uint32_t first = kNone;
  uint32_t last = kNone;
};

template <typename T>
void give_back(std::vector<T>& memory) {
  std::vector<T>().swap(memory);
}

size_t above_all(const uint32_t* rows, size_t n) {
  return n == 0 ? 0 : size_t{*std::max_element(rows, rows + n)} + 1;
}

// The links of all rows; every row is in one list at most.
class Chains {
 public:
  bool has(uint32_t row) const { return row < links_.size() && links_[row].previous != kAbsent; }
  // Room for rows below n. Throws std::bad_alloc.
  void reserve(size_t n) {
    if (n > links_.size()) links_.resize(std::max(n, links_.size() + links_.size() / 4));
  }
  size_t rows() const { return links_.size(); }
  void append(List& list, uint32_t row) {
    links_[row] = {list.last, kNone};
    (list.last == kNone ? list.first : links_[list.last].next) = row;
    list.last = row;
  }
  void remove(List& list, uint32_t row) {
    const Links links = links_[row];
    (links.previous == kNone ? list.first : links_[links.previous].next) = links.next;
    (links.next == kNone ? list.last : links_[links.next].previous) = links.previous;
    links_[row] = {};
  }
  void clear() { give_back(links_); }
  size_t bytes() const { return links_.capacity() * sizeof(Links); }

 private:
  std::vector<Links> links_;
};

class Lru final : public CachePolicy {
 public:
  void reserve(size_t n) override { chains_.reserve(n); }

  void touch(const uint32_t* rows, const int64_t*, size_t n) override {
    reserve(above_all(rows, n));
    for (size_t i = 0; i < n; i++) {
      if (chains_.has(rows[i])) {
        chains_.remove(list_, rows[i]);
      } else {
        size_++;
      }
      chains_.append(list_, rows[i]);
    }
  }

  void forget(uint32_t row) override {
    if (!chains_.has(row)) return;
    chains_.remove(list_, row);
    size_--;
  }

  size_t victims(size_t n, uint32_t* rows) override {
    n = std::min(n, size_);
    for (size_t i = 0; i < n; i++) {
      rows[i] = list_.first;
      forget(rows[i]);
    }
    return n;
  }

  void clear() override {
    chains_.clear();
    list_ = {};
    size_ = 0;
  }

  size_t size() const override { return size_; }
  size_t memory_bytes() const override { return chains_.bytes(); }

 private:
  Chains chains_;
  List list_;
  size_t size_ = 0;
};

// A list for every frequency up to kExact, above that for every 1 / kSteps of a doubling.
class Lfu final : public CachePolicy {
 public:
  void reserve(size_t n) override {
    chains_.reserve(n);
    sums_.resize(std::max(sums_.size(), chains_.rows()));
  }

  void touch(const uint32_t* rows, const int64_t* counts, size_t n) override {
    reserve(above_all(rows, n));
    for (size_t i = 0; i < n; i++) {
      const uint32_t row = rows[i];
      uint64_t sum = count(counts, i);
      if (chains_.has(row)) {
        sum = capped(sum + sums_[row]);
        take_out(row);
      }
      sums_[row] = static_cast<uint32_t>(sum);
      const size_t list = list_of(sums_[row]);
      chains_.append(lists_[list], row);
      filled_[list / 64] |= uint64_t{1} << (list % 64);
      lowest_ = std::min(lowest_, list);
      size_++;
    }
  }

  void forget(uint32_t row) override {
    if (chains_.has(row)) take_out(row);
  }

  size_t victims(size_t n, uint32_t* rows) override {
    n = std::min(n, size_);
    for (size_t i = 0; i < n; i++) {
      while (lists_[lowest_].first == kNone) find_lowest();
      rows[i] = lists_[lowest_].first;
      take_out(rows[i]);
    }
    return n;
  }

  void clear() override {
    chains_.clear();
    give_back(sums_);
    lists_ = std::vector<List>(kLists);
    filled_ = std::vector<uint64_t>(kLists / 64);
    lowest_ = 0;
    size_ = 0;
  }

  size_t size() const override { return size_; }
  size_t memory_bytes() const override {
    return chains_.bytes() + sums_.capacity() * sizeof(uint32_t) + lists_.capacity() * sizeof(List) +
           filled_.capacity() * sizeof(uint64_t);
  }

 private:
  static constexpr uint32_t kMostCounted = std::numeric_limits<uint32_t>::max();
  static constexpr unsigned kStepBits = 9;
  static constexpr uint32_t kSteps = uint32_t{1} << kStepBits;
  static constexpr uint32_t kExact = 2 * kSteps;
  static constexpr size_t kLists = (size_t{32 - kStepBits} + 1) << kStepBits;

  static uint64_t capped(uint64_t sum) { return std::min<uint64_t>(sum, kMostCounted); }
  static uint64_t count(const int64_t* counts, size_t i) {
    return counts == nullptr ? 1 : capped(static_cast<uint64_t>(std::max<int64_t>(counts[i], 0)));
  }
  // The number of the list for a frequency: never falls where the frequency rises.
  static size_t list_of(uint32_t sum) {
    if (sum < kExact) return sum;
    const auto doublings = static_cast<unsigned>(std::bit_width(sum)) - kStepBits - 1;
    return (size_t{doublings} << kStepBits) + (sum >> doublings);
  }

  void take_out(uint32_t row) {
    const size_t list = list_of(sums_[row]);
    chains_.remove(lists_[list], row);
    if (lists_[list].first == kNone) filled_[list / 64] &= ~(uint64_t{1} << (list % 64));
    size_--;
  }

  // There is a row: the first list from `lowest_` on that has one.
  void find_lowest() {
    size_t word = lowest_ / 64;
    uint64_t bits = filled_[word] & (~uint64_t{0} << (lowest_ % 64));
    while (bits == 0) bits = filled_[++word];
    lowest_ = word * 64 + static_cast<size_t>(std::countr_zero(bits));
  }

  Chains chains_;
  std::vector<uint32_t> sums_;  // of the counts of a row
  std::vector<List> lists_ = std::vector<List>(kLists);
  std::vector<uint64_t> filled_ = std::vector<uint64_t>(kLists / 64);  // a bit for every list that has a row
  size_t lowest_ = 0;                                                  // lists before it have none
  size_t size_ = 0;
};

}  // namespace

std::unique_ptr<CachePolicy> make_cache_policy(CacheStrategy strategy) {
  if (strategy == CacheStrategy::kLru) return std::make_unique<Lru>();
  return std::make_unique<Lfu>();
}

}  // namespace kvarn
