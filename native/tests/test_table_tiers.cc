// A table whose memory holds few of its entries gives the numbers of one that holds them all.
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kvarn/base/thread_pool.h"
#include "tables.h"

namespace {

namespace fs = std::filesystem;
using kvarn::CacheStrategy;
using kvarn::Code;
using kvarn::EmbeddingTable;
using kvarn::Snapshot;
using kvarn::Status;
using kvarn::testing::make_table;
using kvarn::testing::range;

constexpr size_t kDim = 3;        // padded to 4 by the bound of memory
constexpr size_t kRowBytes = 32;  // with one slot

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "kvarn_tiers_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

std::unique_ptr<EmbeddingTable> tiered(const Folder& folder, size_t capacity, CacheStrategy cache,
                                       EmbeddingTable::Options options = {true, true}) {
  auto table = make_table({{kDim, 0.5f}, {kDim, 0.1f}}, std::move(options));
  CHECK(table->set_tiers({folder.path, capacity * kRowBytes, cache, 16'384}).ok());
  return table;
}

std::unique_ptr<EmbeddingTable> plain(EmbeddingTable::Options options = {true, true}) {
  return make_table({{kDim, 0.5f}, {kDim, 0.1f}}, std::move(options));
}

struct Shown {
  std::vector<int64_t> keys;
  std::vector<std::vector<float>> values;
  std::vector<int64_t> freqs;
  std::vector<int64_t> versions;
  std::vector<int32_t> offsets;
  bool operator==(const Shown&) const = default;
};

// What a cut shows, inside each bucket by key: the order there means nothing.
Shown shown(const Snapshot& cut) {
  Shown raw;
  raw.keys.assign(cut.admitted().keys.begin(), cut.admitted().keys.end());
  raw.offsets = cut.admitted().partition_offset;
  const size_t n = raw.keys.size();
  raw.freqs.resize(n);
  raw.versions.resize(n);
  CHECK(cut.freqs(0, raw.freqs).ok() && cut.versions(0, raw.versions).ok());
  for (size_t slot = 0; slot < cut.layout().slots().size(); slot++) {
    const size_t dim = cut.layout().slots()[slot].dim;
    raw.values.emplace_back(n * dim);
    // In pieces that do not fit anything.
    for (size_t at = 0; at < n; at += 77) {
      const size_t some = std::min<size_t>(77, n - at);
      CHECK(cut.values(slot, at, std::span(raw.values.back()).subspan(at * dim, some * dim)).ok());
    }
  }
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t b = 0; b + 1 < raw.offsets.size(); b++) {
    std::sort(order.begin() + raw.offsets[b], order.begin() + raw.offsets[b + 1],
              [&](size_t x, size_t y) { return raw.keys[x] < raw.keys[y]; });
  }
  Shown out;
  out.offsets = raw.offsets;
  for (const size_t i : order) {
    out.keys.push_back(raw.keys[i]);
    out.freqs.push_back(raw.freqs[i]);
    out.versions.push_back(raw.versions[i]);
  }
  for (size_t slot = 0; slot < raw.values.size(); slot++) {
    const size_t dim = cut.layout().slots()[slot].dim;
    out.values.emplace_back();
    for (const size_t i : order) {
      const float* row = raw.values[slot].data() + i * dim;
      out.values.back().insert(out.values.back().end(), row, row + dim);
    }
  }
  return out;
}

Shown shown(EmbeddingTable& table) {
  std::unique_ptr<Snapshot> cut;
  CHECK(table.snapshot(10, {}, &cut).ok());
  return shown(*cut);
}

// The same random calls of two tables; every answer is compared.
void drive(uint32_t seed, CacheStrategy cache, size_t capacity, int64_t filter, int threads) {
  kvarn::set_num_threads(threads);
  const Folder folder;
  const auto options = [&] {
    EmbeddingTable::Options o{true, true};
    if (filter != 0) o.admission = std::make_unique<kvarn::CounterAdmission>(filter);
    return o;
  };
  const auto a = tiered(folder, capacity, cache, options());
  const auto b = plain(options());
  std::mt19937 random(seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const auto some_keys = [&] {
    std::vector<int64_t> keys(below(3) == 0 ? 0 : below(60));
    const size_t universe = below(3) == 0 ? 400 : 60;
    for (auto& key : keys) key = static_cast<int64_t>(below(universe)) * 1'000'003 - 7'000'000;
    return keys;
  };
  std::vector<std::pair<std::unique_ptr<Snapshot>, Shown>> cuts;
  for (int64_t step = 0; step < 120; step++) {
    const auto keys = some_keys();
    std::vector<float> x(keys.size() * kDim);
    std::vector<float> y(keys.size() * kDim);
    switch (below(12)) {
      case 0:
      case 1: {
        const size_t slot = below(2);
        CHECK(a->lookup_or_create(keys, slot, x).ok() && b->lookup_or_create(keys, slot, y).ok());
        CHECK(x == y);
        break;
      }
      case 2:
        CHECK(a->lookup(keys, 0, x).ok() && b->lookup(keys, 0, y).ok());
        CHECK(x == y);
        break;
      case 3:
      case 4:
      case 5:
      case 6: {
        std::vector<float> grads(keys.size() * kDim);
        for (auto& g : grads) g = static_cast<float>(below(100)) / 50.0f - 1.0f;
        std::vector<int64_t> counts(below(2) == 0 ? 0 : keys.size());
        for (auto& c : counts) c = static_cast<int64_t>(below(3));
        for (auto* table : {a.get(), b.get()}) {
          CHECK(kvarn::testing::apply(*table, "Adagrad", keys, grads, {1}, {0.1f}, step, counts).ok());
        }
        break;
      }
      case 7: {
        std::vector<int64_t> freqs(keys.size());
        for (auto& f : freqs) f = static_cast<int64_t>(below(9));
        const size_t slot = below(2);
        for (auto& v : x) v = static_cast<float>(below(1000));
        for (auto* table : {a.get(), b.get()}) {
          CHECK(kvarn::testing::import_rows(*table, slot, keys, x, freqs, freqs).ok());
        }
        break;
      }
      case 8: {
        CHECK(a->remove(keys) == b->remove(keys));
        break;
      }
      case 9: {
        kvarn::EvictionRule rule;
        rule.steps_to_live = static_cast<int64_t>(20 + below(60));
        if (below(2) == 0) rule.max_keys = 30 + below(200);
        if (below(2) == 0) rule.min_keys = below(20);
        if (below(3) == 0) rule.l2_weight_threshold = 0.2f;
        kvarn::EvictionResult p;
        kvarn::EvictionResult q;
        const bool dry = below(3) == 0;
        CHECK(a->evict(rule, step, dry, &p).ok() && b->evict(rule, step, dry, &q).ok());
        std::ranges::sort(p.keys);
        std::ranges::sort(q.keys);
        CHECK(p.keys == q.keys && p.examined == q.examined && p.spared == q.spared);
        break;
      }
      case 10: {
        for (auto& v : x) v = static_cast<float>(below(1000));
        CHECK(a->create_from(keys, 0, x).ok() && b->create_from(keys, 0, x).ok());
        break;
      }
      default:
        if (below(40) == 0) {
          a->clear();
          b->clear();
        }
        std::unique_ptr<Snapshot> cut;
        CHECK(a->snapshot(10, {}, &cut).ok());
        cuts.emplace_back(std::move(cut), shown(*b));
        if (cuts.size() > 3) cuts.erase(cuts.begin());
    }
    std::vector<int64_t> p(keys.size());
    std::vector<int64_t> q(keys.size());
    CHECK(a->frequency(keys, p).ok() && b->frequency(keys, q).ok() && p == q);
    CHECK(a->version(keys, p).ok() && b->version(keys, q).ok() && p == q);
    CHECK(a->size() == b->size() && a->admitted_size() == b->admitted_size());
    const auto counts = a->tier_counts();
    CHECK(counts.hot + counts.disk.live == a->admitted_size());
    CHECK(counts.hot <= std::max<size_t>(capacity, 60));  // a batch may need more, until the next
    if (below(10) == 0) {
      for (const auto& [cut, expected] : cuts) CHECK(shown(*cut) == expected);
      a->set_cache(below(2) == 0 ? CacheStrategy::kLru : CacheStrategy::kLfu);
    }
  }
  CHECK(shown(*a) == shown(*b));
  for (auto* table : {a.get(), b.get()}) {
    CHECK(kvarn::testing::add_slot(*table, std::vector<float>{1, 2, 3, 4, 5, 6}, 2).ok());
  }
  CHECK(shown(*a) == shown(*b));
  for (const auto& [cut, expected] : cuts) CHECK(shown(*cut) == expected);
}

TEST(random_calls_give_the_same_numbers) {
  for (uint32_t seed = 0; seed < 40; seed++) {
    drive(seed, seed % 2 == 0 ? CacheStrategy::kLru : CacheStrategy::kLfu, 1 + seed * 3, 0, 1);
  }
}

TEST(and_with_a_filter) {
  for (uint32_t seed = 100; seed < 120; seed++) drive(seed, CacheStrategy::kLfu, 1 + seed % 40, 3, 1);
}

std::vector<int32_t> tiers_of(EmbeddingTable& table, const std::vector<int64_t>& keys) {
  std::vector<int32_t> tiers(keys.size());
  CHECK(table.tier(keys, tiers).ok());
  return tiers;
}

void look_up(EmbeddingTable& table, const std::vector<int64_t>& keys) {
  std::vector<float> out(keys.size() * kDim);
  CHECK(table.lookup_or_create(keys, 0, out).ok());
}

void train(EmbeddingTable& table, const std::vector<int64_t>& keys) {
  const std::vector<float> grads(keys.size() * kDim, 1.0f);
  CHECK(kvarn::testing::apply(table, "Adagrad", keys, grads, {1}, {0.1f}, 1).ok());
}

TEST(the_least_frequent_leave_and_what_is_asked_for_comes_back) {
  const Folder folder;
  const auto table = tiered(folder, 3, CacheStrategy::kLfu);
  CHECK(table->tier_counts().capacity == 3);
  train(*table, {1, 2, 3});
  train(*table, {1, 3});
  CHECK((tiers_of(*table, {1, 2, 3, 4}) == std::vector<int32_t>{0, 0, 0, -1}));
  look_up(*table, {4});
  CHECK((tiers_of(*table, {1, 2, 3, 4}) == std::vector<int32_t>{0, 1, 0, 0}));
  look_up(*table, {2});  // 4 was needed least
  CHECK((tiers_of(*table, {1, 2, 3, 4}) == std::vector<int32_t>{0, 0, 0, 1}));
  const auto counts = table->tier_counts();
  CHECK(counts.hits_dram == 0 && counts.hits_disk == 1 && counts.misses == 1);
  CHECK(table->remove(range(1, 4)) == 4);
  CHECK(table->tier_counts().disk.live == 0 && table->tier_counts().hot == 0);
}

TEST(the_least_recently_used_leave) {
  const Folder folder;
  const auto table = tiered(folder, 3, CacheStrategy::kLru);
  train(*table, {1, 2, 3});
  train(*table, {1, 1, 1});
  train(*table, {4});
  CHECK((tiers_of(*table, {1, 2, 3, 4}) == std::vector<int32_t>{0, 1, 0, 0}));
}

TEST(a_batch_larger_than_memory_works) {
  const Folder folder;
  const auto table = tiered(folder, 10, CacheStrategy::kLfu);
  const auto keys = range(0, 30'000);
  train(*table, keys);
  CHECK(table->tier_counts().hot == 10);
  look_up(*table, keys);
  train(*table, keys);
  std::vector<int64_t> freqs(keys.size());
  CHECK(table->frequency(keys, freqs).ok());
  CHECK(freqs == std::vector<int64_t>(keys.size(), 2));
  CHECK(table->tier_counts().disk.total < 3 * table->tier_counts().disk.live);
}

TEST(a_disk_that_is_full_changes_nothing) {
  std::signal(SIGXFSZ, SIG_IGN);
  const Folder folder;
  const auto table = tiered(folder, 20, CacheStrategy::kLfu);
  train(*table, range(0, 20));
  rlimit old;
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit none = {0, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);
  // The update itself succeeds: there is memory for it, for once.
  train(*table, range(100, 5));
  const Shown before = shown(*table);
  const auto keys = range(200, 5);
  std::vector<float> out(keys.size() * kDim, 9.0f);
  CHECK(table->lookup_or_create(keys, 0, out).code() == Code::kResourceExhausted);
  CHECK(table->size() == 25);
  const Status status = kvarn::testing::apply(*table, "Adagrad", keys, out, {1}, {0.1f}, 1);
  CHECK(status.code() == Code::kResourceExhausted);
  CHECK(kvarn::testing::import_rows(*table, 0, keys, out).code() == Code::kResourceExhausted);
  CHECK(shown(*table) == before);
  ::setrlimit(RLIMIT_FSIZE, &old);
  train(*table, keys);
  CHECK(table->tier_counts().hot == 20 && table->size() == 30);
}

TEST(a_damaged_record_is_an_error_and_changes_nothing) {
  const Folder folder;
  const auto table = tiered(folder, 2, CacheStrategy::kLru);
  train(*table, range(0, 50));
  for (const auto& entry : fs::directory_iterator(folder.path)) {
    if (entry.path().extension() != ".emb") continue;
    std::fstream stream(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(30);
    stream.put('x');
  }
  const std::vector<int64_t> keys = {0, 1, 2, 3};
  CHECK((tiers_of(*table, keys) == std::vector<int32_t>{1, 1, 1, 1}));
  std::vector<float> out(keys.size() * kDim);
  CHECK(table->lookup(keys, 0, out).code() == Code::kDataLoss);
  CHECK(table->lookup_or_create(keys, 0, out).code() == Code::kDataLoss);
  CHECK(kvarn::testing::apply(*table, "Adagrad", keys, out, {1}, {0.1f}, 2).code() == Code::kDataLoss);
  std::vector<int64_t> versions(keys.size());
  CHECK(table->version(keys, versions).code() == Code::kDataLoss);
  kvarn::EvictionResult result;
  CHECK(table->evict({.steps_to_live = 1}, 100, false, &result).code() == Code::kDataLoss);
  std::unique_ptr<Snapshot> cut;
  CHECK(table->snapshot(10, {}, &cut).ok());
  std::vector<float> all(50 * kDim);
  CHECK(cut->values(0, 0, all).code() == Code::kDataLoss);
  CHECK(table->size() == 50);
  // The others are well, and a key that cannot be read can be removed.
  look_up(*table, {1, 2, 3});
  CHECK(table->remove(std::vector<int64_t>{0}) == 1);
  CHECK(table->snapshot(10, {}, &cut).ok());
  all.resize(49 * kDim);
  CHECK(cut->values(0, 0, all).ok());
}

TEST(a_cut_outlives_its_table) {
  const Folder folder;
  auto table = tiered(folder, 5, CacheStrategy::kLfu);
  train(*table, range(0, 500));
  std::unique_ptr<Snapshot> cut;
  CHECK(table->snapshot(10, {}, &cut).ok());
  const Shown before = shown(*cut);
  train(*table, range(0, 700));
  table->clear();
  CHECK(shown(*cut) == before);
  table.reset();
  CHECK(shown(*cut) == before);
  CHECK(fs::is_empty(folder.path));
}

TEST(everything_at_once) {
  kvarn::set_num_threads(2);
  const Folder folder;
  const auto table = tiered(folder, 300, CacheStrategy::kLfu);
  std::atomic<bool> good = true;
  std::vector<std::thread> threads;
  const auto rows_are_whole = [](const std::vector<float>& rows) {
    for (size_t i = 0; i < rows.size(); i += kDim) {
      if (rows[i] != rows[i + 1] || rows[i] != rows[i + 2]) return false;
    }
    return true;
  };
  for (int t = 0; t < 2; t++) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<uint32_t>(t));
      for (int i = 0; i < 60; i++) {
        std::vector<int64_t> keys(100);
        for (auto& key : keys) key = static_cast<int64_t>(random() % 1200);
        const std::vector<float> grads(keys.size() * kDim, 1.0f);
        const Status s = kvarn::testing::apply(*table, "Adagrad", keys, grads, {1}, {0.01f}, i);
        if (!s.ok()) good = false;
      }
    });
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<uint32_t>(100 + t));
      std::vector<float> out(100 * kDim);
      for (int i = 0; i < 60; i++) {
        std::vector<int64_t> keys(100);
        for (auto& key : keys) key = static_cast<int64_t>(random() % 1500);
        const Status s = t == 0 ? table->lookup(keys, 0, out) : table->lookup_or_create(keys, 1, out);
        if (!s.ok() || !rows_are_whole(out)) good = false;
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 12; i++) {
      std::unique_ptr<Snapshot> cut;
      if (!table->snapshot(10, {}, &cut).ok()) good = false;
      std::vector<float> values(cut->admitted().keys.size() * kDim);
      std::vector<float> again(values.size());
      if (!cut->values(0, 0, values).ok() || !rows_are_whole(values)) good = false;
      std::this_thread::yield();
      if (!cut->values(0, 0, again).ok() || values != again) good = false;
    }
  });
  threads.emplace_back([&] {
    for (int i = 0; i < 12; i++) {
      kvarn::EvictionResult result;
      if (!table->evict({.steps_to_live = 5, .max_keys = 1000}, i * 5, false, &result).ok()) good = false;
      table->remove(range(i * 100, 50));
      std::vector<int64_t> versions(1200);
      if (!table->version(range(0, 1200), versions).ok()) good = false;
    }
  });
  for (auto& thread : threads) thread.join();
  CHECK(good);
  const auto counts = table->tier_counts();
  CHECK(counts.hot + counts.disk.live == table->size());
  CHECK(counts.compaction_errors == 0);
}

TEST(the_number_of_threads_changes_nothing) {
  std::vector<std::vector<int32_t>> tiers;
  std::vector<Shown> numbers;
  for (const int threads : {1, 3}) {
    kvarn::set_num_threads(threads);
    const Folder folder;
    const auto table = tiered(folder, 1000, CacheStrategy::kLru);
    std::mt19937 random(3);
    for (int i = 0; i < 3; i++) {
      std::vector<int64_t> keys(20'000);
      for (auto& key : keys) key = static_cast<int64_t>(random() % 15'000);
      look_up(*table, keys);
      train(*table, keys);
    }
    tiers.push_back(tiers_of(*table, range(0, 15'000)));
    numbers.push_back(shown(*table));
  }
  CHECK(tiers[0] == tiers[1] && numbers[0] == numbers[1]);
}

}  // namespace

KVARN_TEST_MAIN
