// A snapshot keeps showing the moment it was taken, outlives the table, and stops costing when it goes.
#include <memory>
#include <vector>

#include "check.h"
#include "kvarn/engine/embedding_table.h"
#include "tables.h"

// GCC 12 takes the memory of a vector that was moved for memory that was not allocated.
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"

namespace {

constexpr size_t kDim = 3;

using namespace kvarn::testing;

TEST(shows_its_moment_whatever_follows) {
  auto table = make_table({{kDim, 0.5f}}, recording(true, true));
  const auto keys = range(-5000, 10'000);
  const std::vector<float> ones(keys.size() * kDim, 1.0f);
  std::vector<float> out(ones.size());
  CHECK(table->lookup_or_create(keys, 0, out).ok());
  std::unique_ptr<kvarn::Snapshot> first;
  CHECK(table->snapshot(1000, {}, &first).ok());
  CHECK(descend(*table, keys, ones, 1.0f, 9).ok());
  std::unique_ptr<kvarn::Snapshot> second;
  CHECK(table->snapshot(7, {}, &second).ok());
  CHECK(table->remove(keys) == keys.size());
  CHECK(table->lookup_or_create(range(90'000, 10'000), 0, out).ok());
  const float three = 3.0f;
  CHECK(add_slot(*table, {&three, 1}, 1).ok());
  table.reset();

  CHECK(first->admitted().keys.size() == keys.size() && second->admitted().keys.size() == keys.size());
  CHECK(first->admitted().partition_offset.size() == 1001 && second->admitted().partition_offset.size() == 8);
  CHECK(first->values(0, 0, out).ok());
  CHECK(out == std::vector<float>(out.size(), 0.5f));
  CHECK(second->values(0, 0, out).ok());
  CHECK(out == std::vector<float>(out.size(), -0.5f));
  std::vector<int64_t> versions(keys.size());
  CHECK(first->versions(0, versions).ok());
  CHECK(versions == std::vector<int64_t>(keys.size(), -1));
  CHECK(second->versions(0, versions).ok());
  CHECK(versions == std::vector<int64_t>(keys.size(), 9));
}

TEST(buckets_are_floor_modulus) {
  const auto table = make_table({{1, 0.0f}});
  std::vector<float> out(5);
  CHECK(table->lookup_or_create(std::vector<int64_t>{-1, 12, INT64_MIN, 2, INT64_MAX}, 0, out).ok());
  std::unique_ptr<kvarn::Snapshot> cut;
  CHECK(table->snapshot(10, {}, &cut).ok());
  // INT64_MIN = -9223372036854775808 is 2 above a multiple of ten, INT64_MAX 7.
  CHECK(are<int64_t>(cut->admitted().keys, {12, INT64_MIN, 2, INT64_MAX, -1}));
  CHECK(are<int32_t>(cut->admitted().partition_offset, {0, 0, 0, 3, 3, 3, 3, 3, 4, 4, 5}));
  CHECK(!table->snapshot(0, {}, &cut).ok());
}

// Rows that were free at the cut, are reused, relaid or refilled: nothing of it shows.
TEST(reused_rows_do_not_show) {
  const auto table = make_table({{kDim, 0.0f}}, recording(true, true));
  const auto keys = range(0, 3000);
  std::vector<float> out(keys.size() * kDim);
  const std::vector<float> ones(out.size(), 1.0f);
  CHECK(descend(*table, keys, ones, -1.0f, 1).ok());
  CHECK(table->remove(range(0, 1000)) == 1000);
  std::unique_ptr<kvarn::Snapshot> cut;
  CHECK(table->snapshot(10, {}, &cut).ok());
  CHECK(table->remove(range(1000, 1000)) == 1000);
  CHECK(descend(*table, range(50'000, 3000), ones, -5.0f, 2).ok());
  CHECK(cut->admitted().keys.size() == 2000);
  out = std::vector<float>(2000 * kDim);
  CHECK(cut->values(0, 0, out).ok());
  CHECK(out == std::vector<float>(out.size(), 1.0f));
  std::vector<int64_t> metas(2000);
  CHECK(cut->versions(0, metas).ok());
  CHECK(metas == std::vector<int64_t>(2000, 1));
  CHECK(cut->freqs(0, metas).ok());
  CHECK(metas == std::vector<int64_t>(2000, 1));
}

TEST(touched_keys_alone) {
  const auto table = make_table({{1, 0.0f}});
  std::unique_ptr<kvarn::Snapshot> cut;
  CHECK(!table->snapshot(10, 0, &cut).ok());  // nothing is remembered
  table->record_touches(true);
  const std::vector<float> ones(5, 1.0f);
  CHECK(descend(*table, range(0, 5), ones, 1.0f).ok());
  std::unique_ptr<kvarn::Snapshot> full;
  CHECK(table->snapshot(10, {}, &full).ok());
  CHECK(full->number() == 1);
  CHECK(descend(*table, range(13, 2), std::span(ones).first(2), 1.0f).ok());
  CHECK(descend(*table, range(3, 1), std::span(ones).first(1), 1.0f).ok());
  CHECK(table->remove(range(1, 1)) == 1);
  CHECK(table->snapshot(10, full->number(), &cut).ok());
  CHECK(are<int64_t>(cut->admitted().keys, {3, 13, 14}));
  CHECK(are<int64_t>(cut->removed().keys, {1}));
  const uint32_t newest = cut->number();
  table->forget_touches(newest);
  CHECK(!table->snapshot(10, full->number(), &cut).ok());  // what was touched before is forgotten
  CHECK(table->snapshot(10, newest, &cut).ok());
  CHECK(cut->admitted().keys.empty() && cut->removed().keys.empty());
}

}  // namespace

KVARN_TEST_MAIN
