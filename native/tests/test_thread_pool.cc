// parallel_for covers its range exactly once, nested, from many threads and on few.
#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "kvarn/base/thread_pool.h"

namespace {

bool covers(size_t n, size_t grain) {
  std::vector<std::atomic<int>> seen(n);
  kvarn::parallel_for(n, grain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) seen[i]++;
  });
  for (const auto& s : seen) {
    if (s != 1) return false;
  }
  return true;
}

TEST(every_index_once) {
  for (const int threads : {1, 2, 5}) {
    kvarn::set_num_threads(threads);
    for (const size_t n : {0, 1, 2, 99, 100, 101, 10'000}) {
      for (const size_t grain : {0, 1, 7, 100, 100'000}) CHECK(covers(n, grain));
    }
  }
}

TEST(nested_calls_run_serially) {
  kvarn::set_num_threads(3);
  std::atomic<size_t> sum = 0;
  kvarn::parallel_for(50, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      kvarn::parallel_for(20, 1, [&](size_t b, size_t e) { sum += e - b; });
    }
  });
  CHECK(sum == 1000);
}

TEST(callers_on_many_threads) {
  kvarn::set_num_threads(2);
  std::vector<std::thread> callers;
  std::atomic<int> good = 0;
  for (int i = 0; i < 6; i++) {
    callers.emplace_back([&] {
      for (int k = 0; k < 100; k++) good += covers(1000, 10);
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(good == 600);
}

TEST(thread_count_is_at_least_one) {
  kvarn::set_num_threads(-4);
  CHECK(kvarn::num_threads() == 1);
}

}  // namespace

KVARN_TEST_MAIN
