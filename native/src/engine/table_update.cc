// Updates: who is let in, then one step of an optimizer for every key of the batch.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kvarn/base/buffer.h"
#include "kvarn/base/simd.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/embedding_table.h"

namespace kvarn {
namespace {

constexpr size_t kUpdateGrain = 4096;  // fewer keys than this are not worth another thread
constexpr size_t kAhead = 16;
constexpr size_t kMaxSlots = 8;  // of one optimizer
constexpr size_t kMaxParts = 128;

// Rows are shared out to the threads of an update in buckets. Those of one row stay together, so that its
// gradients are summed in order of occurrence.
constexpr unsigned kBucketBits = 8;
constexpr size_t kBuckets = size_t{1} << kBucketBits;

size_t bucket_of(uint32_t row) { return (row * 0x9e3779b9u) >> (32 - kBucketBits); }

}  // namespace

struct EmbeddingTable::Batch {
  const Update& update;
  std::span<const int64_t> keys;
  const float* grads;
  std::span<const int64_t> counts;  // empty: a distinct key counts once
  uint32_t* rows;
  LastLookup::Found looked_up;  // what rows has from a lookup before
  const RowStore::Writing* writing;
  size_t offsets[kMaxSlots];
  std::vector<uint32_t> outside;  // positions of keys that had no entry at first
  std::array<uint8_t, kBuckets> part_of_bucket;

  size_t part_of(uint32_t row) const { return part_of_bucket[bucket_of(row)]; }
};

// The distinct rows of one part, with what happens to them.
struct EmbeddingTable::PartScratch {
  Buffer<uint64_t> table;  // open addressing: a row in the upper half, 1 + its number in the lower one
  Buffer<uint32_t> rows;
  Buffer<uint32_t> first;  // position in the batch
  Buffer<float*> entries;
  Buffer<const float*> grads;
  Buffer<int64_t> counts;
  Buffer<float> sums;
  size_t n_unique = 0;
  unsigned table_bits = 0;
  unsigned most_bits = 0;

  // Memory for n keys, all of which may be distinct. What is not used is never touched.
  void reserve(size_t n, size_t dim) {
    most_bits = bits_for(n);
    table.at_least(size_t{1} << most_bits);
    rows.at_least(n);
    first.at_least(n);
    entries.at_least(n);
    grads.at_least(n);
    counts.at_least(n);
    sums.at_least((n / 2 + 1) * dim);  // a sum joins at least two rows
  }

  // An empty table for so many distinct rows, not more than were reserved.
  void begin(size_t n) {
    table_bits = std::min(bits_for(n), most_bits);
    std::memset(table.data(), 0, sizeof(uint64_t) << table_bits);
  }
  // A larger one with the first n rows.
  void grow(size_t n) {
    begin(3 * n);
    for (size_t u = 0; u < n; u++) {
      size_t at = place(rows.data()[u], table_bits);
      while (table.data()[at] != 0) at = (at + 1) & ((size_t{1} << table_bits) - 1);
      table.data()[at] = uint64_t{rows.data()[u]} << 32 | (u + 1);
    }
  }
  // So many rows the table can take.
  size_t room() const { return table_bits == most_bits ? SIZE_MAX : (size_t{1} << table_bits) / 3 * 2; }

  static size_t place(uint32_t row, unsigned bits) { return (row * 0x85ebca6bu) >> (32 - bits); }

