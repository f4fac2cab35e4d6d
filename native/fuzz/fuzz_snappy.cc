// A snappy stream is decoded to exactly the length that it announces, or refused with a reason.
#include <string>

#include "body.h"
#include "kvarn/base/snappy.h"

void kvarn::fuzz::body(std::span<const unsigned char> data) {
  std::string out;
  std::string why;
  const bool ok = snappy_uncompress(data, &out, &why);
  PROMISE(ok == why.empty());
  PROMISE(out.size() <= 22 * data.size());
  if (!ok) return;
  size_t announced = 0;
  for (size_t i = 0, shift = 0;; i++, shift += 7) {
    announced |= static_cast<size_t>(data[i] & 127) << shift;
    if (data[i] < 128) break;
  }
  PROMISE(out.size() == announced);
}
