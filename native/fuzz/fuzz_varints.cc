// Runs of varints: what is decoded encodes to as many numbers, and never reads or writes outside.
#include <vector>

#include "body.h"
#include "kvarn/base/varint.h"

namespace {

template <typename T>
void check(std::span<const unsigned char> data, size_t count) {
  std::vector<T> values(count);
  const size_t used = kvarn::decode_varints<T>(data, values);
  PROMISE(used <= data.size());
  if (used == 0) return;
  PROMISE(used >= count);
  std::vector<unsigned char> written(kvarn::varints_size<T>(values));
  kvarn::encode_varints<T>(values, written.data());
  std::vector<T> again(count);
  PROMISE(kvarn::decode_varints<T>(written, again) == written.size());
  PROMISE(again == values);
}

}  // namespace

void kvarn::fuzz::body(std::span<const unsigned char> data) {
  if (data.empty()) return;
  const size_t count = data[0];
  check<int32_t>(data.subspan(1), count);
  check<int64_t>(data.subspan(1), count);
  check<uint8_t>(data.subspan(1), count);
  check<uint64_t>(data.subspan(1), count);
}
