#include <string_view>
#include <vector>

#include "check.h"
#include "kvarn/base/crc32c.h"

namespace {

std::span<const unsigned char> bytes(std::string_view s) {
  return {reinterpret_cast<const unsigned char*>(s.data()), s.size()};
}

// RFC 3720, appendix B.4.
TEST(known_answers) {
  CHECK(kvarn::crc32c_extend(0, bytes("123456789")) == 0xe3069283u);
  CHECK(kvarn::crc32c_extend(0, {}) == 0);
  const std::vector<unsigned char> zeros(32, 0);
  CHECK(kvarn::crc32c_extend(0, zeros) == 0x8a9136aau);
  const std::vector<unsigned char> ones(32, 0xff);
  CHECK(kvarn::crc32c_extend(0, ones) == 0x62a8ab43u);
}

TEST(instruction_and_tables_agree_at_every_length_and_alignment) {
  std::vector<unsigned char> data(100'000);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<unsigned char>(i * i >> 3);
  const std::span<const unsigned char> all(data);
  for (size_t n = 0; n < all.size() - 8; n += 1 + n / 17) {
    const auto part = all.subspan(n % 8, n);
    CHECK(kvarn::crc32c_extend(7, part) == kvarn::crc32c_extend_portable(7, part));
  }
}

TEST(pieces_extend_to_the_whole) {
  std::vector<unsigned char> data(60'000, 3);
  const std::span<const unsigned char> all(data);
  const uint32_t whole = kvarn::crc32c_extend(0, all);
  for (const size_t cut : {0, 1, 767, 24'576, 59'999, 60'000}) {
    CHECK(kvarn::crc32c_extend(kvarn::crc32c_extend(0, all.first(cut)), all.subspan(cut)) == whole);
  }
}

}  // namespace

KVARN_TEST_MAIN
