#include "kvarn/engine/embedding_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "kvarn/base/buffer.h"
#include "kvarn/base/hash.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/kernels/adagrad.h"
#include "kvarn/kernels/gradient_descent.h"

namespace kvarn {
namespace {

constexpr uint32_t kNoRow = HashIndex::kNoRow;
constexpr uint32_t kNoMark = HashIndex::kNoMark;
constexpr size_t kGroup = 32;          // keys whose index slots are fetched together
constexpr size_t kAhead = 16;          // keys by which serial loops fetch ahead
constexpr size_t kLookupGrain = 4096;  // fewer keys than this are not worth another thread
constexpr size_t kUpdateGrain = 4096;
constexpr size_t kSlabBytes = 16 << 20;
constexpr unsigned kMaxSlabShift = 18;

unsigned slab_shift_for(const EntryLayout& layout) {
  const size_t rows = std::max<size_t>(1, kSlabBytes / layout.row_bytes());
  return std::min(kMaxSlabShift, static_cast<unsigned>(std::bit_width(rows)) - 1);
}

std::shared_ptr<Slab> new_slab(const EntryLayout& layout, unsigned shift, size_t position, uint64_t cut) {
  // The first slab of a small table would mostly hold untouched memory, so it takes ordinary pages.
  auto slab = std::make_shared<Slab>(layout, size_t{1} << shift, position > 0);
  slab->made_at_cut = cut;
  return slab;
}

// The row of a default matrix for a key: |key| mod n, where |INT64_MIN| is 2^63.
size_t default_row_of(int64_t key, size_t n) {
  if (n == 1) return 0;
  const auto k = static_cast<uint64_t>(key);
  return static_cast<size_t>((key < 0 ? ~k + 1 : k) % n);
}

}  // namespace

// One key of the batch after equal keys were joined: its index slot (to clear the mark), entry and gradient.
struct EmbeddingTable::PartScratch {
  Buffer<HashIndex::Slot*> slots;
  Buffer<float*> entries;
  Buffer<const float*> grads;
  Buffer<float> sums;
  Buffer<uint32_t> missing;
  size_t n_missing = 0;

