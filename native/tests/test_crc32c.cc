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

TEST(checksums_of_pieces_combine_to_that_of_the_whole) {
  std::vector<unsigned char> data(70'000);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<unsigned char>(i * 7 + (i >> 8));
  const std::span<const unsigned char> all(data);
  const uint32_t whole = kvarn::crc32c_extend(0, all);
  for (size_t cut = 0; cut <= all.size(); cut += 1 + cut / 5) {
    const uint32_t a = kvarn::crc32c_extend(0, all.first(cut));
    const uint32_t b = kvarn::crc32c_extend(0, all.subspan(cut));
    CHECK(kvarn::crc32c_combine(a, b, all.size() - cut) == whole);
  }
  CHECK(kvarn::crc32c_combine(0x12345678u, 0, 0) == 0x12345678u);
  CHECK(kvarn::crc32c_combine(0, whole, all.size()) == whole);
}

// Lengths beyond 32 bits: two moves by half of it are one move by all of it.
TEST(combining_knows_long_lengths) {
  const uint64_t half = (uint64_t{1} << 40) + 12'345;
  const uint32_t once = kvarn::crc32c_combine(0xe3069283u, 0, 2 * half);
  CHECK(kvarn::crc32c_combine(kvarn::crc32c_combine(0xe3069283u, 0, half), 0, half) == once);
  CHECK(once != 0xe3069283u);
}

}  // namespace

KVARN_TEST_MAIN
