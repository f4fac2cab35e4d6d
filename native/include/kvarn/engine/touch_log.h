// Which keys were created, updated, imported or removed, and after which cut last: what an incremental save
// is made of. Not thread-safe; the table locks around it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kvarn/engine/key_index.h"

namespace kvarn {

class TouchLog {
 public:
  using View = KeyIndex::View;

  bool active() const { return active_; }
  void activate(bool on) {
    active_ = on;
    if (!on) last_.clear();
  }

  // `cut` is the number of cuts taken so far.
  void touch(int64_t key, uint32_t cut) {
    if (!last_.set(key, cut)) last_.insert(key, cut);
  }
  // Forgets what was last touched before cut number `before`.
  void forget(uint32_t before) {
    std::vector<int64_t> old;
    last_.for_each([&](int64_t key, uint32_t cut) {
      if (cut < before) old.push_back(key);
    });
    for (const int64_t key : old) last_.erase(key);
  }
  std::shared_ptr<const View> view() const { return last_.view(); }

 private:
  bool active_ = false;
  KeyIndex last_;  // in place of a row: the cut
};

}  // namespace kvarn
