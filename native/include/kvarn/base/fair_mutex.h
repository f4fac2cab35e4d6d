// A reader-writer lock under which nobody starves: who comes passes a gate, so a waiting writer holds back
// the readers behind it, and readers that wait run before the next writer but one.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace kvarn {

class FairMutex {
 public:
  void lock() {
    const std::lock_guard gate(gate_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    const std::lock_guard gate(gate_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::mutex gate_;
  std::shared_mutex mutex_;
};

}  // namespace kvarn
