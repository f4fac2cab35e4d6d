// A snapshot keeps showing the moment it was taken, outlives the table, and stops costing when it goes.
#include <memory>
#include <numeric>
#include <vector>

#include "check.h"
#include "kvarn/engine/embedding_table.h"

namespace {

constexpr size_t kDim = 3;

std::vector<int64_t> range(int64_t first, size_t n) {
  std::vector<int64_t> keys(n);
  std::iota(keys.begin(), keys.end(), first);
  return keys;
}

TEST(shows_its_moment_whatever_follows) {
  auto table = std::make_unique<kvarn::EmbeddingTable>(true, true);
  CHECK(table->add_slot(kDim, std::vector<float>(kDim, 0.5f)).ok());
  const auto keys = range(-5000, 10'000);
  const std::vector<float> ones(keys.size() * kDim, 1.0f);
  std::vector<float> out(ones.size());
  CHECK(table->lookup_or_create(keys, 0, out).ok());
  std::unique_ptr<kvarn::Snapshot> first;
  CHECK(table->snapshot(1000, &first).ok());
  CHECK(table->apply_gradient_descent(keys, ones, 1.0f, 9).ok());
  std::unique_ptr<kvarn::Snapshot> second;
  CHECK(table->snapshot(7, &second).ok());
  CHECK(table->remove(keys) == keys.size());
  CHECK(table->lookup_or_create(range(90'000, 10'000), 0, out).ok());
  CHECK(table->add_slot(1, std::vector<float>{3.0f}).ok());
  table.reset();

  CHECK(first->keys().size() == keys.size() && second->keys().size() == keys.size());
  CHECK(first->partition_offset().size() == 1001 && second->partition_offset().size() == 8);
  first->values(0, 0, out);
  CHECK(out == std::vector<float>(out.size(), 0.5f));
  second->values(0, 0, out);
  CHECK(out == std::vector<float>(out.size(), -0.5f));
  std::vector<int64_t> versions(keys.size());
  first->versions(0, versions);
  CHECK(versions == std::vector<int64_t>(keys.size(), -1));
  second->versions(0, versions);
  CHECK(versions == std::vector<int64_t>(keys.size(), 9));
}

TEST(buckets_are_floor_modulus) {
  kvarn::EmbeddingTable table(false, false);
  CHECK(table.add_slot(1, std::vector<float>{0.0f}).ok());
  std::vector<float> out(5);
  CHECK(table.lookup_or_create(std::vector<int64_t>{-1, 12, INT64_MIN, 2, INT64_MAX}, 0, out).ok());
  std::unique_ptr<kvarn::Snapshot> cut;
  CHECK(table.snapshot(10, &cut).ok());
  // INT64_MIN = -9223372036854775808 is 2 above a multiple of ten, INT64_MAX 7.
  CHECK((cut->keys() == std::vector<int64_t>{12, INT64_MIN, 2, INT64_MAX, -1}));
  CHECK((cut->partition_offset() == std::vector<int32_t>{0, 0, 0, 3, 3, 3, 3, 3, 4, 4, 5}));
  CHECK(!table.snapshot(0, &cut).ok());
}

}  // namespace

KVARN_TEST_MAIN
