// Reads and writes with their checksums, whole and short, on one thread and on several.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "check.h"
#include "kvarn/base/crc32c.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/formats/checked_io.h"

namespace {

using Bytes = std::vector<unsigned char>;

// A file of its own that is gone at the end.
class File {
 public:
  File() {
    std::string path = "/tmp/kvarn-checked-XXXXXX";
    descriptor_ = ::mkstemp(path.data());
    ::unlink(path.c_str());
  }
  ~File() { ::close(descriptor_); }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

Bytes some_bytes(size_t n) {
  Bytes data(n);
  for (size_t i = 0; i < n; i++) data[i] = static_cast<unsigned char>(i * 31 + (i >> 9));
  return data;
}

TEST(what_is_written_is_read_with_the_same_checksum) {
  const File file;
  const Bytes data = some_bytes((20u << 20) + 12'345);  // several shares, the last one short
  uint32_t crc = kvarn::crc32c_extend(0, data);
  uint32_t written = 0;
  CHECK(kvarn::write_checked(file.descriptor(), std::span(data).first(1000), &written) == 0);
  CHECK(kvarn::write_checked(file.descriptor(), std::span(data).subspan(1000), &written) == 0);
  CHECK(written == crc);
  for (const int threads : {1, 2, 4}) {
    kvarn::set_num_threads(threads);
    Bytes whole(data.size());
    Bytes part(777);
    Bytes nothing;
    std::vector<kvarn::FileRun> runs{{0, whole}, {5, part}, {9, nothing}};
    CHECK(kvarn::read_checked(file.descriptor(), runs, threads).ok());
    CHECK(whole == data && runs[0].crc == crc && runs[2].crc == 0);
    CHECK(runs[1].crc == kvarn::crc32c_extend(0, std::span(data).subspan(5, 777)));
    std::vector<kvarn::MemoryRun> memory{{data}, {std::span(data).subspan(5, 777)}, {}};
    kvarn::checksum_runs(memory, threads);
    CHECK(memory[0].crc == crc && memory[1].crc == runs[1].crc && memory[2].crc == 0);
  }
}

TEST(a_file_that_is_too_short_is_said) {
  const File file;
  uint32_t crc = 0;
  const Bytes data = some_bytes(100);
  CHECK(kvarn::write_checked(file.descriptor(), data, &crc) == 0);
  Bytes first(10);
  Bytes beyond(50);
  std::vector<kvarn::FileRun> runs{{0, first}, {90, beyond}};
  const kvarn::IoOutcome outcome = kvarn::read_checked(file.descriptor(), runs, 2);
  CHECK(!outcome.ok() && outcome.error == 0 && outcome.run == 1 && outcome.missing == 40);
}

TEST(errors_of_the_system_come_through) {
  uint32_t crc = 0;
  const Bytes data = some_bytes(10);
  CHECK(kvarn::write_checked(-1, data, &crc) == EBADF);
  Bytes target(10);
  std::vector<kvarn::FileRun> runs{{0, target}};
  CHECK(kvarn::read_checked(-1, runs, 1).error == EBADF);
}

}  // namespace

KVARN_TEST_MAIN
