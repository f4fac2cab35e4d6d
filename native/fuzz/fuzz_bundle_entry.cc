// A plain BundleEntryProto is written anew to a message that means the same and is not longer.
#include <algorithm>
#include <string>

#include "body.h"
#include "kvarn/formats/bundle_entry.h"

void kvarn::fuzz::body(std::span<const unsigned char> data) {
  PlainEntry entry;
  if (!parse_plain_entry(data, &entry)) return;
  PROMISE(entry.dtype >= 0 && entry.shard_id >= 0 && entry.offset >= 0 && entry.size >= 0);
  PROMISE(entry.num_elements >= 0 && entry.rank <= kMaxDimensions);
  for (const int64_t size : entry.shape()) PROMISE(size >= 0);
  std::string written;
  append_plain_entry(&written, entry);
  // A dtype of 0 is left out, as protobuf does, and then the entry is no plain one.
  if (entry.dtype == 0) return;
  PROMISE(written.size() <= data.size());
  PlainEntry again;
  PROMISE(
      parse_plain_entry({reinterpret_cast<const unsigned char*>(written.data()), written.size()}, &again));
  PROMISE(again.dtype == entry.dtype && again.shard_id == entry.shard_id && again.crc32c == entry.crc32c);
  PROMISE(again.offset == entry.offset && again.size == entry.size);
  PROMISE(again.num_elements == entry.num_elements);
  PROMISE(std::ranges::equal(again.shape(), entry.shape()));
}
