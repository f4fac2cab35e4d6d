// Memory keeps what is in it when its pages are exchanged.
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "check.h"
#include "kvarn/base/page_pool.h"
#include "kvarn/base/pages.h"

namespace {

using kvarn::PagePool;
using kvarn::Pages;

TEST(huge_pages_hold_what_the_small_ones_held) {
  const Pages pages(3 * Pages::kHugePage + 4096, false);
  CHECK(pages.n_huge() == 3);
  CHECK(reinterpret_cast<uintptr_t>(pages.data()) % 4096 == 0);
  const std::span numbers(reinterpret_cast<uint64_t*>(pages.data()), pages.size() / sizeof(uint64_t));
  // The second one is touched here and there, the third never.
  const auto written = [](size_t i) {
    return i < Pages::kHugePage / 8 || (i < 2 * Pages::kHugePage / 8 && i % 4096 == 0);
  };
  for (size_t i = 0; i < numbers.size(); i++) {
    if (written(i)) numbers[i] = i * i + 1;
  }
  pages.advise_huge();
  pages.collapse(0, 1);
  pages.collapse(1, 5);  // more than there are
  bool good = true;
  for (size_t i = 0; i < numbers.size(); i++) good = good && numbers[i] == (written(i) ? i * i + 1 : 0);
  CHECK(good);
}

TEST(a_pool_lends_what_it_was_given_and_no_more_than_it_may_keep) {
  PagePool pool(8192, 2);
  Pages first = pool.take();
  Pages second = pool.take();
  Pages third = pool.take();
  CHECK(first.size() == 8192 && !first.lent() && first.data() != second.data());
  const std::byte* const kept[] = {first.data(), second.data()};
  pool.give(std::move(first));
  pool.give(std::move(second));
  pool.give(std::move(third));
  Pages again[] = {pool.take(), pool.take(), pool.take()};
  CHECK(again[0].lent() && again[1].lent() && !again[2].lent());
  CHECK(again[0].data() == kept[1] && again[1].data() == kept[0]);
  for (Pages& pages : again) std::fill_n(pages.data(), pages.size(), std::byte{7});
  CHECK(again[0].data()[8191] == std::byte{7});
}

}  // namespace

KVARN_TEST_MAIN
