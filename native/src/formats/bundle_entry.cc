#include "kvarn/formats/bundle_entry.h"

#include <cstdint>

#include "kvarn/base/endian.h"
#include "kvarn/base/varint.h"

namespace kvarn {
namespace {

// Tags: field number and wire type.
constexpr unsigned char kDtype = 0x08;
constexpr unsigned char kShape = 0x12;
constexpr unsigned char kShardId = 0x18;
constexpr unsigned char kOffset = 0x20;
constexpr unsigned char kSize = 0x28;
constexpr unsigned char kCrc32c = 0x35;
constexpr unsigned char kDim = 0x12;
constexpr unsigned char kDimSize = 0x08;

class Fields {
 public:
  Fields(const unsigned char* p, const unsigned char* end) : p_(p), end_(end) {}

  bool at(unsigned char tag) {
    if (p_ >= end_ || *p_ != tag) return false;
    p_++;
    return true;
  }
  bool number(uint64_t most, uint64_t* value) {
    return read_varint(p_, end_, value) == VarintEnd::kWhole && *value <= most;
  }
  bool run(std::span<const unsigned char>* bytes) {
    uint64_t size = 0;
    if (!number(static_cast<uint64_t>(end_ - p_), &size) || size > left()) return false;
    *bytes = {p_, size};
    p_ += size;
    return true;
  }
  bool fixed32(uint32_t* value) {
    if (left() < 4) return false;
    *value = load32(p_);
    p_ += 4;
    return true;
  }
  bool done() const { return p_ == end_; }

 private:
  size_t left() const { return static_cast<size_t>(end_ - p_); }

  const unsigned char* p_;
  const unsigned char* end_;
};

bool parse_shape(std::span<const unsigned char> data, PlainEntry* entry) {
  Fields fields(data.data(), data.data() + data.size());
  entry->rank = 0;
  entry->num_elements = 1;
  while (!fields.done()) {
    std::span<const unsigned char> dim;
    if (!fields.at(kDim) || !fields.run(&dim) || entry->rank == kMaxDimensions) return false;
    uint64_t size = 0;
    if (!dim.empty()) {
      Fields of_dim(dim.data(), dim.data() + dim.size());
      if (!of_dim.at(kDimSize) || !of_dim.number(INT64_MAX, &size) || !of_dim.done()) return false;
    }
    entry->dims[entry->rank++] = static_cast<int64_t>(size);
    if (__builtin_mul_overflow(entry->num_elements, static_cast<int64_t>(size), &entry->num_elements))
      return false;
  }
  return true;
}

void append_number(std::string* out, unsigned char tag, uint64_t value) {
  if (value == 0) return;
  out->push_back(static_cast<char>(tag));
  append_varint(out, value);
}

}  // namespace

bool parse_plain_entry(std::span<const unsigned char> data, PlainEntry* entry) {
  Fields fields(data.data(), data.data() + data.size());
  uint64_t dtype = 0;
  uint64_t shard = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
  std::span<const unsigned char> shape;
  entry->crc32c = 0;
  if (!fields.at(kDtype) || !fields.number(INT32_MAX, &dtype)) return false;
  if (!fields.at(kShape) || !fields.run(&shape) || !parse_shape(shape, entry)) return false;
  if (fields.at(kShardId) && !fields.number(INT32_MAX, &shard)) return false;
  if (fields.at(kOffset) && !fields.number(INT64_MAX, &offset)) return false;
  if (fields.at(kSize) && !fields.number(INT64_MAX, &size)) return false;
  if (fields.at(kCrc32c) && !fields.fixed32(&entry->crc32c)) return false;
  if (!fields.done()) return false;
  entry->dtype = static_cast<int32_t>(dtype);
  entry->shard_id = static_cast<int32_t>(shard);
  entry->offset = static_cast<int64_t>(offset);
  entry->size = static_cast<int64_t>(size);
  entry->shape_bytes = {reinterpret_cast<const char*>(shape.data()), shape.size()};
  return true;
}

void append_plain_entry(std::string* out, const PlainEntry& entry) {
  std::string shape;
  for (const int64_t size : entry.shape()) {
    std::string dim;
    append_number(&dim, kDimSize, static_cast<uint64_t>(size));
    shape.push_back(kDim);
    append_varint(&shape, dim.size());
    shape += dim;
  }
  append_number(out, kDtype, static_cast<uint64_t>(entry.dtype));
  out->push_back(kShape);
  append_varint(out, shape.size());
  *out += shape;
  append_number(out, kShardId, static_cast<uint64_t>(entry.shard_id));
  append_number(out, kOffset, static_cast<uint64_t>(entry.offset));
  append_number(out, kSize, static_cast<uint64_t>(entry.size));
  if (entry.crc32c != 0) {
    out->push_back(kCrc32c);
    append32(out, entry.crc32c);
  }
}

}  // namespace kvarn
