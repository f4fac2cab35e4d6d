// unique, segment_sum and gather_rows over buffers of the exact size, on several threads.
#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/kernels/gather_rows.h"
#include "kvarn/kernels/segment_sum.h"
#include "kvarn/kernels/unique.h"

namespace {

std::vector<int64_t> some_ids(size_t n, int64_t spread) {
  std::mt19937_64 random(n);
  std::vector<int64_t> ids(n);
  for (auto& id : ids) id = static_cast<int64_t>(random() % static_cast<uint64_t>(spread));
  return ids;
}

TEST(unique_keeps_first_occurrences) {
  for (const int64_t spread : {2, 900, 1'000'000'000}) {
    const auto x = some_ids(20'000, spread);
    std::vector<int32_t> idx(x.size());
    std::vector<int32_t> counts(x.size());
    const auto values = kvarn::unique<int64_t>(x, idx, counts);
    int32_t next = 0;
    std::vector<int32_t> seen(values.size(), 0);
    bool good = true;
    for (size_t i = 0; i < x.size(); i++) {
      good = good && idx[i] <= next && values[static_cast<size_t>(idx[i])] == x[i];
      next = std::max(next, idx[i] + 1);
      seen[static_cast<size_t>(idx[i])]++;
    }
    CHECK(good && static_cast<size_t>(next) == values.size());
    CHECK(std::equal(seen.begin(), seen.end(), counts.begin()));
  }
}

TEST(segment_sum_is_the_serial_sum) {
  kvarn::set_num_threads(4);
  for (const size_t width : {1, 3, 16}) {
    const auto ids = some_ids(50'000, 1000);
    std::vector<float> data(ids.size() * width);
    for (size_t i = 0; i < data.size(); i++) data[i] = 1.0f / static_cast<float>(i + 1);
    std::vector<float> expected(1000 * width, 0.0f);
    for (size_t i = 0; i < data.size(); i++) {
      expected[static_cast<size_t>(ids[i / width]) * width + i % width] += data[i];
    }
    std::vector<float> out(expected.size());
    CHECK((kvarn::unsorted_segment_sum<float, int64_t>(data.data(), ids, width, 1000, out.data()) == -1));
    CHECK(out == expected);
    CHECK((kvarn::unsorted_segment_sum<float, int64_t>(data.data(), ids, width, 5, out.data()) >= 0));
  }
}

TEST(gather_rows_copies_or_names_the_bad_index) {
  kvarn::set_num_threads(4);
  std::vector<std::byte> params(100 * 24);
  for (size_t i = 0; i < params.size(); i++) params[i] = static_cast<std::byte>(i);
  auto ids = some_ids(40'000, 100);
  std::vector<std::byte> out(ids.size() * 24);
  CHECK(kvarn::gather_rows<int64_t>(params.data(), 100, 24, ids, out.data()) == -1);
  bool good = true;
  for (size_t i = 0; i < out.size(); i++)
    good = good && out[i] == params[static_cast<size_t>(ids[i / 24]) * 24 + i % 24];
  CHECK(good);
  ids[777] = 100;
  ids[30'000] = -1;
  CHECK(kvarn::gather_rows<int64_t>(params.data(), 100, 24, ids, out.data()) == 777);
}

}  // namespace

KVARN_TEST_MAIN
