// What the bind_*.cc files share. Only this folder knows of Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kvarn/base/status.h"

namespace kvarn::bindings {

namespace nb = nanobind;

template <typename T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using MutableVector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using MutableMatrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using NumpyVector = nb::ndarray<nb::numpy, T, nb::ndim<1>, nb::c_contig>;

// Raises the kvarn.errors class of `status`; does nothing when it is OK. Needs the GIL.
void raise_if_error(const Status& status);

template <typename Array>
auto span_of(const Array& a) {
  return std::span(a.data(), a.size());
}

// A NumPy array that owns `values`.
template <typename T>
NumpyVector<T> to_numpy(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  const size_t n = owned->size();
  nb::capsule owner(owned.release(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return NumpyVector<T>(data, {n}, owner);
}

void bind_base(nb::module_& m);
void bind_kernels(nb::module_& m);
void bind_engine(nb::module_& m);
void bind_executor(nb::module_& m);
void bind_formats(nb::module_& m);
void bind_group_lookup(nb::module_& m);

}  // namespace kvarn::bindings
