// Everything a table can do, on several threads at once: with and without filter and tiers, no cut shows half
// an update. ThreadSanitizer watches in the tsan preset.
//
// A writer updates all of its keys in its t-th call, with gradients 1, t by Momentum with momentum 0 and
// rate 1. A row that was updated u times, last by call t, then has the value -u, -(t + (t - 1) + ...); the
// slot 1, t; the frequency u and the version t. Any mixture of two moments is none of these.
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvarn/base/thread_pool.h"
#include "tables.h"

namespace {

using namespace kvarn::testing;
using kvarn::EmbeddingTable;

constexpr int kWriters = 3;
constexpr size_t kKeysOfAWriter = 3000;  // enough for a batch to be split
constexpr size_t kDim = 2;
constexpr int kCuts = 12;

struct Setting {
  int64_t filter_freq = 0;
  bool tiers = false;
};

// Whether every entry of the cut is of one moment.
bool is_whole(const kvarn::Snapshot& cut, int64_t filter_freq) {
  const auto& keys = cut.admitted().keys;
  std::vector<float> values(keys.size() * kDim);
  std::vector<float> slots(keys.size() * kDim);
  std::vector<int64_t> freqs(keys.size());
  std::vector<int64_t> versions(keys.size());
  if (!cut.values(0, 0, values).ok() || !cut.values(1, 0, slots).ok() || !cut.freqs(0, freqs).ok() ||
      !cut.versions(0, versions).ok()) {
    return false;
  }
  for (size_t i = 0; i < keys.size(); i++) {
    const int64_t u = freqs[i] - std::max<int64_t>(0, filter_freq - 1);
    const int64_t t = versions[i];
    const auto sum = static_cast<float>(u * t - u * (u - 1) / 2);
    if (u < 1 || values[2 * i] != -static_cast<float>(u) || values[2 * i + 1] != -sum || slots[2 * i] != 1 ||
        slots[2 * i + 1] != static_cast<float>(t)) {
      return false;
    }
  }
  return true;
}

void run(const Setting& setting) {
  kvarn::set_num_threads(2);
  std::string folder = (std::filesystem::temp_directory_path() / "kvarn_traffic_XXXXXX").string();
  CHECK(::mkdtemp(folder.data()) != nullptr);
  {
    EmbeddingTable::Options options = recording(true, true);
    if (setting.filter_freq != 0) {
      options.admission = std::make_unique<kvarn::CounterAdmission>(setting.filter_freq);
    }
    const auto table = make_table({{kDim, 0.0f}, {kDim, 0.0f}}, std::move(options));
    if (setting.tiers) {
      const size_t a_third = kWriters * kKeysOfAWriter / 3 * 32;
      CHECK(table->set_tiers({folder, a_third, kvarn::CacheStrategy::kLru, 1 << 16}).ok());
    }
    table->record_touches(true);
    std::atomic<bool> stop = false;
    std::atomic<bool> good = true;
    std::atomic<int> updates = 0;
    const auto check = [&](bool ok) {
      if (!ok) good = false;
    };
    std::vector<std::thread> threads;
    const auto loop = [&](std::function<void(int64_t)> work) {
      threads.emplace_back([&stop, work = std::move(work)] {
        for (int64_t t = 1; !stop; t++) work(t);
      });
    };
    for (int w = 0; w < kWriters; w++) {
      const auto keys = range(static_cast<int64_t>(w * kKeysOfAWriter) - 100, kKeysOfAWriter);
      loop([&, keys](int64_t t) {
        std::vector<float> grads(keys.size() * kDim, 1.0f);
        for (size_t i = 1; i < grads.size(); i += kDim) grads[i] = static_cast<float>(t);
        check(apply(*table, "Momentum", keys, grads, {1}, {1.0f, 0.0f}, t).ok());
        updates++;
      });
    }
    const auto everything = range(-100, kWriters * kKeysOfAWriter);
    loop([&](int64_t t) {
      kvarn::EvictionRule rule;
      rule.max_keys = everything.size() / 2;
      rule.min_frequency = t % 3;
      kvarn::EvictionResult result;
      check(table->evict(rule, t, t % 4 == 0, &result).ok());
      table->remove(range(t * 37 % 8000 - 100, 500));
      if (t % 64 == 0) table->clear();
    });
    loop([&](int64_t t) {
      const auto keys = range(t * 53 % 8000 - 100, 600);
      std::vector<float> rows(keys.size() * kDim);
      std::vector<int64_t> numbers(keys.size());
      std::vector<int32_t> tiers(keys.size());
      std::unique_ptr<bool[]> there(new bool[keys.size()]);
      check(table->lookup(keys, t % 2 == 0 ? 0 : 1, rows).ok());
      check(table->contains(keys, {there.get(), keys.size()}).ok());
      check(table->frequency(keys, numbers).ok());
      check(table->version(keys, numbers).ok());
      check(table->tier(keys, tiers).ok());
      check(table->admitted_size() <= everything.size());
      if (t % 16 == 0) {
        table->set_cache(t % 32 == 0 ? kvarn::CacheStrategy::kLru : kvarn::CacheStrategy::kLfu);
      }
    });
    std::unique_ptr<kvarn::Snapshot> before;
    size_t shown = 0;
    for (int i = 0; i < kCuts; i++) {
      for (const int seen = updates; updates < seen + 2 * kWriters;) std::this_thread::yield();
      std::unique_ptr<kvarn::Snapshot> cut;
      const bool increment = before != nullptr && i % 2 == 1;
      check(table->snapshot(1000, increment ? std::optional(before->number()) : std::nullopt, &cut).ok());
      if (cut == nullptr) break;
      check(is_whole(*cut, setting.filter_freq));
      shown += cut->admitted().keys.size();
      if (increment) table->forget_touches(cut->number());
      // The one before has not changed, whatever happened meanwhile.
      check(before == nullptr || is_whole(*before, setting.filter_freq));
      before = std::move(cut);
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    CHECK(good);
    CHECK(shown > 0);
  }
  std::filesystem::remove_all(folder);
}

TEST(every_cut_is_whole) { run({}); }
TEST(every_cut_is_whole_with_a_filter) { run({.filter_freq = 3}); }
TEST(every_cut_is_whole_with_rows_on_disk) { run({.tiers = true}); }
TEST(every_cut_is_whole_with_a_filter_and_rows_on_disk) { run({.filter_freq = 3, .tiers = true}); }

}  // namespace

KVARN_TEST_MAIN
