#include "kvarn/engine/staged_import.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <utility>

#include "kvarn/base/thread_pool.h"
#include "kvarn/engine/keys_by_range.h"

namespace kvarn {
namespace {

constexpr size_t kGrain = 4096;
constexpr size_t kBatch = 2048;

Status check_like(const char* what, size_t n, bool wanted, size_t n_entries) {
  if (n == (wanted ? n_entries : 0)) return {};
  return Status::invalid(std::string("import: ") + std::to_string(n) + " " + what + " of " +
                         std::to_string(n_entries) + " entries, " +
                         (wanted ? "expected one for each" : "and those before had none"));
}

}  // namespace

Status EmbeddingTable::stage_import(size_t n, std::span<const int64_t> sample,
                                    std::unique_ptr<StagedImport>* out) {
  out->reset();
  const std::unique_lock lock(*mutex_);
  if (admission_ != nullptr || tiers_ != nullptr || n == 0 || inits_.size() >= 64) return {};
  if (Status s = check_room("import", n); !s.ok()) return s;
  if (std::ranges::any_of(sample, [&](int64_t key) { return index_.find(key) != kNoRow; })) return {};
  *out = std::unique_ptr<StagedImport>(new StagedImport(*this, n));
  return {};
}

StagedImport::StagedImport(EmbeddingTable& table, size_t n)
    : table_(table),
      n_slots_(table.rows_.layout().slots().size()),
      clears_(table.clears_),
      range_(table.rows_.take_numbers(n)) {}

void StagedImport::release() {
  if (std::exchange(done_, true)) return;
  const std::unique_lock lock(*table_.mutex_);
  if (table_.clears_ == clears_) table_.rows_.give_back_unused(range_, [](uint32_t) { return false; });
}

Status StagedImport::check_table() const {
  if (done_) {
    return {Code::kFailedPrecondition, "import: it is over, its entries are in the table or given up"};
  }
  if (table_.clears_ != clears_) {
    return {Code::kFailedPrecondition, "import: the table was cleared while entries were on their way to it"};
  }
  if (table_.rows_.layout().slots().size() != n_slots_) {
    return {Code::kFailedPrecondition,
            "import: the table got another slot while entries were on their way to it"};
  }
  return {};
}

Status StagedImport::write(size_t n, std::span<const EmbeddingTable::Column> columns,
                           std::span<const int64_t> freqs, std::span<const int64_t> versions) {
  if (n > range_.n - written_) {
    return Status::invalid("import: more than the " + std::to_string(range_.n) +
                           " entries that were announced");
  }
  const bool has_freqs = written_ == 0 ? !freqs.empty() : has_freqs_;
  const bool has_versions = written_ == 0 ? !versions.empty() : has_versions_;
  if (Status s = check_like("frequencies", freqs.size(), has_freqs, n); !s.ok()) return s;
  if (Status s = check_like("versions", versions.size(), has_versions, n); !s.ok()) return s;
  const RowStore::Range range{range_.first + static_cast<uint32_t>(written_), n};
  RowStore& rows = table_.rows_;
  {
    const std::unique_lock lock(*table_.mutex_);
    if (Status s = check_table(); !s.ok()) return s;
    rows.bring_memory(range);
    table_.collapse_some(n);
  }
  // Nobody else knows these rows: it is enough that none gets another place.
  const std::shared_lock lock(*table_.mutex_);
  if (Status s = check_table(); !s.ok()) return s;
  const auto& slots = rows.layout().slots();
  uint64_t given = 0;
  for (const EmbeddingTable::Column& column : columns) {
    if (column.slot < slots.size()) given |= uint64_t{1} << column.slot;
  }
  if (columns.size() != slots.size() || given != (uint64_t{1} << slots.size()) - 1) {
    return Status::invalid("import: " + std::to_string(columns.size()) + " columns, expected each of the " +
                           std::to_string(slots.size()) + " slots");
  }
  if (n == 0) return {};
  rows.populate(range);
  parallel_for(n, kGrain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const uint32_t row = range.first + static_cast<uint32_t>(i);
      for (const EmbeddingTable::Column& column : columns) {
        const SlotLayout s = slots[column.slot];
        std::memcpy(rows.entry(row) + s.offset, column.rows + i * s.dim, s.dim * sizeof(float));
      }
      if (!table_.has_meta()) continue;
      RowMeta meta;
      if (table_.record_freq_ && has_freqs) meta.freq = freqs[i];
      if (table_.record_version_ && has_versions) meta.version = versions[i];
      rows.meta(row) = meta;
    }
  });
  written_ += n;
  has_freqs_ = has_freqs;
  has_versions_ = has_versions;
  return {};
}

