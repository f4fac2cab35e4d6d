// One file of a cold store, the batch of records read from several, and the lock that says whose they are.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvarn/base/status.h"

namespace kvarn {

// What a failed call of the system on `path` becomes: no room is ResourceExhausted, all else Internal.
Status cold_error(const char* what, const std::string& path, int error);

// The right to file names in a folder: a lock file that only the living hold. Files under these names go with
// it.
class ColdClaim {
 public:
  // Makes the folder if it is missing, removes what the dead have left in it, and sees whether it can be
  // written.
  static Status prepare(const std::string& folder);
  static Status take(const std::string& folder, std::unique_ptr<ColdClaim>* out);
  ~ColdClaim();
  ColdClaim(const ColdClaim&) = delete;
  ColdClaim& operator=(const ColdClaim&) = delete;

  std::string file_path(uint32_t serial) const;
  // Whether this process took it. After a fork the files stay the parent's.
  bool ours() const;

 private:
  ColdClaim(std::string folder, std::string number, int lock);

  const std::string folder_;
  const std::string number_;
  const int lock_;
  const pid_t owner_;
};

class ColdFile {
 public:
  static constexpr size_t kChecksumBytes = 4;

  static Status create(std::string path, uint32_t serial, size_t slot, size_t record_bytes,
                       std::shared_ptr<ColdFile>* out);
  ~ColdFile();
  ColdFile(const ColdFile&) = delete;
  ColdFile& operator=(const ColdFile&) = delete;

  // Takes the name away; who has the file reads on.
  void unlink();

  size_t slot() const { return slot_; }
  // Records [first, first + n) from `records`, each with its checksum.
  Status write(size_t first, const std::byte* records, size_t n);
  // The payload of `record`, if `bytes` are what was written at its place.
  Status check(const std::byte* bytes, size_t record) const;

  enum class Read { kDone, kWouldWait, kFailed };
  // Fills `bytes` from byte `offset` on. Without `wait`, only if the system has them in memory.
  Read read(size_t offset, std::span<std::byte> bytes, bool wait, Status* status) const;
  // Asks the system to fetch bytes that are about to be read.
  void announce(size_t offset, size_t n) const;

  // Which records are referred to. The store's lock guards these.
  std::vector<bool> live;
  size_t used = 0;
  size_t n_live = 0;
  bool damaged = false;

 private:
  ColdFile(std::string path, int fd, uint32_t serial, size_t slot, size_t record_bytes);

  uint32_t checksum(const std::byte* payload, size_t record) const;

  const std::string path_;
  const int fd_;
  const pid_t owner_;
  const uint32_t serial_;
  const size_t slot_;
  const size_t record_bytes_;
};

// The files by slot: a record's number is its slot and its place in the file. Never changes.
class ColdFiles {
 public:
  ColdFiles(size_t record_bytes, unsigned shift, std::vector<std::shared_ptr<ColdFile>> by_slot)
      : record_bytes_(record_bytes), shift_(shift), by_slot_(std::move(by_slot)) {}

  // As ColdStore::read.
  Status read(const uint32_t* numbers, size_t n, std::byte* out) const;

  size_t record_bytes() const { return record_bytes_; }
  unsigned shift() const { return shift_; }
  size_t per_file() const { return size_t{1} << shift_; }
  const std::vector<std::shared_ptr<ColdFile>>& by_slot() const { return by_slot_; }
  size_t slot_of(uint32_t number) const { return number >> shift_; }
  size_t place_of(uint32_t number) const { return number & (per_file() - 1); }
  uint32_t number_of(const ColdFile& file, size_t place) const {
    return static_cast<uint32_t>((file.slot() << shift_) + place);
  }

 private:
  struct Run;
  Status read_runs(std::span<const Run> runs, const uint32_t* numbers, std::span<const uint32_t> order,
                   std::byte* out) const;

  size_t record_bytes_;
  unsigned shift_;
  std::vector<std::shared_ptr<ColdFile>> by_slot_;
};

}  // namespace kvarn
