// Updates: equal keys are summed first, missing keys are created, wrong sizes change nothing.
#include <cmath>
#include <random>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"

namespace {

struct Row {
  std::vector<float> value;
  std::vector<float> accum;
};

TEST(adagrad_is_the_formula_for_every_dimension_and_thread_count) {
  for (const size_t dim : {1, 8, 16, 19, 32}) {
    for (const int threads : {1, 3}) {
      kvarn::set_num_threads(threads);
      kvarn::EmbeddingTable table(false, false);
      CHECK(table.add_slot(dim, std::vector<float>(dim, 0.25f)).ok());
      CHECK(table.add_slot(dim, std::vector<float>(dim, 0.1f)).ok());
      std::unordered_map<int64_t, Row> model;
      std::mt19937 random(11);
      for (int step = 0; step < 3; step++) {
        std::vector<int64_t> keys(13'000);
        std::vector<float> grads(keys.size() * dim);
        for (auto& key : keys) key = static_cast<int64_t>(random() % 6000) - 3000;
        for (auto& g : grads) g = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
        std::unordered_map<int64_t, std::vector<float>> sums;
        for (size_t i = 0; i < keys.size(); i++) {
          const float* g = grads.data() + i * dim;
          auto [it, is_new] = sums.try_emplace(keys[i], g, g + dim);
          for (size_t d = 0; !is_new && d < dim; d++) it->second[d] += g[d];
        }
        for (const auto& [key, g] : sums) {
          auto [it, is_new] = model.try_emplace(key);
          if (is_new) it->second = {std::vector<float>(dim, 0.25f), std::vector<float>(dim, 0.1f)};
          for (size_t d = 0; d < dim; d++) {
            it->second.accum[d] += g[d] * g[d];
            it->second.value[d] -= 0.3f * g[d] / std::sqrt(it->second.accum[d]);
          }
        }
        CHECK(table.apply_adagrad(keys, grads, 0.3f, 1, std::nullopt).ok());
      }
      CHECK(table.size() == model.size());
      bool good = true;
      std::vector<float> out(dim);
      for (const auto& [key, row] : model) {
        const std::vector<int64_t> one = {key};
        CHECK(table.lookup(one, 0, out).ok());
        good = good && out == row.value;
        CHECK(table.lookup(one, 1, out).ok());
        good = good && out == row.accum;
      }
      CHECK(good);
    }
  }
}

TEST(wrong_sizes_are_refused) {
  kvarn::EmbeddingTable table(false, false);
  const std::vector<int64_t> keys = {1, 2};
  std::vector<float> rows(6);
  CHECK(!table.lookup(keys, 0, rows).ok());  // no slot yet
  CHECK(!table.add_slot(3, std::vector<float>(4)).ok());
  CHECK(!table.add_slot(0, std::vector<float>(4)).ok());
  CHECK(!table.add_slot(3, {}).ok());
  CHECK(table.add_slot(3, std::vector<float>(3)).ok());
  CHECK(table.add_slot(2, std::vector<float>(2)).ok());
  CHECK(!table.lookup(keys, 2, rows).ok());
  CHECK(!table.lookup_or_create(keys, 1, rows).ok());
  CHECK(!table.apply_adagrad(keys, rows, 0.1f, 1, {}).ok());  // of another dimension
  CHECK(!table.apply_adagrad(keys, rows, 0.1f, 9, {}).ok());
  CHECK(!table.apply_gradient_descent(keys, std::span(rows).first(5), 0.1f, {}).ok());
  CHECK(!table.import_rows(0, keys, rows, std::vector<int64_t>(1), {}).ok());
  CHECK(!table.set_default(0, std::vector<float>(5)).ok());
  CHECK(!table.set_default(5, std::vector<float>(3)).ok());
  CHECK(table.size() == 0);
}

}  // namespace

KVARN_TEST_MAIN
