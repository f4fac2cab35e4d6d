// Every optimizer's kernel gives the bits of its formula written out for one element, in every layout of the
// slots.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kvarn/kernels/optimizer_rule.h"

namespace {

using Floats = std::vector<float>;

// One row: the value, the slots and the gradient, each with its own length.
struct Row {
  Floats value;
  std::vector<Floats> slots;
  Floats grad;
};

float adam_alpha(const Floats& p) { return p[2] * std::sqrt(1.0f - p[1]) / (1.0f - p[0]); }

float power(float a, float exponent) {
  if (exponent == 0.5f) return std::sqrt(a);
  return static_cast<float>(std::pow(static_cast<double>(a), static_cast<double>(exponent)));
}

void ftrl(Row& r, float lr, float l1, float l2, float shrinkage, float lr_power, bool shrinks) {
  const size_t dim = r.value.size();
  Floats& accum = r.slots[0];
  Floats& linear = r.slots[1];
  Floats new_power(dim);
  float lanes[8] = {};
  for (size_t d = 0; d < dim; d++) {
    const float g = shrinks ? r.grad[d] + 2.0f * shrinkage * r.value[d] : r.grad[d];
    new_power[d] = power(accum[d] + g * g, -lr_power);
    linear[d] += g - (new_power[d] - power(accum[d], -lr_power)) / lr * r.value[d];
    lanes[d % 8] += linear[d] * linear[d];
  }
  const float norm = std::sqrt(((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
                               ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])));
  for (size_t d = 0; d < dim; d++) {
    r.value[d] = norm > l1 ? (l1 - norm) / ((new_power[d] / lr + 2.0f * l2) * norm) * linear[d] : 0.0f;
    accum[d] += r.grad[d] * r.grad[d];
  }
}

void expect(const std::string& rule, Row& r, const Floats& p) {
  if (rule == "Ftrl") return ftrl(r, p[0], p[1], p[2], 0.0f, p[3], false);
  if (rule == "FtrlV2") return ftrl(r, p[0], p[1], p[2], p[3], p[4], true);
  const bool decays = rule.starts_with("AdagradDecay") && p[3] > r.slots[1][0];
  if (decays) r.slots[1][0] += 1.0f;
  for (size_t d = 0; d < r.value.size(); d++) {
    float& v = r.value[d];
    const float g = r.grad[d];
    float none = 0.0f;
    float& a = r.slots.empty() ? none : r.slots[0][d];
    float& b = r.slots.size() < 2 || d >= r.slots[1].size() ? none : r.slots[1][d];
    if (rule == "GradientDescent") {
      v = v - p[0] * g;
    } else if (rule.starts_with("Adagrad")) {
      if (decays) a = a * p[1] < p[2] ? p[2] : a * p[1];
      a = a + g * g;
      v = v - p[0] * g / std::sqrt(a);
    } else if (rule == "Adam" || rule == "AdamW") {
      a = a + (g - a) * (1.0f - p[3]);
      b = b + (g * g - b) * (1.0f - p[4]);
      const float denominator = std::sqrt(b) + p[5];
      if (rule == "Adam") {
        v = v - a * adam_alpha(p) / denominator;
      } else {
        v = v - adam_alpha(p) * (a / denominator + p[6] * v);
      }
    } else if (rule == "AdamAsync") {
      a = a * p[3] + g * (1.0f - p[3]);
      b = b * p[4] + g * g * (1.0f - p[4]);
      v = v - a * adam_alpha(p) / (std::sqrt(b) + p[5]);
    } else if (rule == "AdamAsyncSparseRmsprop") {
      b = b * p[2] + g * g * (1.0f - p[2]);
      a = a * p[1] + p[0] * g / std::sqrt(b + p[3]);
      v = v - a;
    } else if (rule == "Momentum") {
      a = a * p[1] + g;
      v = v - a * p[0];
    } else if (rule == "NesterovMomentum") {
      a = a * p[1] + g;
      v = v - (g * p[0] + a * p[1] * p[0]);
    } else if (rule == "RMSProp") {
      a = a + (g * g - a) * (1.0f - p[1]);
      b = b * p[2] + g * p[0] / std::sqrt(a + p[3]);
      v = v - b;
    } else if (rule == "CenteredRMSProp") {
      b = b + (g * g - b) * (1.0f - p[1]);
      a = a + (g - a) * (1.0f - p[1]);
      float& mom = r.slots[2][d];
      mom = mom * p[2] + g * p[0] / std::sqrt(b - a * a + p[3]);
      v = v - mom;
    } else {
      CHECK(!"a rule of the list below");
    }
  }
}

bool same_bits(const float* x, const Floats& y) {
  return std::all_of(y.begin(), y.end(), [&](const float& expected) {
    const float found = x[&expected - y.data()];
    return std::memcmp(&found, &expected, sizeof found) == 0 || (std::isnan(found) && std::isnan(expected));
  });
}

enum class Layout { kPacked, kPadded, kReversed };

std::vector<size_t> offsets_of(const kvarn::OptimizerRule& rule, size_t dim, Layout layout) {
  std::vector<size_t> offsets(rule.n_slots);
  size_t end = layout == Layout::kPacked ? dim : dim + 3;
  for (size_t i = 0; i < rule.n_slots; i++) {
    const size_t slot = layout == Layout::kReversed ? rule.n_slots - 1 - i : i;
    offsets[slot] = end;
    end += rule.slot_dim(slot, dim) + (layout == Layout::kPacked ? 0 : 2);
  }
  return offsets;
}

