// Memory keeps what is in it when its pages are exchanged.
#include <algorithm>
#include <cstdint>
#include <span>

#include "check.h"
#include "kvarn/base/pages.h"

namespace {

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

}  // namespace

KVARN_TEST_MAIN