  void reserve(size_t n, size_t dim) {
    slots.at_least(n);
    entries.at_least(n);
    grads.at_least(n);
    sums.at_least((n / 2 + 1) * dim);  // a sum joins at least two rows
    missing.at_least(n);
  }
};

EmbeddingTable::EmbeddingTable(bool record_freq, bool record_version)
    : layout_(record_freq, record_version) {}

Status EmbeddingTable::add_slot(size_t dim, std::span<const float> defaults) {
  if (dim == 0 || defaults.empty() || defaults.size() % dim != 0) {
    return Status::invalid("add_slot: the default matrix has " + std::to_string(defaults.size()) +
                           " elements, expected at least one row of dimension " + std::to_string(dim));
  }
  const std::unique_lock lock(mutex_);
  EntryLayout layout = layout_;
  layout.add_slot(dim);
  const SlotLayout added = layout.slots().back();
  Defaults slot_defaults{{defaults.begin(), defaults.end()}, defaults.size() / dim};
  const unsigned shift = slab_shift_for(layout);
  const size_t mask = (size_t{1} << shift) - 1;
  std::vector<std::shared_ptr<Slab>> slabs;
  for (uint32_t row = 0; row < next_row_; row++) {
    const size_t to_row = row & mask;
    if (to_row == 0) slabs.push_back(new_slab(layout, shift, slabs.size(), cut_));
    const Slab& from = slab_of(row);
    const Slab& to = *slabs.back();
    const size_t from_row = in_slab(row);
    const int64_t key = from.key(from_row);
    to.key(to_row) = key;
    if (layout.has_freq()) *to.freq(to_row) = *from.freq(from_row);
    if (layout.has_version()) *to.version(to_row) = *from.version(from_row);
    std::memcpy(to.entry(to_row), from.entry(from_row), added.offset * sizeof(float));
    std::memcpy(to.entry(to_row) + added.offset,
                slot_defaults.matrix.data() + default_row_of(key, slot_defaults.n_rows) * dim,
                dim * sizeof(float));
  }
  defaults_.push_back(std::move(slot_defaults));
  layout_ = std::move(layout);
  slabs_ = std::move(slabs);
  slab_shift_ = shift;
  slab_mask_ = mask;
  return {};
}

Status EmbeddingTable::set_default(size_t slot, std::span<const float> defaults) {
  const std::unique_lock lock(mutex_);
  if (slot >= defaults_.size()) {
    return Status::invalid("set_default: slot " + std::to_string(slot) + " of " +
                           std::to_string(defaults_.size()));
  }
  const size_t dim = layout_.slots()[slot].dim;
  if (defaults.empty() || defaults.size() % dim != 0) {
    return Status::invalid("set_default: the default matrix has " + std::to_string(defaults.size()) +
                           " elements, expected at least one row of dimension " + std::to_string(dim));
  }
  defaults_[slot] = {{defaults.begin(), defaults.end()}, defaults.size() / dim};
  return {};
}

size_t EmbeddingTable::size() const {
  const std::shared_lock lock(mutex_);
  return index_.size();
}

size_t EmbeddingTable::memory_bytes() const {
  const std::shared_lock lock(mutex_);
  return index_.bytes() + size_t{next_row_} * layout_.row_bytes();
}

size_t EmbeddingTable::n_slots() const {
  const std::shared_lock lock(mutex_);
  return layout_.slots().size();
}

size_t EmbeddingTable::slot_dim(size_t slot) const {
  const std::shared_lock lock(mutex_);
  return slot < layout_.slots().size() ? layout_.slots()[slot].dim : 0;
}

const float* EmbeddingTable::default_row(size_t slot, int64_t key) const {
  const Defaults& d = defaults_[slot];
  return d.matrix.data() + default_row_of(key, d.n_rows) * layout_.slots()[slot].dim;
}

void EmbeddingTable::fill_defaults(float* entry, int64_t key) const {
  for (size_t slot = 0; slot < defaults_.size(); slot++) {
    const SlotLayout s = layout_.slots()[slot];
    std::memcpy(entry + s.offset, default_row(slot, key), s.dim * sizeof(float));
  }
}

uint32_t EmbeddingTable::find_or_create(int64_t key) {
  const uint64_t hash = hash_id(key);
  HashIndex::Slot* slot = index_.find(key, hash);
  if (slot->row != kNoRow) return slot->row;
  // Everything that can fail comes before the first change.
  if (index_.full()) {
    index_.grow();
    slot = index_.find(key, hash);
  }
  uint32_t row = next_row_;
  if (!free_rows_.empty()) {
    row = free_rows_.back();
    unshare(row);
    free_rows_.pop_back();
  } else {
    if (row >> slab_shift_ == slabs_.size()) {
      slabs_.push_back(new_slab(layout_, slab_shift_, slabs_.size(), cut_));
    }
    unshare(row);
    next_row_++;
  }
  index_.insert_at(slot, key, row);
  const Slab& slab = slab_of(row);
  const size_t r = in_slab(row);
  slab.key(r) = key;
  if (layout_.has_freq()) *slab.freq(r) = 0;
  if (layout_.has_version()) *slab.version(r) = -1;
  fill_defaults(slab.entry(r), key);
  return row;
}

void EmbeddingTable::unshare(uint32_t row) {
  if (live_snapshots_->load(std::memory_order_acquire) == 0) return;
  std::shared_ptr<Slab>& slab = slabs_[row >> slab_shift_];
  if (slab->made_at_cut == cut_) return;
  auto copy = new_slab(layout_, slab_shift_, row >> slab_shift_, cut_);
  copy->copy_from(*slab);
  slab = std::move(copy);
}

void EmbeddingTable::unshare_keys(std::span<const int64_t> keys) {
  if (live_snapshots_->load(std::memory_order_acquire) == 0) return;
  for (const int64_t key : keys) {
    const uint32_t row = index_.find(key)->row;
    if (row != kNoRow) unshare(row);
  }
}

Status EmbeddingTable::check_batch(const char* what, size_t n_keys, size_t slot, size_t n_floats) const {
  if (slot >= layout_.slots().size()) {
    return Status::invalid(std::string(what) + ": slot " + std::to_string(slot) + " of a table with " +
                           std::to_string(layout_.slots().size()) + " slots");
  }
  const size_t dim = layout_.slots()[slot].dim;
  if (n_floats != n_keys * dim) {
    return Status::invalid(std::string(what) + ": " + std::to_string(n_floats) + " elements, expected " +
                           std::to_string(n_keys) + " rows of dimension " + std::to_string(dim));
  }
  // Rows are numbered, and keys of a batch counted, in 32 bits with the last number set aside.
  if (n_keys >= kNoRow - index_.size()) {
    return Status::exhausted(std::string(what) + ": " + std::to_string(n_keys) + " keys, and " +
                             std::to_string(index_.size()) + " in the table; it can hold " +
                             std::to_string(kNoRow - 1));
  }
  return {};
}

bool EmbeddingTable::find_and_copy(std::span<const int64_t> keys, size_t slot, float* out,
                                   uint32_t* rows) const {
  const SlotLayout s = layout_.slots()[slot];
  std::atomic<bool> missing = false;
  const auto piece = [&]<size_t kDim>(size_t begin, size_t end) {
    const size_t dim = kDim ? kDim : s.dim;
    uint64_t hashes[kGroup];
    const float* found[kGroup];
    bool any_missing = false;
    for (size_t i = begin; i < end; i += kGroup) {
      const size_t m = std::min(kGroup, end - i);
      for (size_t k = 0; k < m; k++) {
        hashes[k] = hash_id(keys[i + k]);
        index_.prefetch(hashes[k]);
      }
      for (size_t k = 0; k < m; k++) {
        const uint32_t row = index_.find(keys[i + k], hashes[k])->row;
        rows[i + k] = row;
        found[k] = row == kNoRow ? nullptr : entry(row) + s.offset;
        KVARN_PREFETCH(found[k]);
      }
      for (size_t k = 0; k < m; k++) {
        if (found[k] == nullptr) {
          any_missing = true;
        } else {
          std::memcpy(out + (i + k) * dim, found[k], dim * sizeof(float));
        }
      }
    }
    if (any_missing) missing.store(true, std::memory_order_relaxed);
  };
  parallel_for(keys.size(), kLookupGrain, [&](size_t begin, size_t end) {
    switch (s.dim) {
      case 1:
        return piece.operator()<1>(begin, end);
      case 8:
        return piece.operator()<8>(begin, end);
      case 16:
        return piece.operator()<16>(begin, end);
      case 32:
        return piece.operator()<32>(begin, end);
      default:
        return piece.operator()<0>(begin, end);
    }
  });
  return missing.load(std::memory_order_relaxed);
}

Status EmbeddingTable::lookup_or_create(std::span<const int64_t> keys, size_t slot, std::span<float> out) {
  static thread_local Buffer<uint32_t> rows_buffer;
  uint32_t* const rows = rows_buffer.at_least(keys.size());
  const bool count = layout_.has_freq();
  if (!count) {
    // The usual batch finds all its keys, beside other readers.
    const std::shared_lock lock(mutex_);
    if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
    if (!find_and_copy(keys, slot, out.data(), rows)) return {};
  }
  const std::unique_lock lock(mutex_);
  if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
  if (count) find_and_copy(keys, slot, out.data(), rows);
  const SlotLayout layout = layout_.slots()[slot];
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kAhead < keys.size() && rows[i + kAhead] == kNoRow) index_.prefetch(hash_id(keys[i + kAhead]));
    if (rows[i] != kNoRow) continue;
    rows[i] = find_or_create(keys[i]);
    std::memcpy(out.data() + i * layout.dim, entry(rows[i]) + layout.offset, layout.dim * sizeof(float));
  }
  if (count) {
    unshare_keys(keys);
    parallel_for(keys.size(), kLookupGrain, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; i++) {
        std::atomic_ref(*slab_of(rows[i]).freq(in_slab(rows[i]))).fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  return {};
}

Status EmbeddingTable::lookup(std::span<const int64_t> keys, size_t slot, std::span<float> out) const {
  static thread_local Buffer<uint32_t> rows_buffer;
  uint32_t* const rows = rows_buffer.at_least(keys.size());
  const std::shared_lock lock(mutex_);
  if (Status s = check_batch("lookup", keys.size(), slot, out.size()); !s.ok()) return s;
  if (!find_and_copy(keys, slot, out.data(), rows)) return {};
  const size_t dim = layout_.slots()[slot].dim;
  for (size_t i = 0; i < keys.size(); i++) {
    if (rows[i] == kNoRow) std::memcpy(out.data() + i * dim, default_row(slot, keys[i]), dim * sizeof(float));
  }
  return {};
}

Status EmbeddingTable::contains(std::span<const int64_t> keys, std::span<bool> out) const {
  if (out.size() != keys.size()) return Status::invalid("contains: one answer per key expected");
  const std::shared_lock lock(mutex_);
  for (size_t i = 0; i < keys.size(); i++) out[i] = index_.find(keys[i])->row != kNoRow;
  return {};
}

Status EmbeddingTable::frequency(std::span<const int64_t> keys, std::span<int64_t> out) const {
  if (out.size() != keys.size()) return Status::invalid("frequency: one answer per key expected");
  const std::shared_lock lock(mutex_);
  for (size_t i = 0; i < keys.size(); i++) {
    const uint32_t row = index_.find(keys[i])->row;
    out[i] = row == kNoRow || !layout_.has_freq() ? 0 : *slab_of(row).freq(in_slab(row));
  }
  return {};
}

Status EmbeddingTable::version(std::span<const int64_t> keys, std::span<int64_t> out) const {
  if (out.size() != keys.size()) return Status::invalid("version: one answer per key expected");
  const std::shared_lock lock(mutex_);
  for (size_t i = 0; i < keys.size(); i++) {
    const uint32_t row = index_.find(keys[i])->row;
    out[i] = row == kNoRow || !layout_.has_version() ? -1 : *slab_of(row).version(in_slab(row));
  }
  return {};
}

// Updates the keys at `positions` (all, if null) whose hash falls to `part`. Keys that are not in the table
// are left for later in scratch.missing. Parts touch disjoint index slots and entries.
void EmbeddingTable::apply_part(std::span<const int64_t> keys, const float* grads, const uint32_t* positions,
                                size_t n_positions, size_t part, size_t n_parts, std::optional<int64_t> step,
                                const Kernel& kernel, PartScratch& scratch) {
  const size_t dim = layout_.slots()[0].dim;
  HashIndex::Slot** const slots = scratch.slots.data();
  float** const entries = scratch.entries.data();
  const float** const rows = scratch.grads.data();
  float* const sums = scratch.sums.data();
  uint32_t* const missing = scratch.missing.data();
  size_t n_missing = 0;
  size_t n_unique = 0;
  size_t n_sums = 0;
  uint32_t at[kGroup];
  uint64_t hashes[kGroup];
  for (size_t i = 0; i < n_positions;) {
    size_t m = 0;
    for (; m < kGroup && i < n_positions; i++) {
      const uint32_t position = positions ? positions[i] : static_cast<uint32_t>(i);
      const uint64_t hash = hash_id(keys[position]);
      if (n_parts > 1 && ((hash >> 32) * n_parts) >> 32 != part) continue;
      at[m] = position;
      hashes[m] = hash;
      m++;
      index_.prefetch(hash);
    }
    for (size_t k = 0; k < m; k++) {
      HashIndex::Slot* slot = index_.find(keys[at[k]], hashes[k]);
      if (slot->row == kNoRow) {
        missing[n_missing++] = at[k];
        continue;
      }
      const float* grad = grads + at[k] * dim;
      if (slot->mark == kNoMark) {
        slot->mark = static_cast<uint32_t>(n_unique);
        slots[n_unique] = slot;
        entries[n_unique] = entry(slot->row);
        rows[n_unique] = grad;  // alone so far: no copy
        n_unique++;
        continue;
      }
      const float*& sum_row = rows[slot->mark];
      float* sum = const_cast<float*>(sum_row);
      if (sum < sums || sum >= sums + n_sums * dim) {
        sum = sums + n_sums++ * dim;
        for (size_t d = 0; d < dim; d++) sum[d] = sum_row[d] + grad[d];
        sum_row = sum;
      } else {
        for (size_t d = 0; d < dim; d++) sum[d] += grad[d];
      }
    }
  }
  kernel({n_unique, entries, rows, dim});
  if (step && layout_.has_version()) {
    for (size_t u = 0; u < n_unique; u++) *slab_of(slots[u]->row).version(in_slab(slots[u]->row)) = *step;
  }
  for (size_t u = 0; u < n_unique; u++) slots[u]->mark = kNoMark;
  scratch.n_missing = n_missing;
}

Status EmbeddingTable::apply(const char* what, std::span<const int64_t> keys, std::span<const float> grads,
                             std::optional<int64_t> step, const Kernel& kernel) {
  static thread_local std::vector<PartScratch> parts;
  if (Status s = check_batch(what, keys.size(), 0, grads.size()); !s.ok()) return s;
  unshare_keys(keys);
  const size_t n_parts =
      std::clamp<size_t>(keys.size() / kUpdateGrain, 1, static_cast<size_t>(num_threads()));
  if (parts.size() < n_parts) parts.resize(n_parts);
  // Memory is taken here, where failing is still harmless; only the pages used are ever touched.
  for (size_t p = 0; p < n_parts; p++) parts[p].reserve(keys.size(), layout_.slots()[0].dim);
  std::vector<PartScratch>& scratch = parts;
  parallel_for(n_parts, 1, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; p++) {
      apply_part(keys, grads.data(), nullptr, keys.size(), p, n_parts, step, kernel, scratch[p]);
    }
  });
  // Keys seen for the first time: created in order of occurrence, then updated like the others.
  std::vector<uint32_t> missing;
  for (size_t p = 0; p < n_parts; p++) {
    const uint32_t* m = parts[p].missing.data();
    missing.insert(missing.end(), m, m + parts[p].n_missing);
  }
  if (missing.empty()) return {};
  if (n_parts > 1) std::sort(missing.begin(), missing.end());
  for (size_t i = 0; i < missing.size(); i++) {
    if (i + kAhead < missing.size()) index_.prefetch(hash_id(keys[missing[i + kAhead]]));
    find_or_create(keys[missing[i]]);
  }
  apply_part(keys, grads.data(), missing.data(), missing.size(), 0, 1, step, kernel, parts[0]);
  return {};
}

