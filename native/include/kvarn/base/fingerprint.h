// Fingerprint64, the 64-bit FarmHash fingerprint behind TensorFlow's string_to_hash_bucket_fast and crosses.
// Its values never change between releases or machines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvarn {

uint64_t fingerprint64(const unsigned char* s, size_t n);

// The fingerprint of two fingerprints in order (tensorflow/core/platform/fingerprint.h).
uint64_t fingerprint_cat64(uint64_t a, uint64_t b);

}  // namespace kvarn
