#include "kvarn/base/thread_pool.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kvarn/base/simd.h"

namespace kvarn {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

thread_local bool inside_parallel_for = false;

int usable_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Waits a moment for what is about to happen: to be woken takes longer. True if it has happened.
template <typename Happened>
bool spin_until(Happened happened) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; i++) {
      if (happened()) return true;
      KVARN_PAUSE();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// One parallel_for: pieces are claimed from a counter by whoever comes first.
struct Job {
  size_t n;
  size_t piece;
  size_t n_pieces;
  const std::function<void(size_t, size_t)>* fn;
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};
  std::mutex mutex;
  std::condition_variable all_done;

  void work() {
    for (;;) {
      const size_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= n_pieces) return;
      (*fn)(i* piece, std::min(n, (i + 1) * piece));
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == n_pieces) {
        const std::lock_guard lock(mutex);
        all_done.notify_all();
      }
    }
  }

  void wait() {
    if (spin_until([this] { return done.load(std::memory_order_acquire) == n_pieces; })) return;
    std::unique_lock lock(mutex);
    all_done.wait(lock, [this] { return done.load(std::memory_order_acquire) == n_pieces; });
  }
};

class Pool {
 public:
  void run(const std::shared_ptr<Job>& job, size_t helpers) {
    {
      const std::lock_guard lock(mutex_);
      while (n_workers_ < helpers) {
        std::thread([this] { loop(); }).detach();
        n_workers_++;
      }
      for (size_t i = 0; i < helpers; i++) queue_.push_back(job);
      queued_.store(queue_.size(), std::memory_order_relaxed);
    }
    for (size_t i = 0; i < helpers; i++) wake_.notify_one();
    inside_parallel_for = true;
    job->work();
    inside_parallel_for = false;
    job->wait();
  }

 private:
  void loop() {
    inside_parallel_for = true;
    for (;;) {
      std::shared_ptr<Job> job;
      spin_until([this] { return queued_.load(std::memory_order_relaxed) != 0; });
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        job = std::move(queue_.front());
        queue_.pop_front();
        queued_.store(queue_.size(), std::memory_order_relaxed);
      }
      job->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::atomic<size_t> queued_ = 0;  // as queue_.size(), for those who only look
  size_t n_workers_ = 0;
};

std::atomic<int> thread_count{0};
std::atomic<Pool*> the_pool{nullptr};

// The pool is never destroyed: its workers may still sleep in it while the process ends. A forked child has
// none of the parent's threads and perhaps a locked mutex, so it forgets the parent's pool and makes its own.
Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
  (void)registered;
  Pool* p = the_pool.load(std::memory_order_acquire);
  if (p != nullptr) return *p;
  auto* fresh = new Pool;
  if (the_pool.compare_exchange_strong(p, fresh)) return *fresh;
  delete fresh;
  return *p;
}

}  // namespace

void set_num_threads(int n) { thread_count.store(std::max(1, n)); }

int num_threads() {
  int n = thread_count.load(std::memory_order_relaxed);
  if (n > 0) return n;
  n = usable_processors();
  int unset = 0;
  thread_count.compare_exchange_strong(unset, n);
  return thread_count.load();
}

void parallel_for(size_t n, size_t grain, const std::function<void(size_t, size_t)>& fn) {
  if (n == 0) return;
  grain = std::max<size_t>(grain, 1);
  const size_t threads = std::min(static_cast<size_t>(num_threads()), (n + grain - 1) / grain);
  if (threads <= 1 || inside_parallel_for) {
    fn(0, n);
    return;
  }
  // Two pieces a thread even out a slow one.
  const size_t piece = std::max(grain, (n + 2 * threads - 1) / (2 * threads));
  auto job = std::make_shared<Job>();
  job->n = n;
  job->piece = piece;
  job->n_pieces = (n + piece - 1) / piece;
  job->fn = &fn;
  pool().run(job, threads - 1);
}

}  // namespace kvarn
