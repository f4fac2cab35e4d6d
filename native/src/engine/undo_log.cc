#include "kvarn/engine/undo_log.h"

#include <algorithm>
#include <bit>

namespace kvarn {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

}  // namespace

UndoLog::UndoLog(size_t n_rows, const EntryLayout& layout)
    : meta_bytes_(layout.has_meta() ? sizeof(RowMeta) : 0),
      entry_bytes_(layout.entry_bytes()),
      record_bytes_((meta_bytes_ + entry_bytes_ + 7) / 8 * 8),
      places_(std::max<size_t>(1, n_rows) * sizeof(uint32_t), false) {
  record_bytes_ = std::max<size_t>(record_bytes_, 8);
  block_shift_ = static_cast<unsigned>(std::bit_width(std::max<size_t>(1, kBlockBytes / record_bytes_))) - 1;
  block_mask_ = (uint32_t{1} << block_shift_) - 1;
}

void UndoLog::reserve(size_t n) {
  const size_t records = used_.load(std::memory_order_relaxed) + n;
  while (blocks_.size() << block_shift_ < records) {
    blocks_.emplace_back((size_t{1} << block_shift_) * record_bytes_, false);
  }
}

}  // namespace kvarn
