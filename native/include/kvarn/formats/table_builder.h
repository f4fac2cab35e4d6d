// Builds a whole table in memory: what TableBuilder of src/kvarn/formats/table/builder.py writes, all at
// once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvarn {

// The entries of one block after the other.
class BlockBuilder {
 public:
  explicit BlockBuilder(size_t restart_interval) : interval_(restart_interval) {}

  bool empty() const { return buffer_.empty(); }
  size_t size() const { return buffer_.size() + 4 * restarts_.size() + 4; }
  void add(std::string_view key, std::string_view value);

  // Appends the block to `out` and begins another.
  void finish(std::string* out);

 private:
  size_t interval_;
  size_t since_restart_ = 0;
  std::string buffer_;
  std::string last_key_;
  std::vector<uint32_t> restarts_{0};
};

class TableBuilder {
 public:
  TableBuilder(size_t block_bytes, size_t restart_interval)
      : block_bytes_(block_bytes), data_(restart_interval), index_(1) {}

  // False, and nothing happens, unless `key` is greater than the one before.
  bool add(std::string_view key, std::string_view value);

  // The bytes of the file; the builder is used up.
  std::string finish();

 private:
  struct Handle {
    uint64_t offset = 0;
    uint64_t size = 0;
  };

  void flush();
  Handle write(BlockBuilder* block);
  void index_pending(std::string_view key);

  size_t block_bytes_;
  BlockBuilder data_;
  BlockBuilder index_;
  std::string out_;
  std::string last_key_;
  bool any_ = false;
  // A finished block gets its index entry when the next key is known: that makes short separators.
  bool pending_ = false;
  Handle pending_handle_;
};

}  // namespace kvarn
