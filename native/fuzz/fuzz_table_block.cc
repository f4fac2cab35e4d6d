// The entries of a table block ascend, are no more than the block can hold, and survive being written anew.
#include <string>
#include <utility>
#include <vector>

#include "body.h"
#include "kvarn/formats/table_block.h"
#include "kvarn/formats/table_builder.h"

namespace {

using Entries = std::vector<std::pair<std::string, std::string>>;

bool parse(std::span<const unsigned char> data, Entries* entries) {
  kvarn::BlockCursor cursor(data);
  size_t key_bytes = 0;
  size_t value_bytes = 0;
  while (cursor.next()) {
    PROMISE(entries->empty() || entries->back().first < cursor.key());
    key_bytes += cursor.key().size();
    value_bytes += cursor.value().size();
    PROMISE(key_bytes <= 64 * data.size());
    PROMISE(value_bytes <= data.size());
    entries->emplace_back(cursor.key(), cursor.value());
  }
  return cursor.error().empty();
}

}  // namespace

void kvarn::fuzz::body(std::span<const unsigned char> data) {
  Entries entries;
  if (!parse(data, &entries)) return;
  for (const size_t interval : {size_t{1}, size_t{16}}) {
    BlockBuilder builder(interval);
    for (const auto& [key, value] : entries) builder.add(key, value);
    std::string written;
    builder.finish(&written);
    Entries again;
    PROMISE(parse({reinterpret_cast<const unsigned char*>(written.data()), written.size()}, &again));
    PROMISE(again == entries);
  }
}
