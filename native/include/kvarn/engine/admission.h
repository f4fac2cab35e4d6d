// Which new keys get an entry: every key, or those that an update has seen often enough.
//
// Source: DeepRec counter_filter_policy.h, bloom_filter_policy.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kvarn/base/counts.h"

namespace kvarn {

class Admission {
 public:
  virtual ~Admission() = default;

  // Whether a key that is not admitted leaves a record of how often it was seen in the table.
  virtual bool keeps_records() const = 0;
  // Whether a key without an entry gets one now: counted `seen` times so far by its record (0 without one),
  // and `count` times by this update. May count the key in a state of its own.
  virtual bool admits(int64_t key, int64_t seen, int64_t count) = 0;
  // How often a key without a record is said to be counted; `recorded` by the table, if it does.
  virtual int64_t frequency(int64_t key, bool admitted, std::optional<int64_t> recorded) const = 0;
  // What a checkpoint is told of an admitted key where the table does not count itself.
  virtual int64_t frequency_of_admitted(int64_t key) const = 0;

  // A checkpoint says that the key was counted `freq` times; whether that admits it.
  virtual bool imported(int64_t key, int64_t freq) = 0;
  // The frequency that an entry from a checkpoint gets. freq < 0: the checkpoint has none.
  virtual int64_t frequency_of_imported(int64_t key, int64_t freq) = 0;
  virtual void clear() = 0;
};

// A key is admitted with its filter_freq-th occurrence; each is counted in a record of its own.
class CounterAdmission final : public Admission {
 public:
  explicit CounterAdmission(int64_t filter_freq) : filter_freq_(filter_freq) {}

  bool keeps_records() const override { return true; }
  bool admits(int64_t /*key*/, int64_t seen, int64_t count) override {
    return add_counts(seen, count) >= filter_freq_;
  }
  int64_t frequency(int64_t /*key*/, bool admitted, std::optional<int64_t> recorded) const override {
    return admitted ? recorded.value_or(filter_freq_) : 0;
  }
  int64_t frequency_of_admitted(int64_t /*key*/) const override { return filter_freq_; }
  bool imported(int64_t /*key*/, int64_t freq) override { return freq >= filter_freq_; }
  int64_t frequency_of_imported(int64_t /*key*/, int64_t freq) override {
    return freq < filter_freq_ ? filter_freq_ : freq;
  }
  void clear() override {}

 private:
  int64_t filter_freq_;
};

// Counted in a counting Bloom filter: less memory, and now and then a key too early.
class BloomAdmission final : public Admission {
 public:
  // 1 to 25 hash functions, at least one counter, counters of 1, 2, 4 or 8 bytes.
  BloomAdmission(int64_t filter_freq, size_t num_hash, size_t num_counter, size_t counter_bytes);

  bool keeps_records() const override { return false; }
  bool admits(int64_t key, int64_t seen, int64_t count) override;
  // What the filter has counted, whatever the table says.
  int64_t frequency(int64_t key, bool /*admitted*/, std::optional<int64_t> /*recorded*/) const override {
    return least(key);
  }
  int64_t frequency_of_admitted(int64_t key) const override;
  bool imported(int64_t key, int64_t freq) override;
  int64_t frequency_of_imported(int64_t key, int64_t freq) override;
  void clear() override;

  // Reference for tests: the hash of one function's seed.
  static uint64_t hash(uint64_t key, uint64_t seed);

 private:
  int64_t least(int64_t key) const;
  uint64_t counter(size_t at) const;
  void set_counter(size_t at, uint64_t value);
  size_t place(int64_t key, size_t function) const;
  void raise(int64_t key, int64_t freq);

  int64_t filter_freq_;
  size_t num_hash_;
  size_t num_counter_;
  size_t counter_bytes_;
  uint64_t most_;  // what a counter can hold
  std::vector<uint8_t> counters_;
};

}  // namespace kvarn
