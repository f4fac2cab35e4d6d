// Rows on disk: records of one size, appended to files, named by numbers that the table's index keeps.
//
//   <path>/ssd_kv_<micros>.lock          locked (flock) by the living process that owns the files below
//   <path>/ssd_kv_<micros>_<NNNN>.emb    record 0 | record 1 | ...        one file after the other
//   record := payload (record_bytes, the first 8 are the key) | masked crc32c
//   crc32c  : of the payload, then of NNNN and of the record's place in the file, 32 bits each
//
// The files are memory that happens to be slow: no file is opened twice, they go when the store goes, and
// what a process that died has left is removed by the next store in the same folder, which knows it by its
// lock.
//
// A record whose checksum does not hold, for its bytes or because they belong elsewhere, is DataLoss; nothing
// is ever given out unchecked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kvarn/base/status.h"

namespace kvarn {

class ColdFile;
class ColdFiles;
class ColdClaim;

// The records that were live when it was made, for as long as it lives: whatever the store does, and when the
// store is gone. It keeps the disk space of their files.
class ColdView {
 public:
  explicit ColdView(std::shared_ptr<const ColdFiles> files) : files_(std::move(files)) {}
  // As ColdStore::read.
  Status read(const uint32_t* numbers, size_t n, std::byte* out) const;

 private:
  std::shared_ptr<const ColdFiles> files_;
};

// One thread at a time appends, releases and compacts; reads and views may be taken beside it.
class ColdStore {
 public:
  static constexpr uint32_t kMaxRecords = uint32_t{1} << 30;

  struct Stats {
    uint64_t live = 0;   // records that are referred to
    uint64_t total = 0;  // records in files
    uint64_t files = 0;
    uint64_t bytes = 0;  // of the records in files
  };

  // Records of `record_bytes` bytes, 8 at least, in files of about `file_bytes` in the folder `path`, which
  // is made if it is missing. Writes nothing.
  static Status open(const std::string& path, size_t record_bytes, size_t file_bytes,
                     std::unique_ptr<ColdStore>* out);
  // The files go, but for what views hold.
  ~ColdStore();
  ColdStore(const ColdStore&) = delete;
  ColdStore& operator=(const ColdStore&) = delete;

  size_t record_bytes() const;

  // Stores n records and says their numbers, all below kMaxRecords. An error, ResourceExhausted if there is
  // no room, changes nothing.
  Status append(const std::byte* records, size_t n, uint32_t* numbers);
  // The records of `numbers`, in their order. A number must not be released meanwhile.
  Status read(const uint32_t* numbers, size_t n, std::byte* out) const;
  // These records are no longer referred to.
  void release(const uint32_t* numbers, size_t n);
  void release_all();
  std::shared_ptr<const ColdView> view() const;

  // Told of a record's new number; false: the caller does not refer to it any more, so it is released. What
  // it throws comes out of `compact`, and the record stays where it was.
  using Moved = std::function<bool(int64_t key, uint32_t from, uint32_t to)>;
  // When more than a third of all records, or 10 million, are released, moves up to `max_records` of a file
  // that is at least that far gone to the end; a file that is empty then goes. `more`: there is more to do.
  // An error moves nothing; a file with a damaged record is reported once and then left alone.
  Status compact(size_t max_records, const Moved& moved, bool* more);

  Stats stats() const;

 private:
  ColdStore(std::string path, size_t record_bytes, size_t file_bytes);

  struct Part;  // of a batch that goes to one file

  Status claim();
  Status new_file(size_t slot, std::shared_ptr<ColdFile>* out);
  size_t free_slot(size_t from) const;
  std::shared_ptr<const ColdFiles> files() const;
  // The caller of what follows holds the lock.
  void drop(size_t slot);
  bool worth_compacting() const;
  std::shared_ptr<ColdFile> most_released() const;

  const std::string path_;
  std::unique_ptr<ColdClaim> claim_;  // null before the first record
  uint32_t next_serial_ = 0;
  std::shared_ptr<ColdFile> tail_;    // where the next record goes; null before the first
  std::shared_ptr<ColdFile> victim_;  // what is being compacted
  size_t cursor_ = 0;                 // of its records, those before have been moved

  mutable std::mutex mutex_;  // the fields below, and what of a ColdFile changes
  std::shared_ptr<const ColdFiles> files_;
  uint64_t live_ = 0;
  uint64_t total_ = 0;
};

}  // namespace kvarn
