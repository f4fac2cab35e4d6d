// Group lookups: sums by segment over many tables, whatever the threads; nothing is touched when sizes are
// wrong.
#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/group_lookup.h"
#include "tables.h"

namespace {

using namespace kvarn;
using namespace kvarn::testing;

// A lookup and the arrays it works on. The matrix gives key k the row (k % 5 + 1, k % 5 + 1.5, ...).
struct Case {
  Case(size_t dim, size_t n, size_t n_segments, bool weighted, std::mt19937& random) : dim(dim) {
    for (size_t r = 0; r < 5; r++) {
      for (size_t k = 0; k < dim; k++)
        matrix.push_back(static_cast<float>(r + 1) + 0.5f * static_cast<float>(k));
    }
    CHECK(add_slot(*table, matrix, dim).ok());
    for (size_t i = 0; i < n; i++) {
      keys.push_back(static_cast<int64_t>(random() % (n / 3 + 1)));
      indices.push_back(static_cast<int64_t>(random() % n_segments));
      indices.push_back(static_cast<int64_t>(random() % kColumns));
      if (weighted) weights.push_back(static_cast<float>(random() % 7) - 2.5f);
    }
    idx.resize(n);
    ends.resize(n_segments);
    out.assign(n_segments * dim, 99.0f);
  }

  GroupLookup lookup(bool create, bool sequence = false) {
    if (sequence) out.assign(ends.size() * kColumns * dim, 99.0f);
    return {table.get(), 0,        create,  keys, indices, 2,   ends.size(),
            kColumns,    sequence, weights, out,  ends,    idx, {}};
  }

  std::vector<float> expected(Combiner combiner, bool sequence = false) const {
    std::vector<float> sums(out.size(), 0.0f);
    std::vector<int> numbers(out.size() / dim, 0);
    for (size_t i = 0; i < keys.size(); i++) {
      auto s = static_cast<size_t>(indices[2 * i]);
      if (sequence) s = s * kColumns + static_cast<size_t>(indices[2 * i + 1]);
      numbers[s]++;
      for (size_t k = 0; k < dim; k++) {
        const float value = matrix[static_cast<size_t>(keys[i] % 5) * dim + k];
        sums[s * dim + k] += weights.empty() ? value : value * weights[i];
      }
    }
    for (size_t i = 0; i < sums.size() && !sequence; i++) {
      const auto number = static_cast<float>(std::max(1, numbers[i / dim]));
      if (combiner == Combiner::kMean) sums[i] /= number;
      if (combiner == Combiner::kSqrtn) sums[i] /= std::sqrt(number);
    }
    return sums;
  }

  static constexpr size_t kColumns = 3;
  size_t dim;
  std::unique_ptr<EmbeddingTable> table = std::make_unique<EmbeddingTable>(EmbeddingTable::Options{});
  std::vector<float> matrix;
  std::vector<int64_t> keys;
  std::vector<int64_t> indices;
  std::vector<float> weights;
  std::vector<int32_t> idx;
  std::vector<int32_t> ends;
  std::vector<float> out;
};

TEST(every_lookup_is_the_formula) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const Combiner combiner : {Combiner::kSum, Combiner::kMean, Combiner::kSqrtn}) {
      std::mt19937 random(3);
      std::vector<Case> cases;
      for (const size_t dim : {1, 4, 8, 16, 19, 32, 64}) {
        cases.emplace_back(dim, 1 + 500 * (dim % 3), 40, dim % 2 == 0, random);
      }
      cases.emplace_back(8, 0, 3, false, random);
      std::vector<GroupLookup> group;
      for (Case& one : cases) group.push_back(one.lookup(one.dim != 8));
      CHECK(group_lookup(group, combiner).ok());
      for (size_t i = 0; i < cases.size(); i++) {
        CHECK(cases[i].out == cases[i].expected(combiner));
        CHECK(cases[i].table->size() == (cases[i].dim == 8 ? 0 : group[i].unique_keys.size()));
        for (size_t k = 0; k < cases[i].keys.size(); k++) {
          CHECK(group[i].unique_keys[static_cast<size_t>(cases[i].idx[k])] == cases[i].keys[k]);
        }
      }
    }
  }
}