// Three steps on 37 entries by the kernel and by the formula.
void check_rule(const std::string& name, const Floats& params, bool odd_gradients = false) {
  const kvarn::OptimizerRule* rule = kvarn::find_optimizer_rule(name);
  CHECK(rule != nullptr && rule->n_params == params.size());
  if (rule == nullptr) return;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float odd[] = {0.0f, -0.0f, kInf, -kInf, std::nanf(""), 1e30f, 1e-42f};
  std::mt19937 random(7);
  const auto number = [&](float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
  };
  for (const size_t dim : {1, 2, 3, 8, 9, 16, 17, 32, 50}) {
    for (const Layout layout : {Layout::kPacked, Layout::kPadded, Layout::kReversed}) {
      constexpr size_t kRows = 37;
      constexpr float kUntouched = 77.0f;
      const auto offsets = offsets_of(*rule, dim, layout);
      const size_t stride = dim * 5 + 20;
      Floats memory(kRows * stride, kUntouched);
      std::vector<Row> rows(kRows);
      std::vector<float*> entries;
      for (size_t i = 0; i < kRows; i++) {
        float* entry = memory.data() + i * stride;
        entries.push_back(entry);
        Row& row = rows[i];
        for (size_t d = 0; d < dim; d++) row.value.push_back(entry[d] = number(-1.0f, 1.0f));
        for (size_t s = 0; s < rule->n_slots; s++) {
          row.slots.emplace_back();
          for (size_t d = 0; d < rule->slot_dim(s, dim); d++)
            row.slots[s].push_back(entry[offsets[s] + d] = number(0.01f, 1.0f));
        }
      }
      bool good = true;
      for (int step = 0; step < 3; step++) {
        std::vector<const float*> grads;
        for (Row& row : rows) {
          row.grad.resize(dim);
          for (float& g : row.grad) g = odd_gradients ? odd[random() % std::size(odd)] : number(-2.0f, 2.0f);
          grads.push_back(row.grad.data());
        }
        rule->apply({kRows, entries.data(), grads.data(), dim}, offsets.data(), params.data());
        for (size_t i = 0; i < kRows; i++) {
          expect(name, rows[i], params);
          good = good && same_bits(entries[i], rows[i].value);
          size_t touched = dim;
          for (size_t s = 0; s < rule->n_slots; s++) {
            good = good && same_bits(entries[i] + offsets[s], rows[i].slots[s]);
            touched += rows[i].slots[s].size();
          }
          good = good && std::count(entries[i], entries[i] + stride, kUntouched) ==
                             static_cast<std::ptrdiff_t>(stride - touched);
        }
      }
      if (!good) std::printf("%s, dim %zu, layout %d\n", name.c_str(), dim, static_cast<int>(layout));
      CHECK(good);
    }
  }
}

const Floats kAdam = {0.729f, 0.997f, 0.05f, 0.9f, 0.999f, 1e-8f};
const Floats kAdamW = {0.729f, 0.997f, 0.05f, 0.9f, 0.999f, 1e-8f, 0.01f};

struct Case {
  const char* rule;
  Floats params;
};

const Case kCases[] = {
    {"GradientDescent", {0.3f}},
    {"Adagrad", {0.3f}},
    {"AdagradDecay", {0.3f, 0.5f, 0.1f, 2.0f}},
    {"AdagradDecayV2", {0.3f, 0.5f, 0.1f, 2.0f}},
    {"Adam", kAdam},
    {"AdamW", kAdamW},
    {"AdamAsync", kAdam},
    {"AdamAsyncSparseRmsprop", {0.05f, 0.9f, 0.999f, 1e-8f}},
    {"Ftrl", {0.05f, 0.0f, 0.0f, -0.5f}},
    {"Ftrl", {0.05f, 3.0f, 0.01f, -0.5f}},
    {"Ftrl", {0.05f, 3.0f, 0.01f, -0.7f}},
    {"Ftrl", {0.05f, 3.0f, 0.01f, 0.0f}},
    {"FtrlV2", {0.05f, 3.0f, 0.01f, 0.02f, -0.5f}},
    {"FtrlV2", {0.05f, 3.0f, 0.01f, 0.02f, -0.3f}},
    {"Momentum", {0.05f, 0.9f}},
    {"NesterovMomentum", {0.05f, 0.9f}},
    {"RMSProp", {0.05f, 0.9f, 0.3f, 1e-10f}},
    {"CenteredRMSProp", {0.05f, 0.9f, 0.3f, 2.0f}},
};

TEST(every_rule_is_its_formula) {
  for (const Case& c : kCases) check_rule(c.rule, c.params);
}

TEST(what_is_not_finite_goes_through_like_any_number) {
  for (const Case& c : kCases) check_rule(c.rule, c.params, true);
}

TEST(no_entries_are_no_work) {
  for (const Case& c : kCases) {
    const size_t offsets[] = {4, 8, 12};
    kvarn::find_optimizer_rule(c.rule)->apply({0, nullptr, nullptr, 4}, offsets, c.params.data());
  }
}

TEST(an_unknown_rule_is_not_found) {
  CHECK(kvarn::find_optimizer_rule("adagrad") == nullptr);
  CHECK(kvarn::find_optimizer_rule("") == nullptr);
}

}  // namespace

KVARN_TEST_MAIN