Status EmbeddingTable::apply_gradient_descent(std::span<const int64_t> keys, std::span<const float> grads,
                                              float lr, std::optional<int64_t> step) {
  const std::unique_lock lock(mutex_);
  return apply("apply_gradient_descent", keys, grads, step,
               [lr](const RowUpdate& update) { kvarn::apply_gradient_descent(update, lr); });
}

Status EmbeddingTable::apply_adagrad(std::span<const int64_t> keys, std::span<const float> grads, float lr,
                                     size_t accum_slot, std::optional<int64_t> step) {
  const std::unique_lock lock(mutex_);
  const auto& slots = layout_.slots();
  if (accum_slot == 0 || accum_slot >= slots.size() || slots[accum_slot].dim != slots[0].dim) {
    return Status::invalid("apply_adagrad: slot " + std::to_string(accum_slot) + " of " +
                           std::to_string(slots.size()) +
                           " is no accumulator: expected a slot of the primary's dimension");
  }
  const size_t offset = slots[accum_slot].offset;
  return apply("apply_adagrad", keys, grads, step,
               [=](const RowUpdate& update) { kvarn::apply_adagrad(update, offset, lr); });
}

Status EmbeddingTable::import_rows(size_t slot, std::span<const int64_t> keys, std::span<const float> values,
                                   std::span<const int64_t> freqs, std::span<const int64_t> versions) {
  const std::unique_lock lock(mutex_);
  if (Status s = check_batch("import_rows", keys.size(), slot, values.size()); !s.ok()) return s;
  if ((!freqs.empty() && freqs.size() != keys.size()) ||
      (!versions.empty() && versions.size() != keys.size())) {
    return Status::invalid("import_rows: " + std::to_string(freqs.size()) + " frequencies and " +
                           std::to_string(versions.size()) + " versions, expected none or one for each of " +
                           std::to_string(keys.size()) + " keys");
  }
  const SlotLayout s = layout_.slots()[slot];
  for (size_t i = 0; i < keys.size(); i++) {
    if (i + kAhead < keys.size()) index_.prefetch(hash_id(keys[i + kAhead]));
    const uint32_t row = find_or_create(keys[i]);
    unshare(row);
    const Slab& slab = slab_of(row);
    const size_t r = in_slab(row);
    std::memcpy(slab.entry(r) + s.offset, values.data() + i * s.dim, s.dim * sizeof(float));
    if (!freqs.empty() && layout_.has_freq()) *slab.freq(r) = freqs[i];
    if (!versions.empty() && layout_.has_version()) *slab.version(r) = versions[i];
  }
  return {};
}

