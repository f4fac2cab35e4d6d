#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "kvarn/engine/group_lookup.h"

namespace kvarn::bindings {
namespace {

Combiner combiner_of(const std::string& name) {
  if (name == "sum") return Combiner::kSum;
  if (name == "mean") return Combiner::kMean;
  if (name == "sqrtn") return Combiner::kSqrtn;
  raise_if_error(Status::invalid("group_lookup: no combiner is called " + name));
  return Combiner::kSum;
}

void check_number(const char* what, size_t found, size_t expected) {
  if (found == expected) return;
  raise_if_error(Status::invalid("group_lookup: " + std::to_string(found) + " " + what + " for " +
                                 std::to_string(expected) + " tables"));
}

// Outputs of one row of floats each place; their leading dimensions say how the keys are combined.
using Outputs = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

GroupLookup lookup_of(size_t i, EmbeddingTable* table, size_t slot, bool create, const Vector<int64_t>& keys,
                      const Matrix<int64_t>& indices, const std::optional<Vector<float>>& weights,
                      const Outputs& out, const MutableVector<int32_t>& ends,
                      const MutableVector<int32_t>& unique_idx) {
  const auto fail = [i](const std::string& what) {
    raise_if_error(Status::invalid("group_lookup: lookup " + std::to_string(i) + " has " + what));
  };
  if (table == nullptr) fail("no table");
  if (indices.shape(0) != keys.size() || indices.shape(1) == 0) {
    fail(std::to_string(indices.shape(0)) + " indices for " + std::to_string(keys.size()) + " keys");
  }
  if (weights && weights->size() != keys.size()) {
    fail(std::to_string(weights->size()) + " weights for " + std::to_string(keys.size()) + " keys");
  }
  if (out.ndim() != 2 && out.ndim() != 3) fail("an output of " + std::to_string(out.ndim()) + " dimensions");
  const bool sequence = out.ndim() == 3;
  return {table,
          slot,
          create,
          span_of(keys),
          std::span(indices.data(), indices.size()),
          indices.shape(1),
          out.shape(0),
          sequence ? out.shape(1) : 0,
          sequence,
          weights ? span_of(*weights) : std::span<const float>(),
          std::span(out.data(), out.size()),
          span_of(ends),
          span_of(unique_idx),
          {}};
}

// The vectors hold the arrays and tables while the GIL is away.
std::vector<NumpyVector<int64_t>> group_lookup_of(
    const std::vector<EmbeddingTable*>& tables, const std::vector<size_t>& slots,
    const std::vector<bool>& create, const std::vector<Vector<int64_t>>& keys,
    const std::vector<Matrix<int64_t>>& indices, const std::vector<std::optional<Vector<float>>>& weights,
    const std::vector<Outputs>& out, const std::vector<MutableVector<int32_t>>& ends,
    const std::vector<MutableVector<int32_t>>& unique_idx, const std::string& combiner) {
  const size_t n = tables.size();
  check_number("slots", slots.size(), n);
  check_number("rules", create.size(), n);
  check_number("arrays of keys", keys.size(), n);
  check_number("arrays of indices", indices.size(), n);
  check_number("arrays of weights", weights.size(), n);
  check_number("outputs", out.size(), n);
  check_number("arrays of ends", ends.size(), n);
  check_number("arrays of places", unique_idx.size(), n);
  std::vector<GroupLookup> lookups;
  lookups.reserve(n);
  for (size_t i = 0; i < n; i++) {
    lookups.push_back(lookup_of(i, tables[i], slots[i], create[i], keys[i], indices[i], weights[i], out[i],
                                ends[i], unique_idx[i]));
  }
  const Combiner how = combiner_of(combiner);
  Status status;
  {
    const nb::gil_scoped_release no_gil;
    status = group_lookup(lookups, how);
  }
  raise_if_error(status);
  std::vector<NumpyVector<int64_t>> unique_keys;
  for (GroupLookup& one : lookups) unique_keys.push_back(to_numpy(std::move(one.unique_keys)));
  return unique_keys;
}

}  // namespace

void bind_group_lookup(nb::module_& m) {
  m.def("group_lookup", &group_lookup_of, nb::arg("tables"), nb::arg("slots"), nb::arg("create"),
        nb::arg("keys").noconvert(), nb::arg("indices").noconvert(), nb::arg("weights").noconvert(),
        nb::arg("out").noconvert(), nb::arg("ends").noconvert(), nb::arg("unique_idx").noconvert(),
        nb::arg("combiner"));
}

}  // namespace kvarn::bindings
