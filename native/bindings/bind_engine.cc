#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <new>
#include <optional>
#include <string>

#include "bindings.h"
#include "kvarn/engine/embedding_table.h"

namespace kvarn::bindings {
namespace {

using Keys = Vector<int64_t>;
using Rows = Matrix<float>;

// Outputs are bound with noconvert: a converted array would be a copy, and the answer lost with it.

// Runs a call on the table without the GIL, then raises what it reported.
template <typename Fn>
void run(Fn fn) {
  Status status;
  {
    const nb::gil_scoped_release no_gil;
    status = fn();
  }
  raise_if_error(status);
}

std::span<const int64_t> span_or_empty(const std::optional<Keys>& array) {
  return array ? span_of(*array) : std::span<const int64_t>();
}

Status check_rows(const char* what, size_t n_keys, const Rows& rows) {
  if (rows.shape(0) == n_keys) return {};
  return Status::invalid(std::string(what) + ": " + std::to_string(rows.shape(0)) + " rows for " +
                         std::to_string(n_keys) + " keys");
}

void bind_table(nb::module_& m) {
  using Table = EmbeddingTable;
  nb::class_<Table>(m, "EmbeddingTable")
      .def(nb::init<bool, bool>(), nb::arg("record_freq"), nb::arg("record_version"))
      .def("add_slot",
           [](Table& t, Rows defaults) {
             run([&] { return t.add_slot(defaults.shape(1), span_of(defaults)); });
           })
      .def("set_default",
           [](Table& t, size_t slot, Rows defaults) {
             if (defaults.shape(1) != t.slot_dim(slot)) {
               raise_if_error(Status::invalid("set_default: rows of dimension " +
                                              std::to_string(defaults.shape(1)) + ", expected " +
                                              std::to_string(t.slot_dim(slot))));
             }
             run([&] { return t.set_default(slot, span_of(defaults)); });
           })
      .def("size", &Table::size, nb::call_guard<nb::gil_scoped_release>())
      .def("memory_bytes", &Table::memory_bytes, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "lookup_or_create",
          [](Table& t, Keys keys, size_t slot, MutableMatrix<float> out) {
            run([&] { return t.lookup_or_create(span_of(keys), slot, span_of(out)); });
          },
          nb::arg("keys"), nb::arg("slot"), nb::arg("out").noconvert())
      .def(
          "lookup",
          [](const Table& t, Keys keys, size_t slot, MutableMatrix<float> out) {
            run([&] { return t.lookup(span_of(keys), slot, span_of(out)); });
          },
          nb::arg("keys"), nb::arg("slot"), nb::arg("out").noconvert())
      .def(
          "contains",
          [](const Table& t, Keys keys, MutableVector<bool> out) {
            run([&] { return t.contains(span_of(keys), span_of(out)); });
          },
          nb::arg("keys"), nb::arg("out").noconvert())
      .def(
          "frequency",
          [](const Table& t, Keys keys, MutableVector<int64_t> out) {
            run([&] { return t.frequency(span_of(keys), span_of(out)); });
          },
          nb::arg("keys"), nb::arg("out").noconvert())
      .def(
          "version",
          [](const Table& t, Keys keys, MutableVector<int64_t> out) {
            run([&] { return t.version(span_of(keys), span_of(out)); });
          },
          nb::arg("keys"), nb::arg("out").noconvert())
      .def(
          "apply_gradient_descent",
          [](Table& t, Keys keys, Rows grads, float lr, std::optional<int64_t> step) {
            raise_if_error(check_rows("apply_gradient_descent", keys.size(), grads));
            run([&] { return t.apply_gradient_descent(span_of(keys), span_of(grads), lr, step); });
          },
          nb::arg("keys"), nb::arg("grads"), nb::arg("lr"), nb::arg("step").none())
      .def(
          "apply_adagrad",
          [](Table& t, Keys keys, Rows grads, float lr, size_t accum_slot, std::optional<int64_t> step) {
            raise_if_error(check_rows("apply_adagrad", keys.size(), grads));
            run([&] { return t.apply_adagrad(span_of(keys), span_of(grads), lr, accum_slot, step); });
          },
          nb::arg("keys"), nb::arg("grads"), nb::arg("lr"), nb::arg("accum_slot"), nb::arg("step").none())
      .def(
          "import_rows",
          [](Table& t, size_t slot, Keys keys, Rows values, std::optional<Keys> freqs,
             std::optional<Keys> versions) {
            raise_if_error(check_rows("import_rows", keys.size(), values));
            run([&] {
              return t.import_rows(slot, span_of(keys), span_of(values), span_or_empty(freqs),
                                   span_or_empty(versions));
            });
          },
          nb::arg("slot"), nb::arg("keys"), nb::arg("values"), nb::arg("freqs").none(),
          nb::arg("versions").none())
      .def(
          "snapshot",
          [](const Table& t, size_t buckets) {
            std::unique_ptr<Snapshot> out;
            run([&] { return t.snapshot(buckets, &out); });
            return out.release();
          },
          nb::rv_policy::take_ownership)
      .def("clear", &Table::clear, nb::call_guard<nb::gil_scoped_release>())
      .def("remove", [](Table& t, Keys keys) {
        const nb::gil_scoped_release no_gil;
        return t.remove(span_of(keys));
      });
}

void check_range(const Snapshot& s, size_t start, size_t n) {
  if (start <= s.keys().size() && n <= s.keys().size() - start) return;
  raise_if_error({Code::kOutOfRange, "snapshot: entries " + std::to_string(start) + " to " +
                                         std::to_string(start + n) + " of " +
                                         std::to_string(s.keys().size())});
}

void bind_snapshot(nb::module_& m) {
  nb::class_<Snapshot>(m, "Snapshot")
      .def_prop_ro("keys",
                   [](Snapshot& s) {
                     return nb::ndarray<nb::numpy, const int64_t, nb::ndim<1>>(
                         s.keys().data(), {s.keys().size()}, nb::find(s));
                   })
      .def_prop_ro("partition_offset",
                   [](Snapshot& s) {
                     const auto& offsets = s.partition_offset();
                     return nb::ndarray<nb::numpy, const int32_t, nb::ndim<1>>(offsets.data(),
                                                                               {offsets.size()}, nb::find(s));
                   })
      .def(
          "values",
          [](const Snapshot& s, size_t slot, size_t start, MutableMatrix<float> out) {
            check_range(s, start, out.shape(0));
            if (slot >= s.layout().slots().size() || out.shape(1) != s.layout().slots()[slot].dim) {
              raise_if_error(Status::invalid("snapshot: no slot " + std::to_string(slot) + " of dimension " +
                                             std::to_string(out.shape(1))));
            }
            const nb::gil_scoped_release no_gil;
            s.values(slot, start, span_of(out));
          },
          nb::arg("slot"), nb::arg("start"), nb::arg("out").noconvert())
      .def(
          "freqs",
          [](const Snapshot& s, size_t start, MutableVector<int64_t> out) {
            check_range(s, start, out.size());
            const nb::gil_scoped_release no_gil;
            s.freqs(start, span_of(out));
          },
          nb::arg("start"), nb::arg("out").noconvert())
      .def(
          "versions",
          [](const Snapshot& s, size_t start, MutableVector<int64_t> out) {
            check_range(s, start, out.size());
            const nb::gil_scoped_release no_gil;
            s.versions(start, span_of(out));
          },
          nb::arg("start"), nb::arg("out").noconvert());
}

}  // namespace

void bind_engine(nb::module_& m) {
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const std::bad_alloc&) {
      try {
        raise_if_error(Status::exhausted("out of memory in the native core"));
      } catch (nb::python_error& e) {
        e.restore();
      }
    }
  });
  bind_table(m);
  bind_snapshot(m);
}

}  // namespace kvarn::bindings