Status StagedImport::commit(std::span<const int64_t> keys) {
  if (keys.size() != written_) {
    return Status::invalid("import: " + std::to_string(keys.size()) + " keys for " +
                           std::to_string(written_) + " entries");
  }
  const std::unique_lock lock(*table_.mutex_);
  if (Status s = check_table(); !s.ok()) return s;
  std::vector<Known> known;
  done_ = true;
  try {
    insert(keys, known);
    overwrite(known);
  } catch (...) {
    give_back_unused(keys);
    throw;
  }
  if (!known.empty() || written_ < range_.n) give_back_unused(keys);
  table_.touch(keys);
  return {};
}

void StagedImport::insert(std::span<const int64_t> keys, std::vector<Known>& known) {
  for (size_t at = 0; at < keys.size(); at += KeysByRange::kMost) {
    insert_some(keys.subspan(at, std::min(KeysByRange::kMost, keys.size() - at)), static_cast<uint32_t>(at),
                known);
  }
}

void StagedImport::insert_some(std::span<const int64_t> keys, uint32_t first, std::vector<Known>& known) {
  KeyIndex& index = table_.index_;
  const uint32_t first_row = range_.first + first;
  const KeysByRange sorted(keys);
  struct Progress {
    size_t done = 0;
    size_t known = 0;  // of them, kept where keys were that are done: row and number
  };
  std::array<Progress, KeysByRange::kRanges> progress{};
  // What one call did not get done is left to the next, which need not mind the other pieces of the index.
  const auto go_on = [&](size_t r, auto insert_batch) {
    const KeysByRange::Range& range = sorted[r];
    auto& [done, n_known] = progress[r];
    std::array<uint32_t, kBatch> rows;
    while (done < range.n) {
      const size_t n = std::min(kBatch, range.n - done);
      const size_t n_done = insert_batch(range.keys + done, range.numbers + done, n, rows.data());
      for (size_t i = 0; i < n_done; i++) {
        const uint32_t number = range.numbers[done + i];
        if (rows[i] == first_row + number) continue;
        range.keys[n_known] = rows[i];
        range.numbers[n_known++] = number;
      }
      done += n_done;
      if (n_done < n) return;
    }
  };
  if (num_threads() > 1 && index.prepare(keys.size())) {
    parallel_for(KeyIndex::kPieces, 1, [&](size_t begin, size_t end) {
      for (size_t r = begin * KeysByRange::kRangesPerPiece; r < end * KeysByRange::kRangesPerPiece; r++) {
        go_on(r, [&](const int64_t* batch, const uint32_t* numbers, size_t n, uint32_t* rows) {
          return index.find_or_insert_piece(batch, numbers, n, first_row, rows).done;
        });
      }
    });
  }
  for (size_t r = 0; r < KeysByRange::kRanges; r++) {
    go_on(r, [&](const int64_t* batch, const uint32_t* numbers, size_t n, uint32_t* rows) {
      index.find_or_insert_numbered(batch, numbers, n, first_row, rows);
      return n;
    });
    for (size_t k = 0; k < progress[r].known; k++) {
      known.push_back({first + sorted[r].numbers[k], static_cast<uint32_t>(sorted[r].keys[k])});
    }
  }
}

void StagedImport::overwrite(std::span<const Known> known) {
  if (known.empty()) return;
  RowStore& rows = table_.rows_;
  const RowStore::Writing writing(rows, known.size());
  for (const Known& k : known) {
    const uint32_t from = range_.first + k.number;
    if (writing.needed()) writing.keep(k.row);
    std::memcpy(rows.entry(k.row), rows.entry(from), rows.layout().entry_bytes());
    if (table_.record_freq_ && has_freqs_) rows.meta(k.row).freq = rows.meta(from).freq;
    if (table_.record_version_ && has_versions_) rows.meta(k.row).version = rows.meta(from).version;
  }
}

void StagedImport::give_back_unused(std::span<const int64_t> keys) const {
  table_.rows_.give_back_unused(range_, [&](uint32_t number) {
    return number < keys.size() && table_.index_.find(keys[number]) == range_.first + number;
  });
}

}  // namespace kvarn
