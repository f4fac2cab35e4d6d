#include "crc32c_fold.h"

// Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), on
// vectors of 512 bits. 128 bits of the message, times x^n modulo the polynomial, may stand n bits further on
// without a change of the remainder: four vectors walk over the message so, each taking up what lies 256
// bytes ahead of it. What they hold at the end has the remainder of the whole message, and the crc32
// instruction takes it from there.

#if defined(__x86_64__)

#include <immintrin.h>

namespace kvarn {
namespace {

constexpr uint64_t kNormalPolynomial = 0x11edc6f41u;

// x^n modulo the polynomial, as the multiplier of reflected operands wants it: bits in reverse, and one place
// up, because the product of two reflected numbers is short by one place.
constexpr int64_t multiplier(unsigned n) {
  uint64_t r = 1;
  for (; n > 0; n--) {
    r <<= 1;
    if (r >> 32) r ^= kNormalPolynomial;
  }
  uint64_t reflected = 0;
  for (unsigned bit = 0; bit < 32; bit++) reflected |= (r >> bit & 1) << (31 - bit);
  return static_cast<int64_t>(reflected << 1);
}

constexpr unsigned kFoldBits = kFoldBytes * 8;
constexpr int64_t kLow = multiplier(kFoldBits + 32);   // for the first 64 bits of each 128, the higher powers
constexpr int64_t kHigh = multiplier(kFoldBits - 32);  // for the second

// Memory is asked for a page ahead: the processor's own reading ahead stops at the end of each page. From
// memory this takes a seventh less time; asking for what lies past the end does no harm.
constexpr size_t kPrefetchBytes = 4096;

#define KVARN_FOLD_TARGET __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))

KVARN_FOLD_TARGET inline __m512i step(__m512i sum, __m512i multipliers, __m512i next) {
  const __m512i low = _mm512_clmulepi64_epi128(sum, multipliers, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(sum, multipliers, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);  // the exclusive or of three
}

}  // namespace

bool can_fold() {
  static const bool can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") &&
                          __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
  return can;
}

KVARN_FOLD_TARGET uint32_t fold(uint32_t c, const unsigned char* p, size_t bytes) {
  const unsigned char* const end = p + bytes;
  const __m512i multipliers = _mm512_set4_epi64(kHigh, kLow, kHigh, kLow);
  __m512i a =
      _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(c))));
  __m512i b = _mm512_loadu_si512(p + 64);
  __m512i d = _mm512_loadu_si512(p + 128);
  __m512i e = _mm512_loadu_si512(p + 192);
  for (p += kFoldBytes; p < end; p += kFoldBytes) {
    for (size_t line = 0; line < kFoldBytes; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes + line, _MM_HINT_T0);
    }
    a = step(a, multipliers, _mm512_loadu_si512(p));
    b = step(b, multipliers, _mm512_loadu_si512(p + 64));
    d = step(d, multipliers, _mm512_loadu_si512(p + 128));
    e = step(e, multipliers, _mm512_loadu_si512(p + 192));
  }
  alignas(64) uint64_t rest[kFoldBytes / 8];
  _mm512_store_si512(rest, a);
  _mm512_store_si512(rest + 8, b);
  _mm512_store_si512(rest + 16, d);
  _mm512_store_si512(rest + 24, e);
  uint64_t remainder = 0;
  for (const uint64_t word : rest) remainder = _mm_crc32_u64(remainder, word);
  return static_cast<uint32_t>(remainder);
}

}  // namespace kvarn

#else

namespace kvarn {

bool can_fold() { return false; }

uint32_t fold(uint32_t c, const unsigned char*, size_t) { return c; }

}  // namespace kvarn

#endif