Status EmbeddingTable::snapshot(size_t n_buckets, std::unique_ptr<Snapshot>* out) const {
  if (n_buckets == 0 || n_buckets > INT32_MAX) {
    return Status::invalid("snapshot: " + std::to_string(n_buckets) + " buckets, expected 1 to 2^31-1");
  }
  std::unique_lock lock(mutex_);
  if (index_.size() > INT32_MAX) {
    return Status::exhausted("snapshot: " + std::to_string(index_.size()) +
                             " keys, more than the int32 partition offsets of the format can count");
  }
  live_snapshots_->fetch_add(1, std::memory_order_relaxed);
  std::shared_ptr<void> alive(live_snapshots_.get(), [live = live_snapshots_](void*) {
    live->fetch_sub(1, std::memory_order_release);
  });
  cut_++;  // from here on every slab of now is copied before it is written
  EntryLayout layout = layout_;
  auto slabs = slabs_;
  const auto free_rows = free_rows_;
  const unsigned shift = slab_shift_;
  const size_t n_rows = next_row_;
  lock.unlock();  // ordering the keys takes long and needs no lock
  *out = std::make_unique<Snapshot>(std::move(layout), shift, std::move(slabs), free_rows, n_rows, n_buckets,
                                    std::move(alive));
  return {};
}

void EmbeddingTable::clear() {
  const std::unique_lock lock(mutex_);
  index_.clear();
  slabs_.clear();
  next_row_ = 0;
  free_rows_.clear();
}

size_t EmbeddingTable::remove(std::span<const int64_t> keys) {
  const std::unique_lock lock(mutex_);
  size_t removed = 0;
  free_rows_.reserve(free_rows_.size() + std::min(keys.size(), index_.size()));
  for (const int64_t key : keys) {
    const uint32_t row = index_.erase(key);
    if (row == kNoRow) continue;
    free_rows_.push_back(row);
    removed++;
  }
  return removed;
}

}  // namespace kvarn
