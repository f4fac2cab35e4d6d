// Decoder of the raw snappy format (no framing), as a table block holds it.
//
//   stream   := varint32 uncompressed length, then elements until the input ends
//   element  := tag byte, low two bits the kind:
//     00 literal   length-1 in the upper six bits; 60..63 say that 1..4 little-endian bytes hold it
//     01 copy      length-4 in bits 2..4, offset = bits 5..7 << 8 | next byte
//     10 copy      length-1 in the upper six bits, offset = next 2 bytes
//     11 copy      length-1 in the upper six bits, offset = next 4 bytes
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace kvarn {

// Decodes `data` into `out`. False, with a reason in `why`, when the stream is damaged; `out` is then
// undefined. Never allocates more than the input can possibly expand to.
bool snappy_uncompress(std::span<const unsigned char> data, std::string* out, std::string* why);

}  // namespace kvarn
