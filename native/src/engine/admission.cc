#include "kvarn/engine/admission.h"

#include <algorithm>
#include <cstring>

namespace kvarn {
namespace {

// One seed for each hash function: the first 25 primes.
constexpr uint64_t kSeeds[] = {2,  3,  5,  7,  11, 13, 17, 19, 23, 29, 31, 37, 41,
                               43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97};

uint64_t mix(uint64_t h) {
  h ^= h >> 23;
  h *= 0x2127599bf4325c37u;
  return h ^ (h >> 47);
}

}  // namespace

BloomAdmission::BloomAdmission(int64_t filter_freq, size_t num_hash, size_t num_counter, size_t counter_bytes)
    : filter_freq_(filter_freq),
      num_hash_(std::min(num_hash, std::size(kSeeds))),
      num_counter_(num_counter),
      counter_bytes_(counter_bytes),
      most_(counter_bytes == 8 ? UINT64_MAX : (uint64_t{1} << (8 * counter_bytes)) - 1),
      counters_(num_counter * counter_bytes) {}

uint64_t BloomAdmission::hash(uint64_t key, uint64_t seed) {
  constexpr uint64_t m = 0x880355f21e6d1965u;
  uint64_t h = seed ^ (8 * m);
  h = (h ^ mix(key)) * m;
  h *= m;  // the second word is 0, and so is its mix
  return mix(h);
}

uint64_t BloomAdmission::counter(size_t at) const {
  uint64_t value = 0;
  std::memcpy(&value, counters_.data() + at * counter_bytes_, counter_bytes_);
  return value;
}

void BloomAdmission::set_counter(size_t at, uint64_t value) {
  value = std::min(value, most_);
  std::memcpy(counters_.data() + at * counter_bytes_, &value, counter_bytes_);
}

size_t BloomAdmission::place(int64_t key, size_t function) const {
  return static_cast<size_t>(hash(static_cast<uint64_t>(key), kSeeds[function]) % num_counter_);
}

bool BloomAdmission::admits(int64_t key, int64_t /*seen*/, int64_t count) {
  if (add_counts(least(key), count) >= filter_freq_) return true;
  for (size_t i = 0; i < num_hash_; i++) {
    const size_t at = place(key, i);
    // Two functions may share a counter: it goes up for each.
    if (counter(at) < static_cast<uint64_t>(filter_freq_)) {
      set_counter(at, counter(at) + static_cast<uint64_t>(count));
    }
  }
  return false;
}

int64_t BloomAdmission::least(int64_t key) const {
  uint64_t least = UINT64_MAX;
  for (size_t i = 0; i < num_hash_; i++) least = std::min(least, counter(place(key, i)));
  return static_cast<int64_t>(std::min<uint64_t>(least, INT64_MAX));
}

int64_t BloomAdmission::frequency_of_admitted(int64_t key) const {
  return std::max(least(key), filter_freq_);
}

void BloomAdmission::raise(int64_t key, int64_t freq) {
  for (size_t i = 0; i < num_hash_; i++) {
    const size_t at = place(key, i);
    set_counter(at, std::max(counter(at), static_cast<uint64_t>(std::max<int64_t>(freq, 0))));
  }
}

bool BloomAdmission::imported(int64_t key, int64_t freq) {
  raise(key, freq);
  return freq >= filter_freq_;
}

int64_t BloomAdmission::frequency_of_imported(int64_t key, int64_t freq) {
  freq = std::max(freq, filter_freq_);
  raise(key, freq);
  return freq;
}

void BloomAdmission::clear() { std::ranges::fill(counters_, uint8_t{0}); }

}  // namespace kvarn
