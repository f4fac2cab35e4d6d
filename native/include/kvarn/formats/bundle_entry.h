// BundleEntryProto as nearly every one looks: a tensor stored whole, its fields in ascending order.
//
// All others (slices, unknown fields, another order, numbers that cannot be) are left to `BundleEntry` of
// src/kvarn/formats/bundle/entry.py, which is also the specification of these.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kvarn {

// TensorShape::MaxDimensions().
constexpr size_t kMaxDimensions = 254;

struct PlainEntry {
  int32_t dtype = 0;
  int32_t shard_id = 0;
  int64_t offset = 0;
  int64_t size = 0;
  uint32_t crc32c = 0;  // masked
  int64_t num_elements = 1;
  size_t rank = 0;
  std::array<int64_t, kMaxDimensions> dims;
  std::string_view shape_bytes;  // the shape as it lies in the message

  std::span<const int64_t> shape() const { return std::span(dims).first(rank); }
};

// False when `data` is no such message; `entry` is then undefined.
bool parse_plain_entry(std::span<const unsigned char> data, PlainEntry* entry);

// Appends the message of an entry with shape(); num_elements and shape_bytes are not looked at.
void append_plain_entry(std::string* out, const PlainEntry& entry);

}  // namespace kvarn
