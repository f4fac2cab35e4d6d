// Random and mutated streams never make the decoder read or write out of bounds (the sanitizers watch).
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kvarn/base/snappy.h"

namespace {

using Bytes = std::vector<unsigned char>;

bool decode(const Bytes& stream, std::string* out) {
  std::string why;
  // A copy of the exact size, so that a read past its end is seen.
  const Bytes exact(stream);
  const bool ok = kvarn::snappy_uncompress(exact, out, &why);
  CHECK(ok == why.empty());
  return ok;
}

TEST(literal_and_overlapping_copy) {
  std::string out;
  CHECK(decode({9, 0 << 2, 'a', (8 - 4) << 2 | 1, 1}, &out) && out == std::string(9, 'a'));
  CHECK(decode({0}, &out) && out.empty());
}

TEST(random_streams_are_refused_or_decoded) {
  std::mt19937 random(7);
  int decoded = 0;
  for (int i = 0; i < 50'000; i++) {
    Bytes stream(random() % 40);
    for (auto& b : stream) b = static_cast<unsigned char>(random());
    if (!stream.empty()) stream[0] &= 63;  // a short output, so that some streams get far
    std::string out;
    if (decode(stream, &out)) decoded++;
    CHECK(out.size() <= stream.size() * 22);
  }
  CHECK(decoded > 0);
}

TEST(every_flip_and_cut_of_a_good_stream) {
  Bytes good = {30, 9 << 2};
  for (unsigned char c = 'a'; c < 'k'; c++) good.push_back(c);
  good.insert(good.end(), {9 << 2 | 2, 10, 0, 9 << 2 | 3, 20, 0, 0, 0});
  std::string out;
  CHECK(decode(good, &out) && out == "abcdefghijabcdefghijabcdefghij");
  for (size_t n = 0; n < good.size(); n++)
    CHECK(!decode(Bytes(good.begin(), good.begin() + static_cast<long>(n)), &out));
  for (size_t bit = 0; bit < good.size() * 8; bit++) {
    Bytes flipped = good;
    flipped[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
    if (decode(flipped, &out)) CHECK(out.size() == 30);
  }
}

}  // namespace

KVARN_TEST_MAIN
