// Updates: equal keys are summed first, missing keys are created, wrong sizes change nothing.
#include <cmath>
#include <random>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"
#include "tables.h"

namespace {

using namespace kvarn::testing;

struct Row {
  std::vector<float> value;
  std::vector<float> accum;
};

TEST(adagrad_is_the_formula_for_every_dimension_and_thread_count) {
  for (const size_t dim : {1, 8, 16, 19, 32}) {
    for (const int threads : {1, 3}) {
      kvarn::set_num_threads(threads);
      const auto table = make_table({{dim, 0.25f}, {dim, 0.1f}});
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
        CHECK(apply(*table, "Adagrad", keys, grads, {1}, {0.3f}).ok());
      }
      CHECK(table->size() == model.size());
      bool good = true;
      std::vector<float> out(dim);
      for (const auto& [key, row] : model) {
        const std::vector<int64_t> one = {key};
        CHECK(table->lookup(one, 0, out).ok());
        good = good && out == row.value;
        CHECK(table->lookup(one, 1, out).ok());
        good = good && out == row.accum;
      }
      CHECK(good);
    }
  }
}

TEST(wrong_sizes_are_refused) {
  kvarn::EmbeddingTable table{recording(false, false)};
  const std::vector<int64_t> keys = {1, 2};
  std::vector<float> rows(6);
  CHECK(!table.lookup(keys, 0, rows).ok());  // no slot yet
  CHECK(!table.add_slot(0, std::make_unique<kvarn::MatrixRows>(rows, 3)).ok());
  CHECK(add_slot(table, std::vector<float>(3), 3).ok());
  CHECK(add_slot(table, std::vector<float>(2), 2).ok());
  CHECK(!table.lookup(keys, 2, rows).ok());
  CHECK(!table.lookup_or_create(keys, 1, rows).ok());
  CHECK(!apply(table, "Adagrad", keys, rows, {1}, {0.1f}).ok());  // of another dimension
  CHECK(!apply(table, "Adagrad", keys, rows, {9}, {0.1f}).ok());
  CHECK(!apply(table, "Adagrad", keys, rows, {0}, {0.1f}).ok());
  CHECK(!apply(table, "Adagrad", keys, rows, {}, {0.1f}).ok());
  CHECK(!descend(table, keys, std::span(rows).first(5), 0.1f).ok());
  CHECK(!apply(table, "GradientDescent", keys, rows, {}, {}).ok());
  CHECK(!descend(table, keys, rows, 0.1f, 1, std::vector<int64_t>(1)).ok());
  CHECK(!import_rows(table, 0, keys, rows, std::vector<int64_t>(1)).ok());
  CHECK(!import_rows(table, 7, keys, rows).ok());
  CHECK(!table.import_filtered(keys, {}, {}).ok());
  CHECK(!table.set_default(5, std::make_unique<kvarn::MatrixRows>(std::vector<float>(3), 3)).ok());
  CHECK(table.size() == 0);
}

// Threshold 4, twice a step: let in and updated in the second step, with what its record counted.
TEST(a_counter_filter_lets_in_and_updates_at_once) {
  kvarn::EmbeddingTable::Options options = recording(true, true);
  options.admission = std::make_unique<kvarn::CounterAdmission>(4);
  options.no_permission = -7;
  const auto table = make_table({{2, 1.0f}}, std::move(options));
  const std::vector<int64_t> keys = {5, 5};
  const std::vector<int64_t> counts = {1, 1};
  const std::vector<float> ones(4, 1.0f);
  std::vector<float> out(4);
  for (int64_t step = 0; step < 3; step++) {
    CHECK(table->lookup_or_create(keys, 0, out).ok());
    CHECK(out[0] == (step < 2 ? -7.0f : -1.0f));  // 1 - 2 by the two summed gradients
    CHECK(descend(*table, keys, ones, 1.0f, step, counts).ok());
    std::vector<int64_t> freq(2);
    std::vector<int64_t> version(2);
    CHECK(table->frequency(keys, freq).ok() && table->version(keys, version).ok());
    CHECK(freq[0] == 2 * (step + 1) && version[0] == step);
    CHECK(table->size() == 1 && table->admitted_size() == (step == 0 ? 0u : 1u));
  }
}

}  // namespace

KVARN_TEST_MAIN
