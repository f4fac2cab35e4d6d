// Tables built in memory: TensorFlow's worked example to the byte, and what is built is read.
#include <span>
#include <string>

#include "check.h"
#include "kvarn/formats/table_block.h"
#include "kvarn/formats/table_builder.h"

namespace {

std::string from_hex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

TEST(the_index_of_one_tensor_has_tensorflows_bytes) {
  kvarn::TableBuilder builder(262144, 16);
  CHECK(builder.add("", from_hex("08011a020801")));
  CHECK(builder.add("w", from_hex("08011208120208011202080328"
                                  "0c35735b8971")));
  const std::string start = from_hex(
      "00000608011a020801000113770801120812020801120208"
      "03280c35735b8971"
      "000000000100000000d15f431e000000000100000000c0f2a1b0"
      "000102780028000000000100000000947982842d083a0e");
  const std::string table = builder.finish();
  CHECK(table.substr(0, start.size()) == start);
  CHECK(table.substr(start.size()) == std::string(36, 0) + from_hex("57fb808b247547db"));
}

TEST(keys_must_ascend) {
  kvarn::TableBuilder builder(100, 16);
  CHECK(builder.add("b", ""));
  CHECK(!builder.add("b", ""));
  CHECK(!builder.add("a", ""));
  CHECK(builder.add("\xff", ""));
}

TEST(blocks_are_read_back) {
  kvarn::BlockBuilder builder(3);
  for (int round = 0; round < 2; round++) {  // a finished builder begins another block
    std::string key;
    for (int i = 0; i < 300; i++) {
      key = "scope/" + std::to_string(1000 + i);
      builder.add(key, std::string(static_cast<size_t>(i), 'v'));
    }
    const size_t promised = builder.size();
    std::string block;
    builder.finish(&block);
    CHECK(block.size() == promised && builder.empty());
    kvarn::BlockCursor cursor({reinterpret_cast<const unsigned char*>(block.data()), block.size()});
    size_t n = 0;
    while (cursor.next()) {
      CHECK(cursor.key() == "scope/" + std::to_string(1000 + n));
      CHECK(cursor.value().size() == n);
      n++;
    }
    CHECK(n == 300 && cursor.error().empty());
  }
}

}  // namespace

KVARN_TEST_MAIN
