// Runs of varints come back as they were, and no run makes the decoder read past its end (sanitizers watch).
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kvarn/base/varint.h"

namespace {

using Bytes = std::vector<unsigned char>;

template <typename T>
Bytes encode(const std::vector<T>& values) {
  Bytes out(kvarn::varints_size(std::span<const T>(values)));
  kvarn::encode_varints(std::span<const T>(values), out.data());
  return out;
}

template <typename T>
void check_round_trip(const std::vector<T>& values) {
  const Bytes bytes = encode(values);
  std::vector<T> again(values.size());
  CHECK(kvarn::decode_varints(std::span<const unsigned char>(bytes), std::span<T>(again)) == bytes.size());
  CHECK(again == values);
}

TEST(known_bytes) {
  CHECK((encode<int64_t>({0, 127, 128, 300}) == Bytes{0x00, 0x7f, 0x80, 0x01, 0xac, 0x02}));
  CHECK(encode<int8_t>({-1}).size() == kvarn::kMaxVarintBytes);
}

TEST(every_width_comes_back) {
  check_round_trip<int8_t>({-128, -1, 0, 1, 127});
  check_round_trip<uint16_t>({0, 127, 128, 65535});
  check_round_trip<int32_t>({std::numeric_limits<int32_t>::min(), -1, 0, 1 << 20});
  check_round_trip<int64_t>({std::numeric_limits<int64_t>::min(), -1, std::numeric_limits<int64_t>::max()});
}

TEST(cut_off_and_endless_runs_are_refused) {
  std::vector<uint64_t> out(1);
  CHECK(kvarn::decode_varints(std::span<const unsigned char>(), std::span<uint64_t>(out)) == 0);
  CHECK(kvarn::decode_varints(std::span<const unsigned char>(Bytes{0x80}), std::span<uint64_t>(out)) == 0);
  const Bytes endless(11, 0xff);
  CHECK(kvarn::decode_varints(std::span<const unsigned char>(endless), std::span<uint64_t>(out)) == 0);
}

TEST(random_runs_never_read_past_their_end) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; round++) {
    Bytes bytes(random() % 40);
    for (auto& b : bytes) b = static_cast<unsigned char>(random());
    std::vector<uint32_t> out(random() % 20);
    CHECK(kvarn::decode_varints(std::span<const unsigned char>(bytes), std::span<uint32_t>(out)) <=
          bytes.size());
  }
}

}  // namespace

KVARN_TEST_MAIN
