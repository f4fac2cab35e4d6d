// Plain bundle entries: there and back, and what is left to the general parser.
#include <string>

#include "check.h"
#include "kvarn/formats/bundle_entry.h"

namespace {

bool parse(const std::string& message, kvarn::PlainEntry* entry) {
  return kvarn::parse_plain_entry({reinterpret_cast<const unsigned char*>(message.data()), message.size()},
                                  entry);
}

std::string sample() {
  kvarn::PlainEntry entry;
  entry.dtype = 9;
  entry.shard_id = 300;
  entry.offset = int64_t{1} << 40;
  entry.size = 48;
  entry.crc32c = 0x12345678;
  entry.rank = 3;
  entry.dims[0] = 2;
  entry.dims[1] = 3;
  entry.dims[2] = 200;
  std::string out;
  kvarn::append_plain_entry(&out, entry);
  return out;
}

TEST(there_and_back) {
  kvarn::PlainEntry entry;
  CHECK(parse(sample(), &entry));
  CHECK(entry.dtype == 9 && entry.shard_id == 300 && entry.offset == int64_t{1} << 40 && entry.size == 48);
  CHECK(entry.crc32c == 0x12345678 && entry.num_elements == 1200 && entry.rank == 3 &&
        entry.shape()[2] == 200);
}

TEST(every_cut_and_every_flip_is_refused_or_sound) {
  const std::string whole = sample();
  kvarn::PlainEntry entry;
  for (size_t n = 0; n < whole.size(); n++) {
    // Fields may be left out at the end, so a cut may parse; what it says must still be possible.
    if (parse(whole.substr(0, n), &entry)) CHECK(entry.rank == 3 && entry.num_elements == 1200);
  }
  for (size_t at = 0; at < whole.size(); at++) {
    for (int bit = 0; bit < 8; bit++) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      if (parse(damaged, &entry)) {
        CHECK(entry.num_elements >= 0 && entry.size >= 0 && entry.offset >= 0 && entry.shard_id >= 0);
      }
    }
  }
}

TEST(shapes_that_cannot_be_are_left_alone) {
  kvarn::PlainEntry entry;
  std::string dims;
  for (int i = 0; i < 3; i++) dims += std::string("\x12\x06\x08\x80\x80\x80\x80\x08", 8);  // 2^31 each
  CHECK(!parse(std::string("\x08\x01\x12", 3) + static_cast<char>(dims.size()) + dims, &entry));
  std::string many;
  for (int i = 0; i < 255; i++) many += std::string("\x12\x02\x08\x01", 4);
  CHECK(!parse(std::string("\x08\x01\x12\xfc\x07", 5) + many, &entry));
  many.resize(254 * 4);
  CHECK(parse(std::string("\x08\x01\x12\xf8\x07", 5) + many, &entry));
  CHECK(entry.rank == 254);
}

}  // namespace

KVARN_TEST_MAIN
