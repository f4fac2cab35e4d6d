#include "cold_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <string_view>
#include <system_error>

#include "kvarn/base/crc32c.h"
#include "kvarn/base/endian.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

constexpr std::string_view kPrefix = "ssd_kv_";
constexpr std::string_view kLock = ".lock";
constexpr std::string_view kRecords = ".emb";

// What is written at a time: enough to make the call cheap, little enough to stay in the cache.
constexpr size_t kWriteBytes = size_t{256} << 10;
// Records whose distance is less are read together: the system reads whole pages.
constexpr size_t kGapBytes = 4096;
constexpr size_t kRunBytes = size_t{256} << 10;
// Runs that one thread takes at least.
constexpr size_t kRunsPerThread = 64;

bool digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return '0' <= c && c <= '9'; });
}

// The number in the name of a lock, or nothing.
std::string_view number_of_lock(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kLock)) return {};
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(std::min(kLock.size(), name.size()));
  return digits(name) ? name : std::string_view();
}

// Whether `name` is that of a file under the lock with this number.
bool is_file_of(std::string_view number, std::string_view name) {
  const std::string start = std::string(kPrefix) + std::string(number) + "_";
  if (!name.starts_with(start) || !name.ends_with(kRecords)) return false;
  name.remove_prefix(start.size());
  name.remove_suffix(std::min(kRecords.size(), name.size()));
  return digits(name);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* dir = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(dir)) names.emplace_back(entry->d_name);
    ::closedir(dir);
  }
  return names;
}

// Whether `fd` is still what is found under `path`.
bool same_file(int fd, const std::string& path) {
  struct stat held;
  struct stat named;
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

int retried_flock(int fd, int how) {
  int outcome;
  do {
    outcome = ::flock(fd, how);
  } while (outcome != 0 && errno == EINTR);
  return outcome;
}

void remove_files_of(const std::string& folder, std::string_view number) {
  for (const std::string& name : names_in(folder)) {
    if (is_file_of(number, name)) ::unlink((folder + "/" + name).c_str());
  }
}

// A file that did not exist, or -1 with errno.
int new_file(const std::string& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
  const int fd = ::open(path.c_str(), kFlags, 0666);
  if (fd >= 0 || errno != EMFILE) return fd;
  // A process may have more files open than it is given at first, if it asks.
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &files) == 0) return ::open(path.c_str(), kFlags, 0666);
  }
  errno = EMFILE;
  return -1;
}

// Removes the files under every lock that nobody holds. What cannot be removed stays: it does no harm.
void remove_what_the_dead_left(const std::string& folder) {
  for (const std::string& name : names_in(folder)) {
    const std::string_view number = number_of_lock(name);
    if (number.empty()) continue;
    const std::string path = folder + "/" + name;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    // Listed again under the lock: its owner may have lived, and made files, until a moment ago.
    if (retried_flock(fd, LOCK_EX | LOCK_NB) == 0 && same_file(fd, path)) {
      remove_files_of(folder, number);
      ::unlink(path.c_str());
    }
    ::close(fd);
  }
}

}  // namespace

Status cold_error(const char* what, const std::string& path, int error) {
  const bool room =
      error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE;
  return {room ? Code::kResourceExhausted : Code::kInternal,
          std::string(what) + " '" + path + "': " + std::generic_category().message(error) + " (errno " +
              std::to_string(error) + ")"};
}

// -- the claim ------------------------------------------------------------------------------------

Status ColdClaim::prepare(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return cold_error("cannot make the folder", folder, failed.value());
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return cold_error("cannot write to", folder, errno);
  remove_what_the_dead_left(folder);
  return {};
}

Status ColdClaim::take(const std::string& folder, std::unique_ptr<ColdClaim>* out) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  for (auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();; micros++) {
    const std::string number = std::to_string(micros);
    const std::string path = folder + "/" + std::string(kPrefix) + number + std::string(kLock);
    const int fd = new_file(path);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return cold_error("cannot make", path, errno);
    if (retried_flock(fd, LOCK_EX) != 0) {
      const int error = errno;
      ::unlink(path.c_str());
      ::close(fd);
      return cold_error("cannot lock", path, error);
    }
    // Between the two calls another process may have taken it for a dead one's, and removed it.
    if (same_file(fd, path)) {
      out->reset(new ColdClaim(folder, number, fd));
      return {};
    }
    ::close(fd);
  }
}

