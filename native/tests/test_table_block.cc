// A block's entries, and every way in which bytes are none.
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "kvarn/formats/table_block.h"

namespace {

using Entries = std::vector<std::pair<std::string, std::string>>;

Entries entries_of(const std::string& block, std::string* error) {
  kvarn::BlockCursor cursor({reinterpret_cast<const unsigned char*>(block.data()), block.size()});
  Entries out;
  while (cursor.next()) out.emplace_back(cursor.key(), cursor.value());
  *error = cursor.error();
  return out;
}

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out.push_back(static_cast<char>(value));
  return out;
}

const std::string kRestarts = bytes({0, 0, 0, 0, 1, 0, 0, 0});

TEST(entries_share_prefixes) {
  std::string error;
  const auto found =
      entries_of(bytes({0, 2, 1, 'a', 'b', 'x', 1, 1, 0, 'c', 2, 1, 2, 'd', 'y', 'z'}) + kRestarts, &error);
  CHECK(error.empty());
  CHECK((found == Entries{{"ab", "x"}, {"ac", ""}, {"acd", "yz"}}));
}

TEST(an_empty_block_has_no_entries) {
  std::string error;
  CHECK(entries_of(kRestarts, &error).empty() && error.empty());
  CHECK(entries_of(bytes({0, 0, 0, 0}), &error).empty() && error.empty());
}

TEST(no_length_is_believed) {
  std::string error;
  for (const std::string& entry : {
           bytes({1, 1, 0, 'a'}),  // shares what is not there
           bytes({0, 9, 0, 'a'}),  // key past the end
           bytes({0, 1, 9, 'a'}),  // value past the end
           bytes({0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}),  // 2^64 - 1
       }) {
    CHECK(entries_of(entry + kRestarts, &error).empty());
    CHECK(error == "bad entry in block");
  }
  (void)entries_of(bytes({0, 1, 0, 'b', 0, 1, 0, 'a'}) + kRestarts, &error);
  CHECK(error == "keys do not ascend");
  (void)entries_of(bytes({0, 0, 0, 0, 0, 0}) + kRestarts, &error);
  CHECK(error == "keys do not ascend");
  (void)entries_of(std::string(12, '\xff') + kRestarts, &error);
  CHECK(error == "varint at byte 0 has more than 10 bytes");
  for (size_t size = 0; size < 4; size++) {
    (void)entries_of(std::string(size, 0), &error);
    CHECK(error == "bad block contents");
  }
  (void)entries_of(bytes({0, 1, 0, 'a', 0xff, 0xff, 0xff, 0xff}), &error);
  CHECK(error == "bad block contents");
}

TEST(a_small_block_does_not_unfold_to_a_large_one) {
  std::string block = bytes({0, 0x80, 0x08, 0}) + std::string(1024, 'k');  // a key of 1 KiB, shared by all
  for (int i = 0; i < 2000; i++) block += bytes({0xff, 0x07, 1, 0}) + static_cast<char>(i % 256);
  std::string error;
  const auto found = entries_of(block + kRestarts, &error);
  CHECK(!error.empty());
  CHECK(found.size() < 700);
}

}  // namespace

KVARN_TEST_MAIN
