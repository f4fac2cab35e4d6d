#include <limits>
#include <memory>
#include <string>

#include "bindings.h"
#include "kvarn/kernels/gather_rows.h"
#include "kvarn/kernels/segment_sum.h"
#include "kvarn/kernels/unique.h"

namespace kvarn::bindings {
namespace {

template <typename T>
nb::tuple unique_of(Vector<T> x, bool with_counts) {
  if (x.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    raise_if_error(Status::invalid("unique: " + std::to_string(x.size()) +
                                   " elements, expected fewer than 2^31 (positions are int32)"));
  }
  std::vector<T> values;
  std::vector<int32_t> idx;
  std::vector<int32_t> counts;
  {
    const nb::gil_scoped_release no_gil;
    idx.resize(x.size());
    if (with_counts) counts.resize(x.size());
    values = unique<T>(span_of(x), idx, counts);
    counts.resize(with_counts ? values.size() : 0);
  }
  if (!with_counts) return nb::make_tuple(to_numpy(std::move(values)), to_numpy(std::move(idx)));
  return nb::make_tuple(to_numpy(std::move(values)), to_numpy(std::move(idx)), to_numpy(std::move(counts)));
}

template <typename T, typename Id>
auto segment_sum_of(nb::ndarray<const T, nb::c_contig, nb::device::cpu> data, Vector<Id> ids,
                    int64_t num_segments) {
  if (data.ndim() < 1 || data.shape(0) != ids.size()) {
    raise_if_error(Status::invalid("unsorted_segment_sum: " + std::to_string(ids.size()) +
                                   " segment ids, expected one for each of the " +
                                   std::to_string(data.ndim() < 1 ? 0 : data.shape(0)) + " rows of data"));
  }
  if (num_segments < 0) {
    raise_if_error(Status::invalid("unsorted_segment_sum: num_segments is " + std::to_string(num_segments) +
                                   ", expected >= 0"));
  }
  const auto segments = static_cast<size_t>(num_segments);
  std::vector<size_t> shape{segments};
  size_t width = 1;
  for (size_t k = 1; k < data.ndim(); k++) {
    shape.push_back(data.shape(k));
    width *= data.shape(k);
  }
  size_t total = 0;
  if (__builtin_mul_overflow(segments, width, &total)) {
    raise_if_error(Status::exhausted("unsorted_segment_sum: " + std::to_string(num_segments) +
                                     " segments of " + std::to_string(width) +
                                     " elements do not fit in memory"));
  }
  // Not zeroed here: the kernel clears each range on the thread that fills it.
  std::unique_ptr<T[]> out(new T[total]);
  int64_t bad = -1;
  {
    const nb::gil_scoped_release no_gil;
    bad = unsorted_segment_sum<T, Id>(data.data(), span_of(ids), width, segments, out.get());
  }
  if (bad >= 0) {
    raise_if_error(Status::invalid("segment_ids[" + std::to_string(bad) +
                                   "] = " + std::to_string(ids.data()[bad]) + " is out of range [0, " +
                                   std::to_string(num_segments) + ")"));
  }
  T* raw = out.release();
  nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T, nb::c_contig>(raw, shape.size(), shape.data(), owner);
}

using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using AnyMutableMatrix = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <typename Id>
int64_t gather_rows_of(AnyMatrix params, Vector<Id> indices, AnyMutableMatrix out) {
  if (out.itemsize() != params.itemsize() || out.shape(1) != params.shape(1) ||
      out.shape(0) != indices.size()) {
    raise_if_error(Status::invalid(
        "gather_rows: out has " + std::to_string(out.shape(0)) + " rows of " + std::to_string(out.shape(1)) +
        " elements of " + std::to_string(out.itemsize()) + " bytes, expected " +
        std::to_string(indices.size()) + " rows of " + std::to_string(params.shape(1)) + " elements of " +
        std::to_string(params.itemsize()) + " bytes"));
  }
  const nb::gil_scoped_release no_gil;
  return gather_rows<Id>(static_cast<const std::byte*>(params.data()), params.shape(0),
                         params.shape(1) * params.itemsize(), span_of(indices),
                         static_cast<std::byte*>(out.data()));
}

template <typename Id>
void bind_for_ids(nb::module_& m) {
  m.def("unique", [](Vector<Id> x) { return unique_of<Id>(x, false); }, nb::arg("x").noconvert());
  m.def("unique_with_counts", [](Vector<Id> x) { return unique_of<Id>(x, true); }, nb::arg("x").noconvert());
  m.def("unsorted_segment_sum", &segment_sum_of<float, Id>, nb::arg("data").noconvert(),
        nb::arg("ids").noconvert(), nb::arg("num_segments"));
  m.def("unsorted_segment_sum", &segment_sum_of<double, Id>, nb::arg("data").noconvert(),
        nb::arg("ids").noconvert(), nb::arg("num_segments"));
  m.def("gather_rows", &gather_rows_of<Id>, nb::arg("params").noconvert(), nb::arg("indices").noconvert(),
        nb::arg("out").noconvert());
}

}  // namespace

void bind_kernels(nb::module_& m) {
  bind_for_ids<int64_t>(m);
  bind_for_ids<int32_t>(m);
}

}  // namespace kvarn::bindings