 private:
  // At most two of three places are taken.
  static unsigned bits_for(size_t n) {
    return static_cast<unsigned>(std::bit_width(std::max<size_t>(n + n / 2, 16)));
  }
};

void EmbeddingTable::update_part(const Batch& batch, size_t part, size_t n_parts, PartScratch& scratch) {
  const size_t n = batch.keys.size();
  const size_t dim = rows_.layout().slots()[0].dim;
  uint64_t* const table = scratch.table.data();
  uint32_t* const rows = scratch.rows.data();
  uint32_t* const first = scratch.first.data();
  float** const entries = scratch.entries.data();
  const float** const grads = scratch.grads.data();
  int64_t* const counts = scratch.counts.data();
  float* const sums = scratch.sums.data();
  const bool counting = record_freq_ && !batch.counts.empty();
  size_t n_unique = 0;
  size_t n_sums = 0;
  scratch.begin(expected_distinct_ / n_parts);
  unsigned bits = scratch.table_bits;
  size_t room = scratch.room();
  uint32_t own[512];  // positions in the batch
  for (size_t from = 0; from < n; from += std::size(own)) {
    size_t n_own = 0;
    for (size_t i = from; i < std::min(n, from + std::size(own)); i++) {
      own[n_own] = static_cast<uint32_t>(i);
      // A key that was not let in has no row.
      n_own += is_hot(batch.rows[i]) & (batch.part_of(batch.rows[i]) == part);
    }
    for (size_t o = 0; o < n_own; o++) {
      const uint32_t i = own[o];
      const uint32_t row = batch.rows[i];
      const float* const grad = batch.grads + i * dim;
      size_t at = PartScratch::place(row, bits);
      while (table[at] != 0 && table[at] >> 32 != row) at = (at + 1) & ((size_t{1} << bits) - 1);
      if (table[at] == 0) {
        const size_t u = n_unique++;
        rows[u] = row;
        first[u] = i;
        entries[u] = rows_.entry(row);
        grads[u] = grad;  // alone so far: no copy
        if (counting) counts[u] = batch.counts[i];
        table[at] = uint64_t{row} << 32 | n_unique;
        if (n_unique == room) {
          scratch.grow(n_unique);
          bits = scratch.table_bits;
          room = scratch.room();
        }
        continue;
      }
      const size_t u = static_cast<uint32_t>(table[at]) - 1;
      if (counting) counts[u] = add_counts(counts[u], batch.counts[i]);
      auto* sum = const_cast<float*>(grads[u]);
      if (sum < sums || sum >= sums + n_sums * dim) {
        sum = sums + n_sums++ * dim;
        for (size_t d = 0; d < dim; d++) sum[d] = grads[u][d] + grad[d];
        grads[u] = sum;
      } else {
        for (size_t d = 0; d < dim; d++) sum[d] += grad[d];
      }
    }
  }
  scratch.n_unique = n_unique;
  if (batch.writing->needed()) {
    for (uint32_t u = 0; u < n_unique; u++) batch.writing->keep(rows[u]);
  }
  batch.update.rule->apply({n_unique, entries, grads, dim}, batch.offsets, batch.update.params.data());
  if (has_meta()) {
    const bool stamp = record_version_ && batch.update.step.has_value();
    for (uint32_t u = 0; u < n_unique; u++) {
      if (u + kAhead < n_unique) KVARN_PREFETCH_WRITE(&rows_.meta(rows[u + kAhead]));
      RowMeta& meta = rows_.meta(rows[u]);
      if (record_freq_) meta.freq = add_counts(meta.freq, counting ? counts[u] : 1);
      if (stamp) meta.version = *batch.update.step;
    }
  }
}

void EmbeddingTable::find_changed(const Batch& batch, size_t begin, size_t end) const {
  std::vector<uint32_t> positions;
  for (size_t i = begin; i < end; i++) {
    if (!is_hot(batch.rows[i])) positions.push_back(static_cast<uint32_t>(i));
  }
  if (positions.empty()) return;
  std::vector<int64_t> keys(positions.size());
  std::vector<uint32_t> rows(positions.size());
  for (size_t p = 0; p < keys.size(); p++) keys[p] = batch.keys[positions[p]];
  index_.find_many(keys.data(), keys.size(), rows.data());
  for (size_t p = 0; p < keys.size(); p++) batch.rows[positions[p]] = rows[p];
}

// Finds the rows of all keys, and which have no entry.
void EmbeddingTable::find_for_update(Batch& batch, size_t n_threads) const {
  const size_t n = batch.keys.size();
  const size_t n_pieces = n_threads == 1 ? 1 : 2 * n_threads;
  const size_t piece = (n + n_pieces - 1) / n_pieces;
  if (batch.looked_up == LastLookup::kAll) return;
  std::vector<std::vector<uint32_t>> outside(n_pieces);
  parallel_for(n_pieces, 1, [&](size_t first, size_t last) {
    for (size_t p = first; p < last; p++) {
      const size_t begin = std::min(n, p * piece);
      const size_t end = std::min(n, begin + piece);
      if (batch.looked_up != LastLookup::kNone) {
        find_changed(batch, begin, end);
      } else {
        index_.find_many(batch.keys.data() + begin, end - begin, batch.rows + begin);
      }
      for (size_t i = begin; i < end; i++) {
        if (!is_admitted(batch.rows[i])) outside[p].push_back(static_cast<uint32_t>(i));
      }
    }
  });
  for (const auto& of : outside) batch.outside.insert(batch.outside.end(), of.begin(), of.end());
}

// Gives each part about as many keys, as far as the buckets let it: by a sample of the batch, the fullest
// bucket first to whoever has least.
void EmbeddingTable::share_out(Batch& batch, size_t n_parts) {
  constexpr size_t kSample = 2048;
  batch.part_of_bucket.fill(0);
  if (n_parts == 1) return;
  std::array<std::pair<uint32_t, uint8_t>, kBuckets> buckets;
  for (size_t b = 0; b < kBuckets; b++) buckets[b] = {0, static_cast<uint8_t>(b)};
  const size_t stride = batch.keys.size() / kSample + 1;
  for (size_t i = 0; i < batch.keys.size(); i += stride) buckets[bucket_of(batch.rows[i])].first++;
  std::ranges::sort(buckets, std::greater());
  std::vector<size_t> taken(n_parts, 0);
  for (const auto& [n, b] : buckets) {
    const auto least = std::ranges::min_element(taken);
    *least += n + 1;
    batch.part_of_bucket[b] = static_cast<uint8_t>(least - taken.begin());
  }
}

// Keys without an entry, in order of their first occurrence.
void EmbeddingTable::admit(const Batch& batch) {
  const std::span<const int64_t> keys = batch.keys;
  const std::span<const uint32_t> outside = batch.outside;
  if (admission_ == nullptr) {
    create_missing(keys, outside, batch.rows, 0);
    return;
  }
  KeyIndex numbers;
  std::vector<uint32_t> number(keys.size(), kNoRow);
  const size_t n = numbers.find_or_insert_many(keys.data(), outside.data(), outside.size(), 0, number.data());
  struct Candidate {
    uint32_t position;
    int64_t count;
  };
  std::vector<Candidate> candidates;
  candidates.reserve(n);
  for (const uint32_t i : outside) {
    if (number[i] == candidates.size()) candidates.push_back({i, 0});
    Candidate& c = candidates[number[i]];
    c.count = add_counts(c.count, batch.counts.empty() ? (c.count == 0 ? 1 : 0) : batch.counts[i]);
  }
  reserve_rows(n);
  counters_.reserve(n);
  const RowStore::Writing writing_counters(counters_, n);
  std::vector<uint32_t> let_in(n, kNoRow);
  for (size_t c = 0; c < n; c++) {
    const int64_t key = keys[candidates[c].position];
    uint32_t row = batch.rows[candidates[c].position];
    const int64_t seen = is_counter(row) ? counters_.meta(row - kCounterBase).freq : 0;
    if (admission_->admits(key, seen, candidates[c].count)) {
      let_in[c] = create(key, row, *batch.writing, 0);
      continue;
    }
    if (!admission_->keeps_records()) continue;
    const uint32_t record = is_counter(row) ? row - kCounterBase : create_counter(key, writing_counters);
    if (writing_counters.needed()) writing_counters.keep(record);
    RowMeta& meta = counters_.meta(record);
    meta.freq = add_counts(meta.freq, candidates[c].count);
    if (record_version_ && batch.update.step) meta.version = *batch.update.step;
    if (touches_.active()) touches_.touch(key, cuts_);
  }
  for (const uint32_t i : outside) batch.rows[i] = let_in[number[i]];
}

uint32_t EmbeddingTable::create_counter(int64_t key, const RowStore::Writing& writing) {
  const uint32_t record = counters_.take();
  try {
    index_.insert(key, kCounterBase + record);
  } catch (...) {
    counters_.give_back(record);
    throw;
  }
  n_counters_++;
  if (writing.needed()) writing.keep(record);
  counters_.meta(record) = RowMeta{};
  return record;
}

Status EmbeddingTable::apply(const Update& update, std::span<const int64_t> keys,
                             std::span<const float> grads, std::span<const int64_t> counts) {
  static thread_local std::vector<PartScratch> parts;
  static thread_local Buffer<uint32_t> buffer;
  buffer.at_least(keys.size());
  const std::unique_lock lock(*mutex_);
  const char* name = update.rule->name;
  if (Status s = check_batch(name, keys.size(), 0, grads.size()); !s.ok()) return s;
  if (Status s = check_update(update); !s.ok()) return s;
  if (!counts.empty() && counts.size() != keys.size()) {
    return Status::invalid(std::string(name) + ": " + std::to_string(counts.size()) + " counts for " +
                           std::to_string(keys.size()) + " keys");
  }
  const size_t n_parts = std::clamp<size_t>(keys.size() / kUpdateGrain, 1,
                                            std::min<size_t>(static_cast<size_t>(num_threads()), kMaxParts));
  if (parts.size() < n_parts) parts.resize(n_parts);
  const auto looked_up = tiers_ == nullptr ? last_lookup_.take(keys, buffer, losses_) : LastLookup::kNone;
  uint32_t* const rows = buffer.data();
  Batch batch{update, keys, grads.data(), counts, rows, looked_up, nullptr, {}, {}, {}};
  for (size_t s = 0; s < update.slots.size(); s++) {
    batch.offsets[s] = rows_.layout().slots()[update.slots[s]].offset;
  }
  if (Status s = make_room(0); !s.ok()) return s;
  find_for_update(batch, n_parts);
  if (Status s = bring_up(keys, rows); !s.ok()) return s;
  const RowStore::Writing writing(rows_, keys.size());
  batch.writing = &writing;
  // Memory is taken here, where failing is still harmless.
  for (size_t p = 0; p < n_parts; p++) parts[p].reserve(keys.size(), rows_.layout().slots()[0].dim);
  if (!batch.outside.empty()) admit(batch);
  std::vector<PartScratch>& scratch = parts;
  share_out(batch, n_parts);
  parallel_for(n_parts, 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) update_part(batch, p, n_parts, scratch[p]);
  });
  expected_distinct_ = 0;
  for (size_t p = 0; p < n_parts; p++) expected_distinct_ += scratch[p].n_unique;
  if (touches_.active()) {
    for (size_t p = 0; p < n_parts; p++) {
      for (size_t u = 0; u < scratch[p].n_unique; u++) {
        touches_.touch(keys[scratch[p].first.data()[u]], cuts_);
      }
    }
  }
  if (tiers_ != nullptr) {
    note_use(std::span(scratch).first(n_parts), record_freq_ && !counts.empty());
    settle();
  }
  return {};
}

