// The order in which rows leave memory, against a model that searches all of them.
#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "check.h"
#include "kvarn/engine/cache_policy.h"

namespace {

using kvarn::CacheStrategy;
using kvarn::make_cache_policy;

// When a row came to where it stands, and how often it was counted.
struct Known {
  uint64_t sum;
  uint64_t since;
};

class Model {
 public:
  explicit Model(CacheStrategy strategy) : lfu_(strategy == CacheStrategy::kLfu) {}
  void touch(const std::vector<uint32_t>& rows, const int64_t* counts) {
    for (size_t i = 0; i < rows.size(); i++) {
      Known& known = rows_.try_emplace(rows[i], Known{0, 0}).first->second;
      known.sum += counts == nullptr ? 1 : static_cast<uint64_t>(counts[i]);
      known.since = ++now_;
    }
  }
  void forget(uint32_t row) { rows_.erase(row); }
  std::vector<uint32_t> victims(size_t n) {
    std::vector<uint32_t> order;
    for (const auto& [row, known] : rows_) order.push_back(row);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      const Known& x = rows_.at(a);
      const Known& y = rows_.at(b);
      return lfu_ && x.sum != y.sum ? x.sum < y.sum : x.since < y.since;
    });
    order.resize(std::min(n, order.size()));
    for (const uint32_t row : order) rows_.erase(row);
    return order;
  }
  size_t size() const { return rows_.size(); }

 private:
  bool lfu_;
  uint64_t now_ = 0;
  std::map<uint32_t, Known> rows_;
};

std::vector<uint32_t> victims(kvarn::CachePolicy& policy, size_t n) {
  std::vector<uint32_t> rows(n);
  rows.resize(policy.victims(n, rows.data()));
  return rows;
}

void drive(CacheStrategy strategy, uint32_t seed) {
  const auto policy = make_cache_policy(strategy);
  Model model(strategy);
  std::mt19937 random(seed);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int step = 0; step < 400; step++) {
    const uint32_t what = below(10);
    if (what < 6) {
      std::vector<uint32_t> rows(below(12));
      for (auto& row : rows) row = below(3) == 0 ? below(500) : below(20);
      std::vector<int64_t> counts(rows.size());
      for (auto& count : counts) count = static_cast<int64_t>(below(4));
      const bool counted = below(2) == 0;
      policy->touch(rows.data(), counted ? counts.data() : nullptr, rows.size());
      model.touch(rows, counted ? counts.data() : nullptr);
    } else if (what < 8) {
      const uint32_t row = below(600);
      policy->forget(row);
      model.forget(row);
    } else if (what == 8) {
      const size_t n = below(8);
      CHECK(victims(*policy, n) == model.victims(n));
    } else if (below(20) == 0) {
      policy->clear();
      model = Model(strategy);
    }
    CHECK(policy->size() == model.size());
  }
  CHECK(victims(*policy, 1000) == model.victims(1000));
  CHECK(policy->size() == 0 && victims(*policy, 10).empty());
}

TEST(lru_is_the_model) {
  for (uint32_t seed = 0; seed < 60; seed++) drive(CacheStrategy::kLru, seed);
}

TEST(lfu_is_the_model) {
  for (uint32_t seed = 0; seed < 60; seed++) drive(CacheStrategy::kLfu, seed);
}

TEST(within_one_frequency_the_first_that_came_leaves_first) {
  const auto policy = make_cache_policy(CacheStrategy::kLfu);
  const std::vector<uint32_t> rows = {4, 7, 2, 9, 7, 4};
  policy->touch(rows.data(), nullptr, rows.size());
  CHECK((victims(*policy, 9) == std::vector<uint32_t>{2, 9, 7, 4}));
}

TEST(large_frequencies_stay_in_order) {
  const auto policy = make_cache_policy(CacheStrategy::kLfu);
  std::vector<uint32_t> rows;
  std::vector<int64_t> counts;
  for (int64_t count = 1; count < int64_t{1} << 40; count += count / 100 + 1) {
    rows.push_back(static_cast<uint32_t>(rows.size()));
    counts.push_back(count);
  }
  // The greatest first: they leave in the order of their counts, up to where counting ends.
  for (size_t i = rows.size(); i-- > 0;) policy->touch(&rows[i], &counts[i], 1);
  const auto order = victims(*policy, rows.size());
  CHECK(order.size() == rows.size());
  for (size_t i = 0; i + 1 < order.size(); i++) {
    CHECK(order[i] < order[i + 1] || counts[order[i]] > UINT32_MAX);
  }
  const int64_t most = INT64_MAX;
  for (int i = 0; i < 3; i++) policy->touch(&rows[0], &most, 1);
  CHECK((victims(*policy, 2) == std::vector<uint32_t>{0}));
}

TEST(a_row_costs_few_bytes) {
  std::vector<uint32_t> rows(1'000'000);
  for (size_t i = 0; i < rows.size(); i++) rows[i] = static_cast<uint32_t>(i);
  for (const auto strategy : {CacheStrategy::kLru, CacheStrategy::kLfu}) {
    const auto policy = make_cache_policy(strategy);
    policy->touch(rows.data(), nullptr, rows.size());
    CHECK(policy->memory_bytes() < 12 * rows.size() + 200'000);
    policy->clear();
    CHECK(policy->memory_bytes() < 200'000);
  }
}

}  // namespace

KVARN_TEST_MAIN