ColdClaim::ColdClaim(std::string folder, std::string number, int lock)
    : folder_(std::move(folder)), number_(std::move(number)), lock_(lock), owner_(::getpid()) {}

ColdClaim::~ColdClaim() {
  if (ours()) {
    remove_files_of(folder_, number_);
    ::unlink((folder_ + "/" + std::string(kPrefix) + number_ + std::string(kLock)).c_str());
  }
  ::close(lock_);
}

bool ColdClaim::ours() const { return ::getpid() == owner_; }

std::string ColdClaim::file_path(uint32_t serial) const {
  std::string file = std::to_string(serial);
  if (file.size() < 4) file.insert(0, 4 - file.size(), '0');
  return folder_ + "/" + std::string(kPrefix) + number_ + "_" + file + std::string(kRecords);
}

// -- a file ---------------------------------------------------------------------------------------

ColdFile::ColdFile(std::string path, int fd, uint32_t serial, size_t slot, size_t record_bytes)
    : path_(std::move(path)),
      fd_(fd),
      owner_(::getpid()),
      serial_(serial),
      slot_(slot),
      record_bytes_(record_bytes) {}

Status ColdFile::create(std::string path, uint32_t serial, size_t slot, size_t record_bytes,
                        std::shared_ptr<ColdFile>* out) {
  const int fd = new_file(path);
  if (fd < 0) return cold_error("cannot make", path, errno);
  // Single records are read: what the system would fetch beside them is of no use.
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  out->reset(new ColdFile(std::move(path), fd, serial, slot, record_bytes));
  return {};
}

ColdFile::~ColdFile() { ::close(fd_); }

void ColdFile::unlink() {
  if (::getpid() == owner_) ::unlink(path_.c_str());
}

uint32_t ColdFile::checksum(const std::byte* payload, size_t record) const {
  const uint32_t place[2] = {serial_, static_cast<uint32_t>(record)};
  const uint32_t crc = crc32c_extend(0, {reinterpret_cast<const unsigned char*>(payload), record_bytes_});
  return crc32c_mask(crc32c_extend(crc, {reinterpret_cast<const unsigned char*>(place), sizeof place}));
}

Status ColdFile::write(size_t first, const std::byte* records, size_t n) {
  const size_t stride = record_bytes_ + kChecksumBytes;
  const size_t at_once = std::max<size_t>(1, kWriteBytes / stride);
  std::vector<std::byte> buffer(std::min(n, at_once) * stride);
  for (size_t done = 0; done < n; done += at_once) {
    const size_t count = std::min(at_once, n - done);
    for (size_t i = 0; i < count; i++) {
      const std::byte* payload = records + (done + i) * record_bytes_;
      std::byte* to = buffer.data() + i * stride;
      const uint32_t crc = checksum(payload, first + done + i);
      std::memcpy(to, payload, record_bytes_);
      std::memcpy(to + record_bytes_, &crc, sizeof crc);
    }
    size_t offset = (first + done) * stride;
    for (size_t written = 0; written < count * stride;) {
      const ssize_t got = ::pwrite(fd_, buffer.data() + written, count * stride - written,
                                   static_cast<off_t>(offset + written));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return cold_error("cannot write", path_, errno);
      written += static_cast<size_t>(got);
    }
  }
  return {};
}

Status ColdFile::check(const std::byte* bytes, size_t record) const {
  uint32_t stored;
  std::memcpy(&stored, bytes + record_bytes_, sizeof stored);
  const uint32_t computed = checksum(bytes, record);
  if (stored == computed) return {};
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "stored 0x%08x, computed 0x%08x", stored, computed);
  return {Code::kDataLoss, "record " + std::to_string(record) + " of '" + path_ +
                               "' does not match its checksum: " + numbers + ", at byte " +
                               std::to_string(record * (record_bytes_ + kChecksumBytes))};
}

