#include "kvarn/engine/cold_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "cold_file.h"

namespace kvarn {
namespace {

// DeepRec's numbers (ssd_hash_kv.h, emb_file.h).
constexpr uint64_t kManyReleased = 10'000'000;
constexpr uint64_t kThird = 3;

bool a_third_released(uint64_t live, uint64_t total) { return (total - live) > total / kThird; }

}  // namespace

Status ColdView::read(const uint32_t* numbers, size_t n, std::byte* out) const {
  return files_->read(numbers, n, out);
}

Status ColdStore::open(const std::string& path, size_t record_bytes, size_t file_bytes,
                       std::unique_ptr<ColdStore>* out) {
  if (record_bytes < sizeof(int64_t)) return Status::invalid("cold store: a record has at least its key");
  std::unique_ptr<ColdStore> store(new ColdStore(path, record_bytes, file_bytes));
  if (Status status = ColdClaim::prepare(path); !status.ok()) return status;
  *out = std::move(store);
  return {};
}

ColdStore::ColdStore(std::string path, size_t record_bytes, size_t file_bytes) : path_(std::move(path)) {
  const size_t records = std::max<size_t>(1, file_bytes / (record_bytes + ColdFile::kChecksumBytes));
  // A power of two, so that a number's slot and place are some of its bits.
  const auto shift = static_cast<unsigned>(std::bit_width(std::min<size_t>(records, kMaxRecords)) - 1);
  files_ = std::make_shared<ColdFiles>(record_bytes, shift, std::vector<std::shared_ptr<ColdFile>>());
}

ColdStore::~ColdStore() = default;

size_t ColdStore::record_bytes() const { return files()->record_bytes(); }

Status ColdStore::claim() {
  std::unique_ptr<ColdClaim> claim;
  if (Status status = ColdClaim::take(path_, &claim); !status.ok()) return status;
  claim_ = std::move(claim);
  return {};
}

std::shared_ptr<const ColdFiles> ColdStore::files() const {
  const std::lock_guard lock(mutex_);
  return files_;
}

Status ColdStore::new_file(size_t slot, std::shared_ptr<ColdFile>* out) {
  const size_t per_file = files_->per_file();
  if ((slot + 1) * per_file > kMaxRecords) {
    return Status::exhausted("the numbers of records in '" + path_ +
                             "' are used up: a table has at most 2^30 records on disk");
  }
  std::shared_ptr<ColdFile> file;
  const Status status =
      ColdFile::create(claim_->file_path(next_serial_), next_serial_, slot, files_->record_bytes(), &file);
  if (!status.ok()) return status;
  next_serial_++;
  file->live.resize(per_file);
  *out = std::move(file);
  return {};
}

size_t ColdStore::free_slot(size_t from) const {
  const auto& by_slot = files_->by_slot();
  while (from < by_slot.size() && by_slot[from] != nullptr) from++;
  return from;
}

struct ColdStore::Part {
  std::shared_ptr<ColdFile> file;
  size_t first;  // place in the file
  size_t n;
};

Status ColdStore::append(const std::byte* records, size_t n, uint32_t* numbers) {
  if (n == 0) return {};
  if (claim_ == nullptr || !claim_->ours()) {
    // The first record, or the first after a fork: the parent goes on with its files, here new ones are
    // begun.
    if (Status status = claim(); !status.ok()) return status;
    tail_ = nullptr;
  }
  const size_t per_file = files_->per_file();
  const size_t record_bytes = files_->record_bytes();
  // Everything is on disk before anything is taken; only this thread changes what is read here.
  std::vector<Part> parts;
  Status status;
  std::shared_ptr<ColdFile> file = tail_;
  size_t slot = 0;
  for (size_t done = 0; done < n && status.ok();) {
    const size_t first = file == nullptr || !parts.empty() ? per_file : file->used;
    if (first == per_file) {
      slot = free_slot(slot);
      status = new_file(slot++, &file);
      if (!status.ok()) break;
      parts.push_back({file, 0, std::min(per_file, n - done)});
    } else {
      parts.push_back({file, first, std::min(per_file - first, n - done)});
    }
    status = parts.back().file->write(parts.back().first, records + done * record_bytes, parts.back().n);
    done += parts.back().n;
  }
  if (!status.ok()) {
    for (const Part& part : parts) {
      if (part.first == 0) part.file->unlink();
    }
    return status;
  }
  const std::lock_guard lock(mutex_);
  if (parts.back().file != tail_) {
    if (tail_ != nullptr && parts.front().file != tail_ && tail_->n_live == 0) drop(tail_->slot());
    auto by_slot = files_->by_slot();
    for (const Part& part : parts) {
      if (by_slot.size() <= part.file->slot()) by_slot.resize(part.file->slot() + 1);
      by_slot[part.file->slot()] = part.file;
    }
    files_ = std::make_shared<ColdFiles>(record_bytes, files_->shift(), std::move(by_slot));
  }
  for (const Part& part : parts) {
    for (size_t i = 0; i < part.n; i++) {
      part.file->live[part.first + i] = true;
      *numbers++ = files_->number_of(*part.file, part.first + i);
    }
    part.file->used += part.n;
    part.file->n_live += part.n;
  }
  tail_ = parts.back().file;
  live_ += n;
  total_ += n;
  return {};
}

Status ColdStore::read(const uint32_t* numbers, size_t n, std::byte* out) const {
  return files()->read(numbers, n, out);
}

std::shared_ptr<const ColdView> ColdStore::view() const { return std::make_shared<ColdView>(files()); }

void ColdStore::release(const uint32_t* numbers, size_t n) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < n; i++) {
    const size_t slot = files_->slot_of(numbers[i]);
    const size_t place = files_->place_of(numbers[i]);
    if (slot >= files_->by_slot().size() || files_->by_slot()[slot] == nullptr) continue;
    ColdFile& file = *files_->by_slot()[slot];
    if (!file.live[place]) continue;
    file.live[place] = false;
    file.n_live--;
    live_--;
    if (file.n_live == 0 && &file != tail_.get()) drop(slot);
  }
}

