#include "kvarn/formats/checked_io.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#include "kvarn/base/crc32c.h"
#include "kvarn/base/thread_pool.h"

namespace kvarn {
namespace {

// What one thread takes at a time; a multiple of a huge page.
constexpr size_t kShareBytes = size_t{8} << 20;

struct Share {
  size_t run;
  size_t begin;
  size_t end;
  uint32_t crc = 0;
};

// Runs cut into shares, in order. Short runs are shares of their own.
template <typename Run, typename Size>
std::vector<Share> shares_of(std::span<Run> runs, Size size) {
  std::vector<Share> shares;
  shares.reserve(runs.size());
  for (size_t r = 0; r < runs.size(); r++) {
    for (size_t begin = 0; begin < size(runs[r]); begin += kShareBytes) {
      shares.push_back({r, begin, std::min(size(runs[r]), begin + kShareBytes)});
    }
  }
  return shares;
}

// fn(share) for all shares; neighbours are claimed together until they are worth a thread's while.
template <typename Fn>
void for_shares(std::span<Share> shares, int threads, const Fn& fn) {
  size_t bytes = 0;
  for (const Share& share : shares) bytes += share.end - share.begin;
  const size_t useful = std::min<size_t>(static_cast<size_t>(std::max(1, threads)), 1 + bytes / kShareBytes);
  std::atomic<size_t> next{0};
  const size_t at_once = std::max<size_t>(1, std::min<size_t>(64, shares.size() / (4 * useful)));
  parallel_for(useful, 1, [&](size_t, size_t) {
    for (;;) {
      const size_t first = next.fetch_add(at_once, std::memory_order_relaxed);
      if (first >= shares.size()) return;
      for (size_t i = first; i < std::min(shares.size(), first + at_once); i++) fn(shares[i]);
    }
  });
}

template <typename Run>
void join(std::span<const Share> shares, std::span<Run> runs) {
  for (const Share& share : shares) {
    Run& run = runs[share.run];
    run.crc = share.begin == 0 ? share.crc : crc32c_combine(run.crc, share.crc, share.end - share.begin);
  }
}

// Fills `target`; how many bytes came, or -1 with errno.
ssize_t read_fully(int file, std::span<unsigned char> target, int64_t offset) {
  size_t done = 0;
  while (done < target.size()) {
    const ssize_t n =
        ::pread(file, target.data() + done, target.size() - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

IoOutcome read_checked(int file, std::span<FileRun> runs, int threads) {
  for (FileRun& run : runs) run.crc = 0;
  std::vector<Share> shares = shares_of(runs, [](const FileRun& run) { return run.target.size(); });
  std::vector<IoOutcome> failed(runs.size());
  std::atomic<bool> stop{false};
  for_shares(shares, threads, [&](Share& share) {
    const FileRun& run = runs[share.run];
    for (size_t at = share.begin; at < share.end && !stop.load(std::memory_order_relaxed); at += kReadBytes) {
      const auto piece = run.target.subspan(at, std::min(kReadBytes, share.end - at));
      const ssize_t n = read_fully(file, piece, run.offset + static_cast<int64_t>(at));
      if (n != static_cast<ssize_t>(piece.size())) {
        // Of several shares of a run any failure will do: one of them wins.
        if (!stop.exchange(true)) {
          failed[share.run] = {n < 0 ? errno : 0, n < 0 ? 0 : static_cast<int64_t>(piece.size()) - n,
                               share.run};
        }
        return;
      }
      share.crc = crc32c_extend(share.crc, piece);
    }
  });
  join<FileRun>(shares, runs);
  for (const IoOutcome& outcome : failed) {
    if (!outcome.ok()) return outcome;
  }
  return {};
}

int write_checked(int file, std::span<const unsigned char> data, uint32_t* crc) {
  while (!data.empty()) {
    const auto piece = data.first(std::min(kWriteBytes, data.size()));
    *crc = crc32c_extend(*crc, piece);
    for (size_t done = 0; done < piece.size();) {
      const ssize_t n = ::write(file, piece.data() + done, piece.size() - done);
      if (n < 0 && errno != EINTR) return errno;
      if (n > 0) done += static_cast<size_t>(n);
    }
    data = data.subspan(piece.size());
  }
  return 0;
}

void checksum_runs(std::span<MemoryRun> runs, int threads) {
  for (MemoryRun& run : runs) run.crc = 0;
  std::vector<Share> shares = shares_of(runs, [](const MemoryRun& run) { return run.data.size(); });
  for_shares(shares, threads, [&](Share& share) {
    const auto piece = runs[share.run].data.subspan(share.begin, share.end - share.begin);
    share.crc = crc32c_extend(0, piece);
  });
  join<MemoryRun>(shares, runs);
}

}  // namespace kvarn
