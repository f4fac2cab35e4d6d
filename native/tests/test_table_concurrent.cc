// Readers, writers and snapshots of one table on several threads; ThreadSanitizer watches in the tsan preset.
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"
#include "tables.h"

namespace {

using namespace kvarn::testing;

constexpr size_t kDim = 4;
constexpr size_t kKeys = 12'000;  // enough for a batch to be split
constexpr int kRounds = 6;

// Rows are always updated as a whole, so a torn read would show as unequal elements.
bool rows_are_whole(const std::vector<float>& rows) {
  for (size_t i = 0; i < rows.size(); i += kDim) {
    for (size_t d = 1; d < kDim; d++) {
      if (rows[i + d] != rows[i]) return false;
    }
  }
  return true;
}

void run(bool record_freq) {
  kvarn::set_num_threads(3);
  const auto table = make_table({{kDim, 0.0f}, {kDim, 0.0f}}, recording(record_freq, true));
  std::vector<int64_t> keys(kKeys);
  std::iota(keys.begin(), keys.end(), -100);
  const std::vector<float> ones(kKeys * kDim, 1.0f);
  std::atomic<bool> good = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; i++) {
        if (!descend(*table, keys, ones, -1.0f, i).ok()) good = false;
      }
    });
    threads.emplace_back([&] {
      std::vector<float> out(kKeys * kDim);
      for (int i = 0; i < kRounds; i++) {
        if (!table->lookup_or_create(keys, 0, out).ok() || !rows_are_whole(out)) good = false;
        if (!table->lookup(keys, 1, out).ok() || !rows_are_whole(out)) good = false;
      }
    });
  }
  threads.emplace_back([&] {
    std::vector<float> before;
    std::vector<float> after;
    for (int i = 0; i < kRounds; i++) {
      std::unique_ptr<kvarn::Snapshot> cut;
      if (!table->snapshot(1000, {}, &cut).ok()) good = false;
      before.resize(cut->admitted().keys.size() * kDim);
      after.resize(before.size());
      CHECK(cut->values(0, 0, before).ok());
      std::this_thread::yield();
      CHECK(cut->values(0, 0, after).ok());
      if (before != after || !rows_are_whole(before)) good = false;
    }
  });
  threads.emplace_back([&] {
    const std::vector<int64_t> other = {1'000'000, 1'000'001};
    const std::vector<float> rows(2 * kDim, 5.0f);
    for (int i = 0; i < kRounds * 10; i++) {
      if (!import_rows(*table, 1, other, rows).ok()) good = false;
      if (table->remove(other) != 2) good = false;
    }
  });
  for (auto& thread : threads) thread.join();
  CHECK(good);
  std::vector<float> out(kKeys * kDim);
  CHECK(table->lookup(keys, 0, out).ok());
  CHECK(out == std::vector<float>(out.size(), 2.0f * kRounds));
  CHECK(table->size() == kKeys);
  std::vector<int64_t> freqs(kKeys);
  CHECK(table->frequency(keys, freqs).ok());
  CHECK(freqs == std::vector<int64_t>(kKeys, record_freq ? 2 * kRounds : 0));
}

TEST(everything_at_once) { run(false); }
TEST(everything_at_once_counting) { run(true); }

}  // namespace

KVARN_TEST_MAIN