TEST(a_sequence_keeps_every_place) {
  std::mt19937 random(4);
  for (const bool weighted : {false, true}) {
    Case one(5, 200, 30, weighted, random);
    std::vector<GroupLookup> group{one.lookup(true, true)};
    CHECK(group_lookup(group, Combiner::kMean).ok());
    CHECK(one.out == one.expected(Combiner::kMean, true));
  }
}

TEST(ends_count_the_keys_of_each_row) {
  std::mt19937 random(4);
  Case one(2, 5, 4, false, random);
  one.indices = {2, 0, 0, 0, 2, 0, 0, 1, 2, 2};
  std::vector<GroupLookup> group{one.lookup(true)};
  CHECK(group_lookup(group, Combiner::kSum).ok());
  CHECK(one.ends == std::vector<int32_t>({2, 2, 5, 5}));
}

TEST(what_does_not_fit_touches_no_table) {
  std::mt19937 random(5);
  Case good(4, 10, 5, false, random);
  Case bad(4, 10, 5, true, random);
  const auto fails = [&](const GroupLookup& one) {
    std::vector<GroupLookup> group{good.lookup(true), one};
    return !group_lookup(group, Combiner::kSum).ok() && good.table->size() == 0 && bad.table->size() == 0;
  };
  GroupLookup one = bad.lookup(true);
  one.slot = 1;
  CHECK(fails(one));
  one = bad.lookup(true);
  one.indices = one.indices.first(19);
  CHECK(fails(one));
  one = bad.lookup(true);
  one.rank = 1;
  CHECK(fails(one));
  one = bad.lookup(true);
  one.rank = 0;
  CHECK(fails(one));
  one = bad.lookup(true);
  one.ends = one.ends.first(4);
  CHECK(fails(one));
  one = bad.lookup(true);
  one.weights = one.weights.first(9);
  CHECK(fails(one));
  one = bad.lookup(true);
  one.unique_idx = one.unique_idx.first(9);
  CHECK(fails(one));
  one = bad.lookup(true);
  one.out = one.out.first(19);
  CHECK(fails(one));
  for (const int64_t index : {int64_t{5}, int64_t{-1}}) {
    bad.indices[6] = index;
    CHECK(fails(bad.lookup(true)));
  }
  bad.indices[6] = 0;
  bad.indices[7] = 3;
  CHECK(fails(bad.lookup(true, true)));
}

TEST(groups_of_several_threads_share_tables) {
  set_num_threads(2);
  std::mt19937 random(7);
  std::vector<Case> cases;
  for (size_t i = 0; i < 4; i++) cases.emplace_back(8, 3000, 50, false, random);
  std::vector<std::thread> threads;
  std::vector<std::vector<std::vector<float>>> found(3);
  for (size_t t = 0; t < found.size(); t++) {
    threads.emplace_back([&, t] {
      found[t].resize(cases.size());
      std::vector<std::vector<int32_t>> idx(cases.size(), std::vector<int32_t>(3000));
      std::vector<std::vector<int32_t>> ends(cases.size(), std::vector<int32_t>(50));
      std::vector<GroupLookup> group;
      for (size_t i = 0; i < cases.size(); i++) {
        found[t][i].resize(cases[i].out.size());
        group.push_back(cases[i].lookup(true));
        group.back().out = found[t][i];
        group.back().unique_idx = idx[i];
        group.back().ends = ends[i];
      }
      CHECK(group_lookup(group, Combiner::kMean).ok());
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& by_case : found) {
    for (size_t i = 0; i < cases.size(); i++) CHECK(by_case[i] == cases[i].expected(Combiner::kMean));
  }
}

}  // namespace

KVARN_TEST_MAIN