void ColdStore::release_all() {
  const std::lock_guard lock(mutex_);
  for (size_t slot = 0; slot < files_->by_slot().size(); slot++) {
    if (files_->by_slot()[slot] == nullptr) continue;
    live_ -= files_->by_slot()[slot]->n_live;
    drop(slot);
  }
  tail_ = nullptr;
}

void ColdStore::drop(size_t slot) {
  auto by_slot = files_->by_slot();
  const std::shared_ptr<ColdFile> file = std::exchange(by_slot[slot], nullptr);
  files_ = std::make_shared<ColdFiles>(files_->record_bytes(), files_->shift(), std::move(by_slot));
  total_ -= file->used;
  if (victim_ == file) victim_ = nullptr;
  file->unlink();
}

bool ColdStore::worth_compacting() const {
  return a_third_released(live_, total_) || total_ - live_ > kManyReleased;
}

std::shared_ptr<ColdFile> ColdStore::most_released() const {
  std::shared_ptr<ColdFile> most;
  for (const auto& file : files_->by_slot()) {
    if (file == nullptr || file == tail_ || file->damaged || !a_third_released(file->n_live, file->used)) {
      continue;
    }
    // Compared as shares: the live of one against the live of the other, each times the other's size.
    if (most == nullptr || file->n_live * most->used < most->n_live * file->used) most = file;
  }
  return most;
}

Status ColdStore::compact(size_t max_records, const Moved& moved, bool* more) {
  *more = false;
  std::vector<uint32_t> from;
  size_t place;
  {
    const std::lock_guard lock(mutex_);
    if (victim_ == nullptr && worth_compacting()) {
      victim_ = most_released();
      cursor_ = 0;
    }
    if (victim_ == nullptr) return {};
    place = cursor_;
    for (; place < victim_->used && from.size() < max_records; place++) {
      if (victim_->live[place]) from.push_back(files_->number_of(*victim_, place));
    }
  }
  std::vector<std::byte> records(from.size() * record_bytes());
  if (Status status = read(from.data(), from.size(), records.data()); !status.ok()) {
    victim_->damaged = true;
    victim_ = nullptr;
    return status;
  }
  std::vector<uint32_t> to(from.size());
  if (Status status = append(records.data(), from.size(), to.data()); !status.ok()) return status;
  for (size_t i = 0; i < from.size(); i++) {
    int64_t key;
    std::memcpy(&key, records.data() + i * record_bytes(), sizeof key);
    try {
      if (!moved(key, from[i], to[i])) release(&to[i], 1);
    } catch (...) {
      // This record and those after it are referred to where they were.
      release(&to[i], to.size() - i);
      release(from.data(), i);
      throw;
    }
  }
  cursor_ = place;
  // The file goes with its last record.
  release(from.data(), from.size());
  const std::lock_guard lock(mutex_);
  *more = victim_ != nullptr || (worth_compacting() && most_released() != nullptr);
  return {};
}

ColdStore::Stats ColdStore::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats;
  stats.live = live_;
  stats.total = total_;
  for (const auto& file : files_->by_slot()) stats.files += file != nullptr ? 1 : 0;
  stats.bytes = total_ * (files_->record_bytes() + ColdFile::kChecksumBytes);
  return stats;
}

}  // namespace kvarn
