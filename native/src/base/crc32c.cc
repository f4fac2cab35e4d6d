#include "kvarn/base/crc32c.h"

#include <array>

#include "crc32c_fold.h"
#include "kvarn/base/endian.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

namespace kvarn {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;

using ByteTables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: the remainder of byte b followed by k zero bytes.
constexpr ByteTables make_byte_tables() {
  ByteTables t{};
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t c = b;
    for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (c & 1 ? kPolynomial : 0);
    t[0][b] = c;
  }
  for (size_t k = 1; k < 8; k++) {
    for (uint32_t b = 0; b < 256; b++) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 255];
  }
  return t;
}

constexpr ByteTables kBytes = make_byte_tables();

// Checksums are remainders of polynomials over GF(2); bit 31 is the coefficient of x^0.
constexpr uint32_t kOne = 1u << 31;

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ (b & 1 ? kPolynomial : 0);  // times x
  }
  return product;
}

// powers[k]: x to the power of 2^k bytes.
constexpr std::array<uint32_t, 64> make_powers() {
  std::array<uint32_t, 64> powers{};
  powers[0] = kOne >> 8;
  for (size_t k = 1; k < powers.size(); k++) powers[k] = multiply(powers[k - 1], powers[k - 1]);
  return powers;
}

constexpr std::array<uint32_t, 64> kPowers = make_powers();

#if defined(__x86_64__) || defined(__aarch64__)
#define KVARN_CRC_INSTRUCTION 1

// The instruction has a latency of three cycles and a throughput of one: three streams run side by side and
// are joined by shifting the first over the length of the next. Long streams for bulk, short ones for blocks.
constexpr size_t kLong = 8192;
constexpr size_t kShort = 256;
// From here on multiplying wide vectors is faster, where the processor can.
constexpr size_t kFoldFrom = 4 * kFoldBytes;

using Matrix = std::array<uint32_t, 32>;
using ShiftTables = std::array<std::array<uint32_t, 256>, 4>;

constexpr uint32_t times(const Matrix& m, uint32_t v) {
  uint32_t sum = 0;
  for (size_t i = 0; v != 0; v >>= 1, i++) {
    if (v & 1) sum ^= m[i];
  }
  return sum;
}

// Tables that carry a checksum over `bytes` (a power of two) zero bytes.
constexpr ShiftTables make_shift_tables(size_t bytes) {
  Matrix m{};
  m[0] = kPolynomial;  // one zero bit
  for (size_t i = 1; i < 32; i++) m[i] = 1u << (i - 1);
  for (size_t bits = bytes * 8; bits > 1; bits >>= 1) {
    Matrix square{};
    for (size_t i = 0; i < 32; i++) square[i] = times(m, m[i]);
    m = square;
  }
  ShiftTables t{};
  for (size_t k = 0; k < 4; k++) {
    for (uint32_t b = 0; b < 256; b++) t[k][b] = times(m, b << (8 * k));
  }
  return t;
}

constexpr ShiftTables kShiftLong = make_shift_tables(kLong);
constexpr ShiftTables kShiftShort = make_shift_tables(kShort);

inline uint32_t shift(const ShiftTables& t, uint32_t c) {
  return t[0][c & 255] ^ t[1][(c >> 8) & 255] ^ t[2][(c >> 16) & 255] ^ t[3][c >> 24];
}

#if defined(__x86_64__)
#define KVARN_CRC_TARGET __attribute__((target("sse4.2")))
KVARN_CRC_TARGET inline uint64_t step8(uint64_t c, uint64_t v) { return _mm_crc32_u64(c, v); }
KVARN_CRC_TARGET inline uint32_t step1(uint32_t c, unsigned char v) { return _mm_crc32_u8(c, v); }
bool has_crc_instruction() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}
#else
#define KVARN_CRC_TARGET __attribute__((target("+crc")))
KVARN_CRC_TARGET inline uint64_t step8(uint64_t c, uint64_t v) {
  return __crc32cd(static_cast<uint32_t>(c), v);
}
KVARN_CRC_TARGET inline uint32_t step1(uint32_t c, unsigned char v) { return __crc32cb(c, v); }
bool has_crc_instruction() {
#if defined(__linux__)
  static const bool has = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
  return has;
#else
  return true;  // every other system on this processor demands it
#endif
}
#endif

template <size_t kStream>
KVARN_CRC_TARGET inline uint64_t three_streams(const ShiftTables& tables, uint64_t c, const unsigned char*& p,
                                               size_t& n) {
  while (n >= 3 * kStream) {
    uint64_t x = 0;
    uint64_t y = 0;
    for (size_t i = 0; i < kStream; i += 8) {
      c = step8(c, load64(p + i));
      x = step8(x, load64(p + kStream + i));
      y = step8(y, load64(p + 2 * kStream + i));
    }
    c = shift(tables, static_cast<uint32_t>(c)) ^ x;
    c = shift(tables, static_cast<uint32_t>(c)) ^ y;
    p += 3 * kStream;
    n -= 3 * kStream;
  }
  return c;
}

KVARN_CRC_TARGET uint32_t extend_by_instruction(uint32_t crc, const unsigned char* p, size_t n) {
  uint64_t c = ~crc;
  if (n >= kFoldFrom && can_fold()) {
    const size_t whole = n / kFoldBytes * kFoldBytes;
    c = fold(static_cast<uint32_t>(c), p, whole);
    p += whole;
    n -= whole;
  }
  c = three_streams<kLong>(kShiftLong, c, p, n);
  c = three_streams<kShort>(kShiftShort, c, p, n);
  for (; n >= 8; n -= 8, p += 8) c = step8(c, load64(p));
  auto c32 = static_cast<uint32_t>(c);
  for (; n > 0; n--, p++) c32 = step1(c32, *p);
  return ~c32;
}
#endif

}  // namespace

uint32_t crc32c_extend_portable(uint32_t crc, std::span<const unsigned char> data) {
  const unsigned char* p = data.data();
  size_t n = data.size();
  uint32_t c = ~crc;
  for (; n >= 8; n -= 8, p += 8) {
    const uint64_t v = load64(p) ^ c;
    c = 0;
    for (size_t k = 0; k < 8; k++) c ^= kBytes[7 - k][(v >> (8 * k)) & 255];
  }
  for (; n > 0; n--, p++) c = (c >> 8) ^ kBytes[0][(c ^ *p) & 255];
  return ~c;
}

uint32_t crc32c_extend(uint32_t crc, std::span<const unsigned char> data) {
#if defined(KVARN_CRC_INSTRUCTION)
  if (has_crc_instruction()) return extend_by_instruction(crc, data.data(), data.size());
#endif
  return crc32c_extend_portable(crc, data);
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  // B moves A up by its length; what start value and final inversion add cancels out.
  uint32_t power = kOne;
  for (size_t k = 0; length_b != 0; length_b >>= 1, k++) {
    if (length_b & 1) power = multiply(kPowers[k], power);
  }
  return multiply(power, crc_a) ^ crc_b;
}

}  // namespace kvarn
