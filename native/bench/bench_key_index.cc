// The key index beside the bare C table of bench/limits.c: the same keys, one thread, CPU seconds in turn.
//
//   bench_key_index [speed | bytes | pauses | scale] [millions of keys]
//
// speed: find_many and find_or_insert_many against kv_ht_lookup and kv_ht_insert without values.
// bytes: memory per key at many sizes. pauses: the longest single insertions. scale: a search among 1 million
// keys and among many.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kvarn/engine/key_index.h"

extern "C" {
void* kv_ht_new(int log2cap, int64_t rows, int dim);
void kv_ht_free(void* table);
double kv_ht_insert(void* table, const int64_t* keys, int64_t n, float value, float accumulator);
double kv_ht_lookup(void* table, const int64_t* keys, int64_t n, int64_t batches, float* out, int threads);
}

namespace {

using kvarn::KeyIndex;

constexpr size_t kFill = 5'000'000;
constexpr size_t kIds = 10'000'000;
constexpr size_t kBatch = 2048 * 26;
constexpr size_t kBatches = 10;
constexpr int kSamples = 9;

// As mix_keys of bench/common.py.
int64_t key_of(uint64_t rank) {
  uint64_t x = (rank + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return static_cast<int64_t>((x ^ (x >> 31)) >> 1);
}

std::vector<int64_t> keys_of(size_t first, size_t n) {
  std::vector<int64_t> keys(n);
  for (size_t i = 0; i < n; i++) keys[i] = key_of(first + i);
  return keys;
}

// As w4_ranks of bench/common.py, ranks past the fill folded back: bounded Zipf, or uniform for a = 0.
std::vector<int64_t> drawn_keys(double a, size_t n, size_t fill) {
  std::mt19937_64 random(7);
  std::vector<double> cdf;
  double sum = 0;
  for (size_t i = 1; a > 0 && i <= kIds; i++) cdf.push_back(sum += std::pow(static_cast<double>(i), -a));
  std::vector<int64_t> keys(n);
  for (int64_t& key : keys) {
    size_t rank = random() % fill;
    if (a > 0) {
      const double u = std::uniform_real_distribution<double>(0, sum)(random);
      rank = static_cast<size_t>(std::lower_bound(cdf.begin(), cdf.end() - 1, u) - cdf.begin()) % fill;
    }
    key = key_of(rank);
  }
  return keys;
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double timed(const std::function<void()>& work) {
  const double start = cpu_seconds();
  work();
  return cpu_seconds() - start;
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

void fill(KeyIndex& index, size_t n) {
  std::vector<uint32_t> rows(100'000);
  for (size_t done = 0; done < n; done += rows.size()) {
    const std::vector<int64_t> keys = keys_of(done, std::min(rows.size(), n - done));
    index.find_or_insert_many(keys.data(), nullptr, keys.size(), static_cast<uint32_t>(done), rows.data());
  }
}

void report(const char* what, size_t n, const std::vector<double>& ours, const std::vector<double>& limit) {
  const double scale = 1e9 / static_cast<double>(n);
  std::printf("%-16s %6.2f ns a key, limit %6.2f, ratio %.2f\n", what, median(ours) * scale,
              median(limit) * scale, median(ours) / median(limit));
}

void speed() {
  KeyIndex index;
  void* limit = kv_ht_new(23, 0, 0);
  const std::vector<int64_t> all = keys_of(0, kFill);
  std::vector<double> ours, theirs;
  ours.push_back(timed([&] { fill(index, kFill); }));
  theirs.push_back(timed([&] { kv_ht_insert(limit, all.data(), kFill, 0, 0); }));
  report("fill", kFill, ours, theirs);
  std::vector<uint32_t> rows(kBatch);
  float out = 0;
  const struct {
    const char* name;
    double a;
  } draws[] = {{"zipf1.05", 1.05}, {"zipf1.2", 1.2}, {"unif", 0}};
  for (const auto& draw : draws) {
    const std::vector<int64_t> keys = drawn_keys(draw.a, kBatch * kBatches, kFill);
    const auto each = [&](const auto& call) {
      for (size_t b = 0; b < kBatches; b++) call(keys.data() + b * kBatch);
    };
    std::vector<double> found, given, bare;
    for (int i = 0; i < kSamples; i++) {
      bare.push_back(timed([&] { kv_ht_lookup(limit, keys.data(), kBatch, kBatches, &out, 1); }));
      found.push_back(timed([&] { each([&](auto* k) { index.find_many(k, kBatch, rows.data()); }); }));
      given.push_back(timed([&] {
        each([&](auto* k) { index.find_or_insert_many(k, nullptr, kBatch, kFill, rows.data()); });
      }));
    }
    report((std::string("find ") + draw.name).c_str(), keys.size(), found, bare);
    report((std::string("f_o_i ") + draw.name).c_str(), keys.size(), given, bare);
  }
  ours.clear();
  theirs.clear();
  size_t next = kFill;
  for (int i = 0; i < kSamples; i++) {
    const std::vector<int64_t> fresh = keys_of(next, 2 * kBatch);
    ours.push_back(timed([&] {
      for (size_t b = 0; b < 2; b++) {
        index.find_or_insert_many(fresh.data() + b * kBatch, nullptr, kBatch, static_cast<uint32_t>(next),
                                  rows.data());
      }
    }));
    theirs.push_back(timed([&] { kv_ht_insert(limit, fresh.data(), 2 * kBatch, 0, 0); }));
    next += 2 * kBatch;
  }
  report("new keys", 2 * kBatch, ours, theirs);
  kv_ht_free(limit);
}

void bytes(size_t most) {
  KeyIndex index;
  size_t n = 0;
  double worst = 0, worst_large = 0, sum = 0;
  size_t worst_at = 0, worst_large_at = 0, n_sizes = 0;
  for (double next = 10; n < most; next *= 1.02) {
    for (; n < static_cast<size_t>(next); n++) index.insert(key_of(n), static_cast<uint32_t>(n));
    const double a_key = static_cast<double>(index.bytes()) / static_cast<double>(n);
    if (n >= 1000) {
      if (a_key > worst) worst = a_key, worst_at = n;
      if (n >= 100'000 && a_key > worst_large) worst_large = a_key, worst_large_at = n;
      sum += a_key;
      if (n_sizes++ % 25 == 0) std::printf("%10zu keys %8.2f bytes a key\n", n, a_key);
    }
  }
  std::printf("from 1000 keys: mean %.2f, most %.2f (at %zu); from 100000: most %.2f (at %zu)\n",
              sum / static_cast<double>(n_sizes), worst, worst_at, worst_large, worst_large_at);
}

void pauses(size_t n) {
  using Clock = std::chrono::steady_clock;
  KeyIndex index;
  std::vector<double> slowest;
  for (size_t i = 0; i < n; i++) {
    const auto start = Clock::now();
    index.insert(key_of(i), static_cast<uint32_t>(i));
    slowest.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    if (slowest.size() == 1'000'000) {
      std::nth_element(slowest.begin(), slowest.begin() + 100, slowest.end(), std::greater<>());
      slowest.resize(100);
    }
  }
  std::sort(slowest.begin(), slowest.end(), std::greater<>());
  std::printf("slowest of %zu insertions: %.0f, %.0f, %.0f us; the 10th %.0f, the 100th %.0f\n", n,
              slowest[0], slowest[1], slowest[2], slowest[9], slowest[99]);
  const auto start = Clock::now();
  const auto view = index.view();
  std::printf("a view of %zu segments: %.0f us\n", view->segments(),
              std::chrono::duration<double, std::micro>(Clock::now() - start).count());
}

void scale(size_t most) {
  KeyIndex index;
  double first = 0;
  for (const size_t n : {size_t{1'000'000}, size_t{5'000'000}, most}) {
    for (size_t done = index.size(); done < n; done = index.size()) {
      std::vector<uint32_t> rows(std::min<size_t>(100'000, n - done));
      const std::vector<int64_t> keys = keys_of(done, rows.size());
      index.find_or_insert_many(keys.data(), nullptr, keys.size(), static_cast<uint32_t>(done), rows.data());
    }
    const std::vector<int64_t> keys = drawn_keys(0, kBatch * kBatches, n);
    std::vector<uint32_t> rows(keys.size());
    std::vector<double> samples;
    for (int i = 0; i < kSamples; i++) {
      samples.push_back(timed([&] { index.find_many(keys.data(), keys.size(), rows.data()); }));
    }
    const double ns = median(samples) * 1e9 / static_cast<double>(keys.size());
    if (first == 0) first = ns;
    std::printf("%10zu keys: %.2f ns a search, %.2f x, %.2f bytes a key\n", n, ns, ns / first,
                static_cast<double>(index.bytes()) / static_cast<double>(n));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "speed";
  const size_t millions = argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 0;
  if (what == "speed")
    speed();
  else if (what == "bytes")
    bytes((millions ? millions : 5) * 1'000'000);
  else if (what == "pauses")
    pauses((millions ? millions : 5) * 1'000'000);
  else if (what == "scale")
    scale((millions ? millions : 50) * 1'000'000);
  else
    return 1;
}