void EmbeddingTable::note_use(std::span<PartScratch> parts, bool counted) {
  if (parts.size() == 1) {
    tiers_->used(parts[0].rows.data(), counted ? parts[0].counts.data() : nullptr, parts[0].n_unique);
    return;
  }
  // In order of occurrence, as if there had been one part.
  struct Use {
    uint32_t first;
    uint32_t row;
    int64_t count;
  };
  std::vector<Use> uses;
  for (const PartScratch& part : parts) {
    for (size_t u = 0; u < part.n_unique; u++) {
      uses.push_back({part.first.data()[u], part.rows.data()[u], counted ? part.counts.data()[u] : 1});
    }
  }
  std::ranges::sort(uses, {}, &Use::first);
  for (const Use& use : uses) tiers_->used(&use.row, &use.count, 1);
}

Status EmbeddingTable::check_update(const Update& update) const {
  const auto& slots = rows_.layout().slots();
  const OptimizerRule& rule = *update.rule;
  const auto refuse = [&](const std::string& what) {
    return Status::invalid(std::string(rule.name) + ": " + what);
  };
  if (update.slots.size() != rule.n_slots || rule.n_slots > kMaxSlots) {
    return refuse(std::to_string(update.slots.size()) + " slots, expected " + std::to_string(rule.n_slots));
  }
  if (update.params.size() != rule.n_params) {
    return refuse(std::to_string(update.params.size()) + " parameters, expected " +
                  std::to_string(rule.n_params));
  }
  for (size_t s = 0; s < rule.n_slots; s++) {
    const size_t slot = update.slots[s];
    const size_t dim = (rule.dim_one_mask >> s & 1) != 0 ? 1 : slots[0].dim;
    const auto earlier = update.slots.first(s);
    if (slot == 0 || slot >= slots.size() || std::ranges::find(earlier, slot) != earlier.end()) {
      return refuse("slot " + std::to_string(slot) + " of " + std::to_string(slots.size()) +
                    " cannot be slot " + std::to_string(s + 1) + " of the optimizer");
    }
    if (slots[slot].dim != dim) {
      return refuse("slot " + std::to_string(slot) + " has dimension " + std::to_string(slots[slot].dim) +
                    ", expected " + std::to_string(dim));
    }
  }
  return {};
}

}  // namespace kvarn
