// Loops that the kernels of the optimizers have in common, and the kernels' names for the table in
// optimizer_rule.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kvarn/kernels/row_update.h"

// Before a loop over the elements of one entry: value and slots do not overlap. Without `unroll` the compiler
// takes a loop over 8 elements apart before it could make vectors of it.
#if defined(__GNUC__) && !defined(__clang__)
#define KVARN_SEPARATE_ELEMENTS _Pragma("GCC ivdep") _Pragma("GCC unroll 1")
#else
#define KVARN_SEPARATE_ELEMENTS
#endif

namespace kvarn {

// fn(constant dim or 0, offsets) for the layout at hand: entries of the usual dimensions whose slots lie one
// behind the other have all lengths known to the compiler; for others the dimension is 0 and taken from
// `update`.
template <size_t kSlots, typename Fn>
[[gnu::always_inline]] inline void with_layout(const RowUpdate& update, const size_t* slot_offsets, Fn fn) {
  const auto packed = [](size_t dim) {
    std::array<size_t, kSlots> at{};
    size_t end = 0;
    for (size_t& offset : at) offset = end += dim;
    return at;
  };
  std::array<size_t, kSlots> at{};
  std::copy_n(slot_offsets, kSlots, at.begin());
  const auto is = [&](size_t dim) { return update.dim == dim && at == packed(dim); };
  if (is(16)) return fn(std::integral_constant<size_t, 16>{}, packed(16));
  if (is(8)) return fn(std::integral_constant<size_t, 8>{}, packed(8));
  if (is(32)) return fn(std::integral_constant<size_t, 32>{}, packed(32));
  fn(std::integral_constant<size_t, 0>{}, at);
}

// Floats from the start of an entry to the end of the last of these slots.
template <size_t kSlots>
inline size_t touched_floats(const std::array<size_t, kSlots>& at, size_t dim) {
  size_t end = dim;
  for (const size_t offset : at) end = std::max(end, offset + dim);
  return end;
}

// step(value, gradient, slot 0, slot 1, ...) for every element of every entry, all but the gradient by
// reference.
template <size_t kSlots, typename Step>
[[gnu::always_inline]] inline void update_elements(const RowUpdate& update, const size_t* slot_offsets,
                                                   Step step) {
  with_layout<kSlots>(update, slot_offsets, [&](auto known, const std::array<size_t, kSlots>& at) {
    const size_t dim = known() ? known() : update.dim;
    for_each_row(update, touched_floats(at, dim), [=](float* __restrict entry, const float* __restrict g) {
      [&]<size_t... kSlot>(std::index_sequence<kSlot...>) __attribute__((always_inline)) {
        KVARN_SEPARATE_ELEMENTS
        for (size_t d = 0; d < dim; d++) step(entry[d], g[d], entry[at[kSlot] + d]...);
      }(std::make_index_sequence<kSlots>{});
    });
  });
}

// One kernel for each optimizer, as `OptimizerRule::apply`.
void update_by_gradient_descent(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_adagrad(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_adagrad_decay(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_adam(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_adam_async(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_adam_async_sparse_rmsprop(const RowUpdate& update, const size_t* slot_offsets,
                                         const float* params);
void update_by_adam_w(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_ftrl(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_ftrl_v2(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_momentum(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_nesterov_momentum(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_rms_prop(const RowUpdate& update, const size_t* slot_offsets, const float* params);
void update_by_centered_rms_prop(const RowUpdate& update, const size_t* slot_offsets, const float* params);

}  // namespace kvarn
