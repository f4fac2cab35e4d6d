// One block of a table: entries in front, restart array behind.
//
// The bytes are drawn in src/kvarn/formats/table/format.py; src/kvarn/formats/table/reference.py says the
// same in Python and is the specification.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace kvarn {

// Goes through the entries from the first on. Trusts no length: every one is held against the bytes there
// are.
//
//   BlockCursor cursor(bytes);
//   while (cursor.next()) use(cursor.key(), cursor.value());
//   if (!cursor.error().empty()) …nothing of the block is to be used
class BlockCursor {
 public:
  // `data` is what lies in the file without the trailer, uncompressed; it must outlive the cursor.
  explicit BlockCursor(std::span<const unsigned char> data);

  // Moves to the next entry; false after the last one and at the first that does not fit.
  bool next();

  // Of the entry that next() found; the key holds until the following next().
  std::string_view key() const { return key_; }
  std::string_view value() const { return value_; }

  // Why next() stopped; empty after the last entry.
  const std::string& error() const { return error_; }

 private:
  bool number(size_t* value);
  bool fail(std::string why);

  const unsigned char* begin_;
  const unsigned char* p_;
  const unsigned char* entries_end_;
  const unsigned char* end_;
  size_t entries_ = 0;
  size_t key_bytes_ = 0;
  std::string key_;
  std::string_view value_;
  std::string error_;
};

}  // namespace kvarn
