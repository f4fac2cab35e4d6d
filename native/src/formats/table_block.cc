#include "kvarn/formats/table_block.h"

#include "kvarn/base/endian.h"
#include "kvarn/base/varint.h"

namespace kvarn {
namespace {

// Bytes of keys for each byte of a block. A key is written out at least once in a restart interval, which is
// 16: nothing honest comes near, and a small block cannot unfold to gigabytes.
constexpr size_t kMostKeyBytes = 64;

}  // namespace

BlockCursor::BlockCursor(std::span<const unsigned char> data)
    : begin_(data.data()), p_(begin_), entries_end_(begin_), end_(begin_ + data.size()) {
  const uint64_t restarts = data.size() >= 4 ? load32(end_ - 4) : 0;
  const uint64_t behind = 4 * (restarts + 1);
  if (behind > data.size() || (behind < data.size() && restarts == 0)) {
    fail("bad block contents");
    return;
  }
  entries_end_ = end_ - behind;
}

bool BlockCursor::next() {
  if (p_ >= entries_end_ || !error_.empty()) return false;
  size_t shared = 0;
  size_t unshared = 0;
  size_t size = 0;
  if (!number(&shared) || !number(&unshared) || !number(&size)) return false;
  // A number may have run on into the restart array.
  const size_t left = p_ <= entries_end_ ? static_cast<size_t>(entries_end_ - p_) : 0;
  if (p_ > entries_end_ || shared > key_.size() || unshared > left || size > left - unshared) {
    return fail("bad entry in block");
  }
  const std::string_view rest(reinterpret_cast<const char*>(p_), unshared);
  // Greater than the key before: by its first byte that differs, or by being longer.
  if (entries_ > 0 && rest <= std::string_view(key_).substr(shared)) return fail("keys do not ascend");
  key_bytes_ += shared + unshared;
  if (key_bytes_ > kMostKeyBytes * static_cast<size_t>(end_ - begin_)) return fail("keys share too much");
  entries_++;
  key_.resize(shared);
  key_.append(rest);
  value_ = {reinterpret_cast<const char*>(p_ + unshared), size};
  p_ += unshared + size;
  return true;
}

bool BlockCursor::number(size_t* value) {
  if (p_ < end_ && *p_ < 128) {
    *value = *p_++;
    return true;
  }
  uint64_t wide = 0;
  const VarintEnd how = read_varint(p_, end_, &wide);
  *value = wide;
  if (how == VarintEnd::kWhole) return true;
  return fail("varint at byte " + std::to_string(p_ - begin_) +
              (how == VarintEnd::kCutOff ? " is cut off"
                                         : " has more than " + std::to_string(kMaxVarintBytes) + " bytes"));
}

bool BlockCursor::fail(std::string why) {
  error_ = std::move(why);
  return false;
}

}  // namespace kvarn
