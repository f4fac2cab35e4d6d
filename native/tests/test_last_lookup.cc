// An update that takes the rows of the lookup before it does what one does that searches.
#include <bit>
#include <random>
#include <span>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"
#include "kvarn/engine/last_lookup.h"
#include "tables.h"

namespace {

using namespace kvarn::testing;
using kvarn::Buffer;
using kvarn::EmbeddingTable;
using kvarn::LastLookup;

std::vector<int64_t> everything(EmbeddingTable& table, std::span<const int64_t> keys) {
  std::vector<float> rows(keys.size() * 4);
  std::vector<int64_t> found(keys.size() * 2);
  CHECK(table.lookup(keys, 0, rows).ok());
  CHECK(table.frequency(keys, std::span(found).first(keys.size())).ok());
  CHECK(table.version(keys, std::span(found).last(keys.size())).ok());
  for (const float x : rows) found.push_back(std::bit_cast<int32_t>(x));
  found.push_back(static_cast<int64_t>(table.size()));
  found.push_back(static_cast<int64_t>(table.admitted_size()));
  return found;
}

void traffic(uint32_t seed, bool filtered, size_t batch) {
  const auto make = [&] {
    EmbeddingTable::Options options = recording(true, true);
    if (filtered) options.admission = std::make_unique<kvarn::CounterAdmission>(3);
    return make_table({{4, 0.5f}, {4, 0.1f}}, std::move(options));
  };
  const auto looking = make();
  const auto searching = make();
  const auto both = [&](auto fn) {
    for (EmbeddingTable* table : {looking.get(), searching.get()}) fn(*table);
  };
  std::mt19937 random(seed);
  const auto draw = [&](size_t n) {
    std::vector<int64_t> keys(n);
    for (auto& key : keys) key = static_cast<int64_t>(random() % (2 * batch)) - static_cast<int64_t>(batch);
    return keys;
  };
  const auto all = range(-static_cast<int64_t>(batch), 2 * batch);
  for (int64_t step = 0; step < 60; step++) {
    const auto keys = draw(batch);
    std::vector<float> out(batch * 4);
    CHECK(looking->lookup_or_create(keys, 0, out).ok());
    if (!filtered) CHECK(searching->lookup_or_create(keys, 0, out).ok());
    // What others may do between a lookup and its update.
    const auto some = draw(batch / 8);
    switch (random() % 7) {
      case 0:
        both([&](EmbeddingTable& table) { table.remove(some); });
        break;
      case 1:
        both([&](EmbeddingTable& table) {
          CHECK(import_rows(table, 0, some, std::vector<float>(some.size() * 4, 2.0f)).ok());
        });
        break;
      case 2:
        both([&](EmbeddingTable& table) {
          kvarn::EvictionResult evicted;
          CHECK(table.evict({.steps_to_live = 3}, step, false, &evicted).ok());
        });
        break;
      case 3:
        both([&](EmbeddingTable& table) {
          CHECK(table.create_from(some, 0, std::vector<float>(some.size() * 4, 3.0f)).ok());
        });
        break;
      case 4:
        both([&](EmbeddingTable& table) {
          CHECK(descend(table, some, std::vector<float>(some.size() * 4, 0.25f), 0.5f, step).ok());
        });
        CHECK(looking->lookup_or_create(keys, 0, out).ok());
        if (!filtered) CHECK(searching->lookup_or_create(keys, 0, out).ok());
        both([&](EmbeddingTable& table) { table.remove(std::span(some).first(1)); });
        break;
      default:
        break;
    }
    std::vector<float> grads(batch * 4);
    for (auto& g : grads) g = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    const auto counts = std::vector<int64_t>(batch, 1);
    // A question in between, so that the twin does not take the rows of a lookup.
    CHECK(searching->lookup(draw(1), 0, std::span(out).first(4)).ok());
    both([&](EmbeddingTable& table) {
      CHECK(apply(table, "Adagrad", keys, grads, {1}, {0.1f}, step, counts).ok());
    });
    CHECK(everything(*looking, all) == everything(*searching, all));
  }
}

TEST(whatever_comes_between_the_lookup_and_its_update) {
  for (const int threads : {1, 2}) {
    kvarn::set_num_threads(threads);
    for (uint32_t seed = 0; seed < 8; seed++) {
      traffic(seed, false, 64);
      traffic(seed, true, 64);
    }
    traffic(100, false, 9'000);  // enough for two parts
    traffic(101, true, 9'000);
  }
}

TEST(it_gives_up_the_rows_of_equal_keys_once) {
  LastLookup last;
  Buffer<uint32_t> rows;
  const std::vector<int64_t> keys = {5, 6, 5};
  const auto keep = [&](uint64_t losses) {
    rows.at_least(3)[0] = 9;
    last.keep(keys, rows, true, losses);
  };
  keep(0);
  CHECK(last.take(keys, rows, 0) == LastLookup::kNone);  // nobody had asked for any yet
  keep(0);
  CHECK(last.take(std::vector<int64_t>{5, 6, 7}, rows, 0) == LastLookup::kNone);
  CHECK(last.take(std::vector<int64_t>{5, 6}, rows, 0) == LastLookup::kNone);
  CHECK(last.take(keys, rows, 1) == LastLookup::kNone);  // rows went meanwhile
  CHECK(last.take(keys, rows, 0) == LastLookup::kAll);
  CHECK(rows.data()[0] == 9);
  CHECK(last.take(keys, rows, 0) == LastLookup::kNone);
  for (int i = 0; i < 10; i++) keep(static_cast<uint64_t>(i));
  CHECK(last.take(keys, rows, 3) == LastLookup::kAll);  // and then nobody came, so that it was kept no longer
}

TEST(rows_of_distinct_keys_are_spread_over_all) {
  LastLookup last;
  Buffer<uint32_t> rows;
  const std::vector<int64_t> distinct = {5, 6}, keys = {6, 5, 6};
  const std::vector<int32_t> idx = {1, 0, 1};
  CHECK(last.take(keys, rows, 0) == LastLookup::kNone);  // someone asks for rows
  const auto keep = [&] {
    rows.at_least(3)[0] = 9;
    rows.data()[1] = 4;
    last.keep(distinct, rows, true, 0);
  };
  keep();
  last.spread(keys, idx, distinct);  // of other keys: nothing happens
  CHECK(last.take(distinct, rows, 0) == LastLookup::kAll);
  keep();
  last.spread(distinct, idx, keys);
  CHECK(last.take(distinct, rows, 0) == LastLookup::kNone);
  CHECK(last.take(keys, rows, 0) == LastLookup::kAll);
  CHECK(rows.data()[0] == 4 && rows.data()[1] == 9 && rows.data()[2] == 4);
  last.spread(distinct, idx, keys);  // nothing is kept
  CHECK(last.take(keys, rows, 0) == LastLookup::kNone);
}

}  // namespace

KVARN_TEST_MAIN
