#include "kvarn/base/fingerprint.h"

#include <bit>
#include <utility>

#include "kvarn/base/endian.h"

namespace kvarn {
namespace {

constexpr uint64_t k0 = 0xc3a5c85c97cb3127u;
constexpr uint64_t k1 = 0xb492b66fbe98f273u;
constexpr uint64_t k2 = 0x9ae16a3b2f90404fu;

struct Pair {
  uint64_t a = 0;
  uint64_t b = 0;
};

uint64_t fold(uint64_t v) { return v ^ (v >> 47); }

uint64_t mix(uint64_t u, uint64_t v, uint64_t mul) {
  const uint64_t a = fold((u ^ v) * mul);
  return fold((v ^ a) * mul) * mul;
}

uint64_t up_to_16(const unsigned char* s, size_t n) {
  if (n >= 8) {
    const uint64_t mul = k2 + n * 2;
    const uint64_t a = load64(s) + k2;
    const uint64_t b = load64(s + n - 8);
    return mix(std::rotr(b, 37) * mul + a, (std::rotr(a, 25) + b) * mul, mul);
  }
  if (n >= 4) return mix(n + (uint64_t{load32(s)} << 3), load32(s + n - 4), k2 + n * 2);
  if (n > 0) {
    const uint32_t y = s[0] + (uint32_t{s[n >> 1]} << 8);
    const uint32_t z = static_cast<uint32_t>(n) + (uint32_t{s[n - 1]} << 2);
    return fold(y * k2 ^ z * k0) * k2;
  }
  return k2;
}

uint64_t up_to_32(const unsigned char* s, size_t n) {
  const uint64_t mul = k2 + n * 2;
  const uint64_t a = load64(s) * k1;
  const uint64_t b = load64(s + 8);
  const uint64_t c = load64(s + n - 8) * mul;
  const uint64_t d = load64(s + n - 16) * k2;
  return mix(std::rotr(a + b, 43) + std::rotr(c, 30) + d, a + std::rotr(b + k2, 18) + c, mul);
}

uint64_t up_to_64(const unsigned char* s, size_t n) {
  const uint64_t mul = k2 + n * 2;
  const uint64_t a = load64(s) * k2;
  const uint64_t b = load64(s + 8);
  const uint64_t c = load64(s + n - 8) * mul;
  const uint64_t d = load64(s + n - 16) * k2;
  const uint64_t y = std::rotr(a + b, 43) + std::rotr(c, 30) + d;
  const uint64_t z = mix(y, a + std::rotr(b + k2, 18) + c, mul);
  const uint64_t e = load64(s + 16) * mul;
  const uint64_t f = load64(s + 24);
  const uint64_t g = (y + load64(s + n - 32)) * mul;
  const uint64_t h = (z + load64(s + n - 24)) * mul;
  return mix(std::rotr(e + f, 43) + std::rotr(g, 30) + h, e + std::rotr(f + a, 18) + g, mul);
}

// 32 bytes at s into a pair of sums.
Pair absorb32(const unsigned char* s, uint64_t a, uint64_t b) {
  const uint64_t z = load64(s + 24);
  a += load64(s);
  b = std::rotr(b + a + z, 21);
  const uint64_t c = a;
  a += load64(s + 8);
  a += load64(s + 16);
  b += std::rotr(a, 44);
  return {a + z, b + c};
}

struct LongState {
  uint64_t x, y, z;
  Pair v, w;

  // One block of 64 bytes. The last block weighs some terms by 9 and multiplies by another constant.
  void absorb64(const unsigned char* s, uint64_t mul, uint64_t weight) {
    x = std::rotr(x + y + v.a + load64(s + 8), 37) * mul;
    y = std::rotr(y + v.b + load64(s + 48), 42) * mul;
    x ^= w.b * weight;
    y += v.a * weight + load64(s + 40);
    z = std::rotr(z + w.a, 33) * mul;
    v = absorb32(s, v.b * mul, x + w.a);
    w = absorb32(s + 32, z + w.b, y + load64(s + 16));
    std::swap(z, x);
  }
};

uint64_t over_64(const unsigned char* s, size_t n) {
  constexpr uint64_t kSeed = 81;
  const uint64_t y0 = kSeed * k1 + 113;
  LongState t{kSeed * k2 + load64(s), y0, fold(y0 * k2 + 113) * k2, {}, {}};
  const unsigned char* const end = s + (n - 1) / 64 * 64;
  const unsigned char* const last64 = s + n - 64;
  for (; s != end; s += 64) t.absorb64(s, k1, 1);
  const uint64_t mul = k1 + ((t.z & 0xff) << 1);
  t.w.a += (n - 1) & 63;
  t.v.a += t.w.a;
  t.w.a += t.v.a;
  t.absorb64(last64, mul, 9);
  return mix(mix(t.v.a, t.w.a, mul) + fold(t.y) * k0 + t.z, mix(t.v.b, t.w.b, mul) + t.x, mul);
}

}  // namespace

uint64_t fingerprint64(const unsigned char* s, size_t n) {
  if (n <= 16) return up_to_16(s, n);
  if (n <= 32) return up_to_32(s, n);
  if (n <= 64) return up_to_64(s, n);
  return over_64(s, n);
}

uint64_t fingerprint_cat64(uint64_t a, uint64_t b) {
  constexpr uint64_t kMul = 0xc6a4a7935bd1e995u;
  uint64_t h = a ^ kMul;
  h ^= fold(b * kMul) * kMul;
  h *= kMul;
  h = fold(h) * kMul;
  return fold(h);
}

}  // namespace kvarn
