// Bytes moved and checked in one go: the checksum sees them while they are still in the cache.
#pragma once

#include <cstdint>
#include <span>

namespace kvarn {

// What is read and then checked at a time: well within a core's own cache.
constexpr size_t kReadBytes = size_t{256} << 10;

// What is checked and then written at a time. The system keeps a file in memory in pieces as large as the
// writes were: this makes mapping it a fifth cheaper than 256 KiB do, and 2 MiB can make it tidy its memory
// for seconds.
constexpr size_t kWriteBytes = size_t{1} << 20;

// One run of a file.
struct FileRun {
  int64_t offset = 0;
  std::span<unsigned char> target;
  uint32_t crc = 0;  // out
};

struct IoOutcome {
  int error = 0;        // errno, 0 for none
  int64_t missing = 0;  // bytes that the file did not have
  size_t run = 0;       // of which run
  bool ok() const { return error == 0 && missing == 0; }
};

// Fills every run from the file and computes its checksum, with up to `threads` threads; long runs are shared
// among them. The outcome is that of the first run that failed.
IoOutcome read_checked(int file, std::span<FileRun> runs, int threads);

// Writes all of `data` where the file stands and extends `crc` over it; 0 or errno.
int write_checked(int file, std::span<const unsigned char> data, uint32_t* crc);

struct MemoryRun {
  std::span<const unsigned char> data;
  uint32_t crc = 0;  // out
};

// The checksum of every run, with up to `threads` threads.
void checksum_runs(std::span<MemoryRun> runs, int threads);

}  // namespace kvarn
