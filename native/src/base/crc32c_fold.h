// CRC-32C by carry-less multiplication of wide vectors; a part of crc32c.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvarn {

// What one step takes. Longer runs take whole steps; the caller does the rest.
constexpr size_t kFoldBytes = 256;

// Whether this processor can.
bool can_fold();

// The register (start value and final inversion are the caller's) after `bytes`, a positive multiple of
// kFoldBytes.
uint32_t fold(uint32_t c, const unsigned char* p, size_t bytes);

}  // namespace kvarn
