#include "kvarn/kernels/optimizer_rule.h"

#include "update_rows.h"

namespace kvarn {
namespace {

constexpr uint32_t kAllLikePrimary = 0;
constexpr uint32_t kSecondIsOne = 0b10;

const OptimizerRule kRules[] = {
    {"GradientDescent", 0, kAllLikePrimary, 1, update_by_gradient_descent},
    {"Adagrad", 1, kAllLikePrimary, 1, update_by_adagrad},
    {"AdagradDecay", 2, kAllLikePrimary, 4, update_by_adagrad_decay},
    {"AdagradDecayV2", 2, kSecondIsOne, 4, update_by_adagrad_decay},
    {"Adam", 2, kAllLikePrimary, 6, update_by_adam},
    {"AdamAsync", 2, kAllLikePrimary, 6, update_by_adam_async},
    {"AdamAsyncSparseRmsprop", 2, kAllLikePrimary, 4, update_by_adam_async_sparse_rmsprop},
    {"AdamW", 2, kAllLikePrimary, 7, update_by_adam_w},
    {"Ftrl", 2, kAllLikePrimary, 4, update_by_ftrl},
    {"FtrlV2", 2, kAllLikePrimary, 5, update_by_ftrl_v2},
    {"Momentum", 1, kAllLikePrimary, 2, update_by_momentum},
    {"NesterovMomentum", 1, kAllLikePrimary, 2, update_by_nesterov_momentum},
    {"RMSProp", 2, kAllLikePrimary, 4, update_by_rms_prop},
    {"CenteredRMSProp", 3, kAllLikePrimary, 4, update_by_centered_rms_prop},
};

}  // namespace

const OptimizerRule* find_optimizer_rule(std::string_view name) {
  for (const OptimizerRule& rule : kRules) {
    if (name == rule.name) return &rule;
  }
  return nullptr;
}

}  // namespace kvarn
