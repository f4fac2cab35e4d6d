#include "kvarn/base/snappy.h"

#include <cstdint>
#include <cstring>

namespace kvarn {
namespace {

// Three bytes of a copy element make at most 64 bytes of output, so no stream grows faster than this.
constexpr size_t kMaxExpansion = 22;

bool read_varint32(const unsigned char*& p, const unsigned char* end, uint32_t* value) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 35 && p < end; shift += 7) {
    const unsigned char b = *p++;
    v |= static_cast<uint64_t>(b & 127) << shift;
    if (b < 128) {
      *value = static_cast<uint32_t>(v);
      return v <= UINT32_MAX;
    }
  }
  return false;
}

size_t read_little_endian(const unsigned char* p, size_t n_bytes) {
  size_t v = 0;
  for (size_t i = 0; i < n_bytes; i++) v |= static_cast<size_t>(p[i]) << (8 * i);
  return v;
}

}  // namespace

bool snappy_uncompress(std::span<const unsigned char> data, std::string* out, std::string* why) {
  const unsigned char* p = data.data();
  const unsigned char* const end = p + data.size();
  uint32_t total = 0;
  if (!read_varint32(p, end, &total)) {
    *why = "the length at its start is not a varint32";
    return false;
  }
  if (total > static_cast<size_t>(end - p) * kMaxExpansion) {
    *why = "it claims " + std::to_string(total) + " bytes, more than " + std::to_string(data.size()) +
           " bytes of input can hold";
    return false;
  }
  out->resize(total);
  char* const begin = out->data();
  size_t done = 0;
  while (p < end) {
    const unsigned tag = *p++;
    const size_t left = static_cast<size_t>(end - p);
    size_t length = (tag >> 2) + 1;
    if ((tag & 3) == 0) {
      size_t used = 0;
      if (length > 60) {
        const size_t n_bytes = length - 60;
        if (left < n_bytes) {
          *why = "the length of a literal is cut off";
          return false;
        }
        length = read_little_endian(p, n_bytes) + 1;
        used = n_bytes;
      }
      if (length > left - used || length > total - done) {
        *why = "a literal of " + std::to_string(length) + " bytes runs past its end";
        return false;
      }
      std::memcpy(begin + done, p + used, length);
      p += used + length;
      done += length;
      continue;
    }
    size_t offset = 0;
    const size_t n_bytes = (tag & 3) == 3 ? 4 : tag & 3;
    if (left < n_bytes) {
      *why = "a copy element is cut off";
      return false;
    }
    if (n_bytes == 1) {
      length = ((tag >> 2) & 7) + 4;
      offset = static_cast<size_t>(tag >> 5) << 8 | *p;
    } else {
      offset = read_little_endian(p, n_bytes);
    }
    p += n_bytes;
    if (offset == 0 || offset > done || length > total - done) {
      *why = "a copy of " + std::to_string(length) + " bytes from " + std::to_string(offset) +
             " back at byte " + std::to_string(done) + " leaves the output";
      return false;
    }
    if (offset >= length) {
      std::memcpy(begin + done, begin + done - offset, length);
    } else {  // the copy reads what it writes: a repeated pattern
      for (size_t i = 0; i < length; i++) begin[done + i] = begin[done + i - offset];
    }
    done += length;
  }
  if (p != end || done != total) {
    *why = "it ends after " + std::to_string(done) + " of " + std::to_string(total) + " bytes";
    return false;
  }
  return true;
}

}  // namespace kvarn
