#include "kvarn/formats/table_builder.h"

#include <algorithm>

#include "kvarn/base/crc32c.h"
#include "kvarn/base/endian.h"
#include "kvarn/base/varint.h"

namespace kvarn {
namespace {

constexpr uint64_t kMagic = 0xdb4775248b80fb57u;
constexpr size_t kFooterBytes = 48;

size_t shared_length(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first - a.begin());
}

unsigned byte_at(std::string_view s, size_t i) { return static_cast<unsigned char>(s[i]); }

// A short key k with a <= k < b.
std::string separator(std::string_view a, std::string_view b) {
  const size_t at = shared_length(a, b);
  std::string key(a);
  if (at < std::min(a.size(), b.size()) && byte_at(a, at) + 1 < byte_at(b, at)) {
    key.resize(at + 1);
    key[at] = static_cast<char>(byte_at(a, at) + 1);
  }
  return key;
}

// A short key >= `key`.
std::string successor(std::string_view key) {
  std::string out(key);
  const size_t at = out.find_first_not_of('\xff');
  if (at != std::string::npos) {
    out.resize(at + 1);
    out[at] = static_cast<char>(byte_at(key, at) + 1);
  }
  return out;
}

}  // namespace

void BlockBuilder::add(std::string_view key, std::string_view value) {
  size_t shared = 0;
  if (since_restart_ < interval_) {
    shared = shared_length(last_key_, key);
  } else {
    restarts_.push_back(static_cast<uint32_t>(buffer_.size()));
    since_restart_ = 0;
  }
  append_varint(&buffer_, shared);
  append_varint(&buffer_, key.size() - shared);
  append_varint(&buffer_, value.size());
  buffer_.append(key.substr(shared));
  buffer_.append(value);
  last_key_ = key;
  since_restart_++;
}

void BlockBuilder::finish(std::string* out) {
  out->append(buffer_);
  for (const uint32_t restart : restarts_) append32(out, restart);
  append32(out, static_cast<uint32_t>(restarts_.size()));
  buffer_.clear();
  last_key_.clear();
  restarts_.assign(1, 0);
  since_restart_ = 0;
}

bool TableBuilder::add(std::string_view key, std::string_view value) {
  if (any_) {
    if (key <= last_key_) return false;
    if (key.size() + value.size() >= 2 * block_bytes_) flush();
    if (pending_) index_pending(separator(last_key_, key));
  }
  any_ = true;
  last_key_ = key;
  data_.add(key, value);
  if (data_.size() >= block_bytes_) flush();
  return true;
}

std::string TableBuilder::finish() {
  flush();
  BlockBuilder nothing(1);
  const Handle metaindex = write(&nothing);
  if (pending_) index_pending(successor(last_key_));
  const Handle index = write(&index_);
  std::string footer;
  for (const Handle& handle : {metaindex, index}) {
    append_varint(&footer, handle.offset);
    append_varint(&footer, handle.size);
  }
  footer.resize(kFooterBytes - 8);
  append32(&footer, static_cast<uint32_t>(kMagic));
  append32(&footer, static_cast<uint32_t>(kMagic >> 32));
  out_ += footer;
  return std::move(out_);
}

void TableBuilder::flush() {
  if (data_.empty()) return;
  pending_handle_ = write(&data_);
  pending_ = true;
}

TableBuilder::Handle TableBuilder::write(BlockBuilder* block) {
  const size_t offset = out_.size();
  block->finish(&out_);
  const Handle handle{offset, out_.size() - offset};
  out_.push_back(0);  // as it is, not compressed
  const auto* bytes = reinterpret_cast<const unsigned char*>(out_.data()) + offset;
  append32(&out_, crc32c_mask(crc32c_extend(0, {bytes, handle.size + 1})));
  return handle;
}

void TableBuilder::index_pending(std::string_view key) {
  std::string handle;
  append_varint(&handle, pending_handle_.offset);
  append_varint(&handle, pending_handle_.size);
  index_.add(key, handle);
  pending_ = false;
}

}  // namespace kvarn
