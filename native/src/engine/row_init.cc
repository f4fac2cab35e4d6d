#include "kvarn/engine/row_init.h"

#include <cmath>

namespace kvarn {
namespace {

constexpr double kBelowMinus2 = 0.022750131948179195;
constexpr double kTail = 0.02425;
constexpr double kA[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                         1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
constexpr double kB[] = {-5.447609879822406e+01, 1.615858368580409e+02,  -1.556989798598866e+02,
                         6.680131188771972e+01,  -1.328068155288572e+01, 1.0};
constexpr double kC[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                         -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
constexpr double kD[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                         3.754408661907416e+00, 1.0};

uint64_t mix64(uint64_t h) {
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
  return h ^ (h >> 31);
}

template <size_t kN>
double polynomial(const double (&coefficients)[kN], double x) {
  double total = coefficients[0];
  for (size_t i = 1; i < kN; i++) total = total * x + coefficients[i];
  return total;
}

double natural_log(double x) {
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < 0.7071067811865476) {
    mantissa *= 2.0;
    exponent--;
  }
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double total = 1.0 / 23.0;
  for (int odd = 21; odd > 0; odd -= 2) total = total * square + 1.0 / odd;
  return exponent * 0.6931471805599453 + 2.0 * s * total;
}

double inverse_normal(double p) {
  if (p >= kTail && p <= 1.0 - kTail) {
    const double q = p - 0.5;
    const double r = q * q;
    return polynomial(kA, r) * q / polynomial(kB, r);
  }
  const double tail = std::sqrt(-2.0 * natural_log(p < 0.5 ? p : 1.0 - p));
  const double outer = polynomial(kC, tail) / polynomial(kD, tail);
  return p < 0.5 ? outer : -outer;
}

}  // namespace

SeededRows::SeededRows(int64_t seed, Distribution distribution, double a, double b)
    : mixed_seed_(mix64(static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u)),
      distribution_(distribution),
      a_(a),
      b_(b) {}

void SeededRows::fill(int64_t key, std::span<float> row) const {
  const uint64_t h = mix64(mixed_seed_ ^ static_cast<uint64_t>(key));
  for (size_t d = 0; d < row.size(); d++) {
    const uint64_t bits = mix64(h + (d + 1) * 0xd1b54a32d192ed03u);
    if (distribution_ == Distribution::kUniform) {
      const auto low = static_cast<float>(a_);
      const auto high = static_cast<float>(b_);
      row[d] = static_cast<float>(bits >> 40) * 0x1p-24f * (high - low) + low;
      continue;
    }
    double p = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
    if (distribution_ == Distribution::kTruncatedNormal) p = p * (1.0 - 2.0 * kBelowMinus2) + kBelowMinus2;
    row[d] = static_cast<float>(inverse_normal(p) * b_ + a_);
  }
}

}  // namespace kvarn