ColdFile::Read ColdFile::read(size_t offset, std::span<std::byte> bytes, bool wait, Status* status) const {
  for (size_t done = 0; done < bytes.size();) {
    const auto at = static_cast<off_t>(offset + done);
    ssize_t got;
    if (wait) {
      got = ::pread(fd_, bytes.data() + done, bytes.size() - done, at);
    } else {
      const iovec piece = {bytes.data() + done, bytes.size() - done};
      got = ::preadv2(fd_, &piece, 1, at, RWF_NOWAIT);
      // Whatever is in its way, the call that waits finds out.
      if (got <= 0) return Read::kWouldWait;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      *status = cold_error("cannot read", path_, errno);
      return Read::kFailed;
    }
    if (got == 0) {
      *status = {Code::kDataLoss, "'" + path_ + "' ends at byte " + std::to_string(offset + done) +
                                      ", inside of what was written to it"};
      return Read::kFailed;
    }
    done += static_cast<size_t>(got);
  }
  return Read::kDone;
}

void ColdFile::announce(size_t offset, size_t n) const {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(n), POSIX_FADV_WILLNEED);
}

// -- many records ---------------------------------------------------------------------------------

// Records that are read with one call: order[begin, end), ascending.
struct ColdFiles::Run {
  const ColdFile* file;
  size_t begin;
  size_t end;
  size_t offset;  // in bytes of the file
  size_t bytes;
};

Status ColdFiles::read(const uint32_t* numbers, size_t n, std::byte* out) const {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  if (!std::is_sorted(numbers, numbers + n)) {
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return numbers[a] < numbers[b]; });
  }
  const size_t stride = record_bytes_ + ColdFile::kChecksumBytes;
  std::vector<Run> runs;
  for (size_t i = 0; i < n; i++) {
    const uint32_t number = numbers[order[i]];
    const size_t slot = slot_of(number);
    if (slot >= by_slot_.size() || by_slot_[slot] == nullptr) {
      return {Code::kInternal, "there is no record " + std::to_string(number)};
    }
    const size_t offset = place_of(number) * stride;
    if (!runs.empty() && runs.back().file == by_slot_[slot].get()) {
      Run& run = runs.back();
      const size_t bytes = offset + stride - run.offset;
      if (bytes <= run.bytes + stride + kGapBytes && bytes <= std::max(kRunBytes, stride)) {
        run.bytes = bytes;
        run.end = i + 1;
        continue;
      }
    }
    runs.push_back({by_slot_[slot].get(), i, i + 1, offset, stride});
  }
  std::mutex mutex;
  Status first_error;
  size_t failed_at = SIZE_MAX;
  parallel_for(runs.size(), kRunsPerThread, [&](size_t begin, size_t end) {
    const Status status = read_runs(std::span(runs).subspan(begin, end - begin), numbers, order, out);
    if (status.ok()) return;
    const std::lock_guard lock(mutex);
    if (begin < failed_at) {
      failed_at = begin;
      first_error = status;
    }
  });
  return first_error;
}

Status ColdFiles::read_runs(std::span<const Run> runs, const uint32_t* numbers,
                            std::span<const uint32_t> order, std::byte* out) const {
  size_t longest = 0;
  for (const Run& run : runs) longest = std::max(longest, run.bytes);
  std::vector<std::byte> buffer(longest);
  std::vector<const Run*> waiting;
  const auto take = [&](const Run& run, bool wait) -> Status {
    Status status;
    const auto read = run.file->read(run.offset, std::span(buffer).first(run.bytes), wait, &status);
    if (read == ColdFile::Read::kWouldWait) waiting.push_back(&run);
    if (read != ColdFile::Read::kDone) return status;
    for (size_t i = run.begin; i < run.end; i++) {
      const size_t place = place_of(numbers[order[i]]);
      const std::byte* bytes =
          buffer.data() + place * (record_bytes_ + ColdFile::kChecksumBytes) - run.offset;
      if (const Status checked = run.file->check(bytes, place); !checked.ok()) return checked;
      std::memcpy(out + order[i] * record_bytes_, bytes, record_bytes_);
    }
    return {};
  };
  // What is in memory first; the disk is then asked for all the rest at once, and fetches it side by side.
  for (const Run& run : runs) {
    if (const Status status = take(run, false); !status.ok()) return status;
  }
  for (const Run* run : waiting) run->file->announce(run->offset, run->bytes);
  for (size_t i = 0; i < waiting.size(); i++) {
    if (const Status status = take(*waiting[i], true); !status.ok()) return status;
  }
  return {};
}

}  // namespace kvarn
