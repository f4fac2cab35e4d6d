// Entries that come into a table together, beside what else goes on there.
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/staged_import.h"
#include "tables.h"

namespace {

using namespace kvarn::testing;
using kvarn::Code;
using kvarn::EmbeddingTable;
using kvarn::StagedImport;

std::unique_ptr<EmbeddingTable> two_slots() {
  return make_table({{2, 5.0f}, {1, 6.0f}}, recording(true, true));
}

std::unique_ptr<StagedImport> staged(EmbeddingTable& table, size_t n, std::span<const int64_t> sample = {}) {
  std::unique_ptr<StagedImport> out;
  CHECK(table.stage_import(n, sample, &out).ok());
  return out;
}

// Entry i has the value {first + i, -(first + i)}, the slot 10 * (first + i), that frequency and version.
kvarn::Status write(StagedImport& import, size_t n, int first) {
  std::vector<float> values;
  std::vector<float> slot;
  std::vector<int64_t> counts;
  for (size_t i = 0; i < n; i++) {
    const auto x = static_cast<float>(static_cast<size_t>(first) + i);
    values.insert(values.end(), {x, -x});
    slot.push_back(10 * x);
    counts.push_back(static_cast<int64_t>(x));
  }
  const EmbeddingTable::Column columns[] = {{1, slot.data()}, {0, values.data()}};
  return import.write(n, columns, counts, counts);
}

bool has(EmbeddingTable& table, int64_t key, float x) {
  float value[2];
  float slot[1];
  int64_t freq[1];
  int64_t version[1];
  const int64_t keys[] = {key};
  CHECK(table.lookup(keys, 0, value).ok() && table.lookup(keys, 1, slot).ok());
  CHECK(table.kept_frequency(keys, freq).ok() && table.version(keys, version).ok());
  return value[0] == x && value[1] == -x && slot[0] == 10 * x && freq[0] == static_cast<int64_t>(x) &&
         version[0] == freq[0];
}

TEST(all_come_in_together) {
  const auto table = two_slots();
  const auto import = staged(*table, 10, range(0, 5));
  CHECK(write(*import, 3, 1).ok());
  CHECK(write(*import, 2, 4).ok());
  CHECK(table->size() == 0);
  CHECK(descend(*table, range(100, 1), std::vector<float>{0, 0}, 1.0f).ok());
  CHECK(import->commit(std::vector<int64_t>{7, -1, INT64_MIN, 0, 8}).ok());
  CHECK(table->size() == 6);
  CHECK(has(*table, 7, 1) && has(*table, -1, 2) && has(*table, INT64_MIN, 3) && has(*table, 0, 4));
  CHECK(has(*table, 8, 5));
  CHECK(import->commit(range(0, 5)).code() == Code::kFailedPrecondition);
  CHECK(write(*import, 1, 1).code() == Code::kFailedPrecondition);
}

TEST(the_last_of_equal_keys_wins_and_cuts_do_not_move) {
  const auto table = two_slots();
  const auto import = staged(*table, 4);
  CHECK(write(*import, 4, 1).ok());
  // 2 comes in from elsewhere meanwhile.
  CHECK(descend(*table, range(2, 1), std::vector<float>{1, 1}, 1.0f, 9).ok());
  std::unique_ptr<kvarn::Snapshot> cut;
  CHECK(table->snapshot(1000, {}, &cut).ok());
  const size_t bytes = table->memory_bytes();
  CHECK(import->commit(std::vector<int64_t>{1, 2, 1, 2}).ok());
  CHECK(table->size() == 2);
  CHECK(has(*table, 1, 3) && has(*table, 2, 4));
  CHECK(table->memory_bytes() <= bytes);
  std::vector<float> before(2);
  CHECK(cut->admitted().keys.size() == 1 && cut->values(0, 0, before).ok());
  CHECK(are<float>(before, {4, 4}));
  // The rows that nobody got go to keys that come.
  CHECK(descend(*table, range(50, 3), std::vector<float>(6), 1.0f).ok());
  CHECK(table->memory_bytes() <= bytes + 3 * 64);
}

TEST(without_a_commit_nothing_stays) {
  const auto table = two_slots();
  CHECK(descend(*table, range(0, 1000), std::vector<float>(2000), 1.0f).ok());
  const size_t bytes = table->memory_bytes();
  CHECK(write(*staged(*table, 5000, range(1000, 10)), 500, 1).ok());
  CHECK(table->size() == 1000);
  CHECK(table->memory_bytes() == bytes);
  {
    const auto import = staged(*table, 5000);
    CHECK(descend(*table, range(1000, 1), std::vector<float>(2), 1.0f).ok());
  }
  CHECK(table->size() == 1001);
  // The rows go to keys that come.
  const size_t with_free_rows = table->memory_bytes();
  CHECK(descend(*table, range(2000, 5000), std::vector<float>(10'000), 1.0f).ok());
  CHECK(table->memory_bytes() <= with_free_rows + 5000 * 32);
}

TEST(a_table_that_is_another_one_refuses) {
  const auto table = two_slots();
  const auto cleared = staged(*table, 2);
  CHECK(write(*cleared, 1, 1).ok());
  table->clear();
  CHECK(write(*cleared, 1, 2).code() == Code::kFailedPrecondition);
  CHECK(cleared->commit(range(0, 1)).code() == Code::kFailedPrecondition);
  const auto widened = staged(*table, 2);
  CHECK(write(*widened, 2, 1).ok());
  CHECK(add_slot(*table, std::vector<float>{1}, 1).ok());
  CHECK(widened->commit(range(0, 2)).code() == Code::kFailedPrecondition);
  CHECK(table->size() == 0);
}

TEST(wrong_sizes_are_refused) {
  const auto table = two_slots();
  const auto import = staged(*table, 3);
  CHECK(write(*import, 4, 1).code() == Code::kInvalidArgument);
  const std::vector<float> rows(4);
  const EmbeddingTable::Column value{0, rows.data()};
  const EmbeddingTable::Column slot{1, rows.data()};
  const EmbeddingTable::Column unknown{2, rows.data()};
  CHECK(import->write(1, std::vector{value}, {}, {}).code() == Code::kInvalidArgument);
  CHECK(import->write(1, std::vector{value, value}, {}, {}).code() == Code::kInvalidArgument);
  CHECK(import->write(1, std::vector{value, unknown}, {}, {}).code() == Code::kInvalidArgument);
  CHECK(import->write(1, std::vector{value, slot}, range(0, 2), {}).code() == Code::kInvalidArgument);
  CHECK(import->write(1, std::vector{value, slot}, {}, {}).ok());
  CHECK(write(*import, 1, 1).code() == Code::kInvalidArgument);  // those before had no frequencies
  CHECK(import->commit(range(0, 2)).code() == Code::kInvalidArgument);
  CHECK(import->commit(range(0, 1)).ok());
  CHECK(table->size() == 1);
}

TEST(only_new_keys_of_a_table_in_memory) {
  const auto table = two_slots();
  CHECK(descend(*table, range(0, 1), std::vector<float>(2), 1.0f).ok());
  CHECK(staged(*table, 5, range(0, 2)) == nullptr);
  CHECK(staged(*table, 0) == nullptr);
  CHECK(staged(*table, 5, range(1, 2)) != nullptr);
  const auto filtered =
      make_table({{1, 0.0f}}, {true, true, std::make_unique<kvarn::CounterAdmission>(2), 0});
  CHECK(staged(*filtered, 5) == nullptr);
}

// Many keys, some of them equal, on one thread and on several, into a table that has some already.
TEST(many_keys_are_as_those_of_one_import) {
  constexpr size_t kN = 300'000;
  for (const int threads : {1, 3}) {
    kvarn::set_num_threads(threads);
    const auto table = make_table({{1, 0.0f}});
    std::mt19937_64 random(7);
    std::vector<int64_t> keys(kN);
    std::vector<float> rows(kN);
    std::map<int64_t, float> expected;
    for (int64_t key = 0; key < 50'000; key++) expected[key] = 0;
    CHECK(descend(*table, range(0, 50'000), std::vector<float>(50'000), 1.0f).ok());
    for (size_t i = 0; i < kN; i++) {
      keys[i] = i % 3 == 0 ? static_cast<int64_t>(random() % 100'000) : static_cast<int64_t>(random());
      rows[i] = static_cast<float>(i);
      expected[keys[i]] = rows[i];
    }
    const auto import = staged(*table, kN);
    for (size_t at = 0; at < kN; at += 70'000) {
      const EmbeddingTable::Column column{0, rows.data() + at};
      CHECK(import->write(std::min<size_t>(70'000, kN - at), std::span(&column, 1), {}, {}).ok());
    }
    CHECK(import->commit(keys).ok());
    CHECK(table->size() == expected.size());
    std::vector<int64_t> asked;
    for (const auto& [key, row] : expected) asked.push_back(key);
    std::vector<float> found(asked.size());
    CHECK(table->lookup(asked, 0, found).ok());
    bool same = true;
    for (size_t i = 0; i < asked.size(); i++) same = same && found[i] == expected[asked[i]];
    CHECK(same);
  }
}

TEST(beside_updates_lookups_and_cuts) {
  kvarn::set_num_threads(2);
  constexpr size_t kN = 40'000;
  const auto table = two_slots();
  std::atomic<bool> stop = false;
  std::atomic<bool> good = true;
  std::vector<std::thread> others;
  others.emplace_back([&] {
    for (int64_t first = 0; !stop; first = (first + 500) % 60'000) {
      if (!descend(*table, range(first, 600), std::vector<float>(1200), 1.0f).ok()) good = false;
    }
  });
  others.emplace_back([&] {
    // What has come in is there as a whole: {x, -x}, or what new keys start from.
    std::vector<float> rows(2000);
    while (!stop) {
      if (!table->lookup(range(100'000, 1000), 0, rows).ok()) good = false;
      for (size_t i = 0; i < rows.size(); i += 2) {
        const bool is_new = rows[i] == 5 && rows[i + 1] == 5;
        if (!is_new && rows[i] != -rows[i + 1]) good = false;
      }
    }
  });
  others.emplace_back([&] {
    while (!stop) {
      std::unique_ptr<kvarn::Snapshot> cut;
      if (!table->snapshot(1000, {}, &cut).ok()) good = false;
      std::vector<float> rows(cut->admitted().keys.size());
      if (!cut->values(1, 0, rows).ok()) good = false;
    }
  });
  for (int round = 0; round < 6; round++) {
    const int64_t first = 100'000 + round * static_cast<int64_t>(kN) / 2;
    const auto import = staged(*table, kN);
    for (int part = 0; part < 4; part++) CHECK(write(*import, kN / 4, part * static_cast<int>(kN) / 4).ok());
    if (round % 3 != 2) CHECK(import->commit(range(first, kN)).ok());
  }
  stop = true;
  for (std::thread& other : others) other.join();
  CHECK(good);
  CHECK(has(*table, 100'001, 1));
}

}  // namespace

KVARN_TEST_MAIN
