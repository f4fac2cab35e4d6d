// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected 0x82F63B78), the checksum of tables and bundles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvarn {

// The checksum of A+B, given that of A (0 for an empty A) and the bytes of B. Thread-safe.
uint32_t crc32c_extend(uint32_t crc, std::span<const unsigned char> data);

// The same from tables alone, whatever the processor can do.
uint32_t crc32c_extend_portable(uint32_t crc, std::span<const unsigned char> data);

// The checksum of A+B, given those of A and B and how many bytes B has. Thread-safe.
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

// The form in which files store a checksum (kvarn.formats.checksum).
constexpr uint32_t crc32c_mask(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

}  // namespace kvarn
