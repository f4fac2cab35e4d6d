// Which keys were created, updated, imported or removed, and after which cut last: what an incremental save
// is made of. Not thread-safe; the table locks around it.
#pragma once

#include <algorithm>
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
  // `cut` is the number of cuts taken so far, here and below.
  void activate(bool on, uint32_t cut) {
    if (on && !active_) known_from_ = cut;
    if (!on) last_.clear();
    active_ = on;
  }
  // Whether all that was touched after cut number `since` is known.
  bool knows(uint32_t since) const { return active_ && since >= known_from_; }

  void touch(int64_t key, uint32_t cut) {
    if (!last_.set(key, cut)) last_.insert(key, cut);
  }
  // Forgets what was last touched before cut number `before`.
  void forget(uint32_t before) {
    known_from_ = std::max(known_from_, before);
    std::vector<int64_t> old;
    last_.for_each([&](int64_t key, uint32_t cut) {
      if (cut < before) old.push_back(key);
    });
    for (const int64_t key : old) last_.erase(key);
  }
  std::shared_ptr<const View> view() const { return last_.view(); }

 private:
  bool active_ = false;
  uint32_t known_from_ = 0;
  KeyIndex last_;  // in place of a row: the cut
};

}  // namespace kvarn
