#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "kvarn/engine/embedding_table.h"
#include "kvarn/engine/staged_import.h"

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

std::unique_ptr<RowInit> matrix_rows(const Rows& matrix) {
  if (matrix.shape(0) == 0 || matrix.shape(1) == 0) {
    raise_if_error(Status::invalid("a default-value matrix without elements"));
  }
  return std::make_unique<MatrixRows>(span_of(matrix), matrix.shape(1));
}

std::unique_ptr<RowInit> seeded_rows(int64_t seed, const std::string& distribution, double a, double b) {
  using Distribution = SeededRows::Distribution;
  if (distribution == "uniform") return std::make_unique<SeededRows>(seed, Distribution::kUniform, a, b);
  if (distribution == "normal") return std::make_unique<SeededRows>(seed, Distribution::kNormal, a, b);
  if (distribution == "truncated_normal") {
    return std::make_unique<SeededRows>(seed, Distribution::kTruncatedNormal, a, b);
  }
  raise_if_error(Status::invalid("rows of the distribution " + distribution));
  return nullptr;
}

// filter_freq 0: every key is let in. num_hash 0: counted one by one.
std::unique_ptr<Admission> admission_of(int64_t filter_freq, size_t num_hash, size_t num_counter,
                                        size_t counter_bytes) {
  if (filter_freq == 0) return nullptr;
  if (num_hash == 0) return std::make_unique<CounterAdmission>(filter_freq);
  const bool known = counter_bytes == 1 || counter_bytes == 2 || counter_bytes == 4 || counter_bytes == 8;
  if (num_counter == 0 || !known) {
    raise_if_error(Status::invalid("a Bloom filter of " + std::to_string(num_counter) + " counters of " +
                                   std::to_string(counter_bytes) + " bytes"));
  }
  return std::make_unique<BloomAdmission>(filter_freq, num_hash, num_counter, counter_bytes);
}

std::vector<size_t> numbers_of(const Keys& slots) {
  std::vector<size_t> numbers;
  for (const int64_t slot : span_of(slots)) numbers.push_back(static_cast<size_t>(slot));
  return numbers;
}

std::vector<EmbeddingTable::Column> columns_of(const EmbeddingTable& t, size_t n, const Keys& slots,
                                               const std::vector<Rows>& values) {
  const std::vector<size_t> numbers = numbers_of(slots);
  std::vector<EmbeddingTable::Column> columns;
  for (size_t c = 0; c < values.size(); c++) {
    raise_if_error(check_rows("import", n, values[c]));
    if (c >= numbers.size() || values[c].shape(1) != t.slot_dim(numbers[c])) {
      raise_if_error(Status::invalid("import: columns and slots do not fit one another"));
    }
    columns.push_back({numbers[c], values[c].data()});
  }
  return columns;
}

// Takes a function of the table that answers each key.
template <typename Out, typename Ask>
auto answer(Ask ask) {
  return [ask](const EmbeddingTable& t, Keys keys, MutableVector<Out> out) {
    run([&] { return (t.*ask)(span_of(keys), span_of(out)); });
  };
}

void bind_table(nb::module_& m) {
  using Table = EmbeddingTable;
  nb::class_<Table>(m, "EmbeddingTable")
      .def(
          "__init__",
          [](Table* self, bool record_freq, bool record_version, int64_t filter_freq, size_t num_hash,
             size_t num_counter, size_t counter_bytes, float no_permission) {
            new (self)
                Table({record_freq, record_version,
                       admission_of(filter_freq, num_hash, num_counter, counter_bytes), no_permission});
          },
          nb::arg("record_freq"), nb::arg("record_version"), nb::arg("filter_freq") = 0,
          nb::arg("num_hash") = 0, nb::arg("num_counter") = 0, nb::arg("counter_bytes") = 8,
          nb::arg("no_permission") = 0.0f)
      .def(
          "set_tiers",
          [](Table& t, const std::string& path, size_t dram_bytes, bool lfu, size_t file_bytes) {
            const auto cache = lfu ? CacheStrategy::kLfu : CacheStrategy::kLru;
            run([&] { return t.set_tiers({path, dram_bytes, cache, file_bytes}); });
          },
          nb::arg("path"), nb::arg("dram_bytes"), nb::arg("lfu"), nb::arg("file_bytes"))
      .def(
          "set_cache",
          [](Table& t, bool lfu) {
            const nb::gil_scoped_release no_gil;
            t.set_cache(lfu ? CacheStrategy::kLfu : CacheStrategy::kLru);
          },
          nb::arg("lfu"))
      .def("tier_counts",
           [](const Table& t) {
             EmbeddingTable::TierCounts c;
             {
               const nb::gil_scoped_release no_gil;
               c = t.tier_counts();
             }
             nb::dict out;
             out["hits_dram"] = c.hits_dram;
             out["hits_disk"] = c.hits_disk;
             out["misses"] = c.misses;
             out["dram_keys"] = c.hot;
             out["dram_capacity"] = c.capacity;
             out["disk_keys"] = c.disk.live;
             out["disk_records"] = c.disk.total;
             out["disk_files"] = c.disk.files;
             out["disk_bytes"] = c.disk.bytes;
             out["compaction_errors"] = c.compaction_errors;
             return out;
           })
      .def("add_slot",
           [](Table& t, Rows matrix) {
             auto init = matrix_rows(matrix);
             run([&] { return t.add_slot(matrix.shape(1), std::move(init)); });
           })
      .def("set_default",
           [](Table& t, size_t slot, Rows matrix) {
             if (matrix.shape(1) != t.slot_dim(slot)) {
               raise_if_error(Status::invalid("set_default: rows of dimension " +
                                              std::to_string(matrix.shape(1)) + ", expected " +
                                              std::to_string(t.slot_dim(slot))));
             }
             auto init = matrix_rows(matrix);
             run([&] { return t.set_default(slot, std::move(init)); });
           })
      .def("add_seeded_slot",
           [](Table& t, size_t dim, int64_t seed, const std::string& distribution, double a, double b) {
             auto init = seeded_rows(seed, distribution, a, b);
             run([&] { return t.add_slot(dim, std::move(init)); });
           })
      .def("set_seeded_default",
           [](Table& t, size_t slot, int64_t seed, const std::string& distribution, double a, double b) {
             auto init = seeded_rows(seed, distribution, a, b);
             run([&] { return t.set_default(slot, std::move(init)); });
           })
      .def("size", &Table::size, nb::call_guard<nb::gil_scoped_release>())
      .def("admitted_size", &Table::admitted_size, nb::call_guard<nb::gil_scoped_release>())
      .def("memory_bytes", &Table::memory_bytes, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "lookup_or_create",
          [](Table& t, Keys keys, size_t slot, MutableMatrix<float> out) {
            run([&] { return t.lookup_or_create(span_of(keys), slot, span_of(out)); });
          },
          nb::arg("keys"), nb::arg("slot"), nb::arg("out").noconvert())
      .def(
          "lookup",
          [](Table& t, Keys keys, size_t slot, MutableMatrix<float> out) {
            run([&] { return t.lookup(span_of(keys), slot, span_of(out)); });
          },
          nb::arg("keys"), nb::arg("slot"), nb::arg("out").noconvert())
      .def(
          "create_from",
          [](Table& t, Keys keys, size_t slot, Rows rows) {
            raise_if_error(check_rows("create_from", keys.size(), rows));
            run([&] { return t.create_from(span_of(keys), slot, span_of(rows)); });
          },
          nb::arg("keys"), nb::arg("slot"), nb::arg("rows"))
      .def("contains", answer<bool>(&Table::contains), nb::arg("keys"), nb::arg("out").noconvert())
      .def("frequency", answer<int64_t>(&Table::frequency), nb::arg("keys"), nb::arg("out").noconvert())
      .def("kept_frequency", answer<int64_t>(&Table::kept_frequency), nb::arg("keys"),
           nb::arg("out").noconvert())
      .def("version", answer<int64_t>(&Table::version), nb::arg("keys"), nb::arg("out").noconvert())
      .def("tier", answer<int32_t>(&Table::tier), nb::arg("keys"), nb::arg("out").noconvert())
      .def(
          "apply",
          [](Table& t, const std::string& rule, Keys keys, Rows grads, Keys slots, Vector<float> params,
             std::optional<Keys> counts, std::optional<int64_t> step) {
            const OptimizerRule* found = find_optimizer_rule(rule);
            if (found == nullptr) raise_if_error(Status::invalid("no optimizer rule is called " + rule));
            raise_if_error(check_rows(found->name, keys.size(), grads));
            const std::vector<size_t> numbers = numbers_of(slots);
            run([&] {
              return t.apply({found, numbers, span_of(params), step}, span_of(keys), span_of(grads),
                             span_or_empty(counts));
            });
          },
          nb::arg("rule"), nb::arg("keys"), nb::arg("grads"), nb::arg("slots"), nb::arg("params"),
          nb::arg("counts").none(), nb::arg("step").none())
      .def("reserve", &Table::reserve, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "stage_import",
          [](Table& t, size_t n, Keys sample) {
            std::unique_ptr<StagedImport> out;
            run([&] { return t.stage_import(n, span_of(sample), &out); });
            return out.release();
          },
          nb::arg("n"), nb::arg("sample"), nb::rv_policy::take_ownership, nb::keep_alive<0, 1>())
      .def(
          "import_columns",
          [](Table& t, Keys keys, Keys slots, const std::vector<Rows>& values, std::optional<Keys> freqs,
             std::optional<Keys> versions) {
            const std::vector<Table::Column> columns = columns_of(t, keys.size(), slots, values);
            run([&] {
              return t.import_columns(span_of(keys), columns, span_or_empty(freqs), span_or_empty(versions));
            });
          },
          nb::arg("keys"), nb::arg("slots"), nb::arg("values"), nb::arg("freqs").none(),
          nb::arg("versions").none())
      .def(
          "import_filtered",
          [](Table& t, Keys keys, Keys freqs, std::optional<Keys> versions) {
            run([&] { return t.import_filtered(span_of(keys), span_of(freqs), span_or_empty(versions)); });
          },
          nb::arg("keys"), nb::arg("freqs"), nb::arg("versions").none())
      .def(
          "evict",
          [](Table& t, int64_t steps_to_live, float l2_weight_threshold, int64_t min_frequency, bool all,
             size_t min_keys, std::optional<size_t> max_keys, int64_t step, bool dry_run) {
            EvictionResult out;
            run([&] {
              return t.evict({steps_to_live, l2_weight_threshold, min_frequency, all, min_keys, max_keys},
                             step, dry_run, &out);
            });
            return std::tuple(out.examined, out.spared, to_numpy(std::move(out.keys)),
                              to_numpy(std::move(out.reasons)));
          },
          nb::arg("steps_to_live"), nb::arg("l2_weight_threshold"), nb::arg("min_frequency"), nb::arg("all"),
          nb::arg("min_keys"), nb::arg("max_keys").none(), nb::arg("step"), nb::arg("dry_run"))
      .def("record_touches", &Table::record_touches, nb::call_guard<nb::gil_scoped_release>())
      .def("forget_touches", &Table::forget_touches, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "snapshot",
          [](Table& t, size_t buckets, std::optional<uint32_t> since) {
            std::unique_ptr<Snapshot> out;
            run([&] { return t.snapshot(buckets, since, &out); });
            return out.release();
          },
          nb::arg("buckets"), nb::arg("since").none(), nb::rv_policy::take_ownership)
      .def("clear", &Table::clear, nb::call_guard<nb::gil_scoped_release>())
      .def("remove", [](Table& t, Keys keys) {
        const nb::gil_scoped_release no_gil;
        return t.remove(span_of(keys));
      });
}

void bind_staged_import(nb::module_& m) {
  nb::class_<StagedImport>(m, "StagedImport")
      .def(
          "write",
          [](StagedImport& s, size_t n, Keys slots, const std::vector<Rows>& values,
             std::optional<Keys> freqs, std::optional<Keys> versions) {
            const auto columns = columns_of(s.table(), n, slots, values);
            run([&] { return s.write(n, columns, span_or_empty(freqs), span_or_empty(versions)); });
          },
          nb::arg("n"), nb::arg("slots"), nb::arg("values"), nb::arg("freqs").none(),
          nb::arg("versions").none())
      .def(
          "commit", [](StagedImport& s, Keys keys) { run([&] { return s.commit(span_of(keys)); }); },
          nb::arg("keys"))
      .def("release", &StagedImport::release, nb::call_guard<nb::gil_scoped_release>());
}

void check_range(const char* what, size_t size, size_t start, size_t n) {
  if (start <= size && n <= size - start) return;
  raise_if_error({Code::kOutOfRange, std::string("snapshot: ") + what + " " + std::to_string(start) + " to " +
                                         std::to_string(start + n) + " of " + std::to_string(size)});
}

// The keys, or the partition offsets, of one kind; the array keeps the snapshot alive.
template <const Snapshot::Keys& (Snapshot::*kKind)() const>
auto keys_of(Snapshot& s) {
  const auto& keys = (s.*kKind)().keys;
  return nb::ndarray<nb::numpy, const int64_t, nb::ndim<1>>(keys.data(), {keys.size()}, nb::find(s));
}
template <const Snapshot::Keys& (Snapshot::*kKind)() const>
auto offsets_of(Snapshot& s) {
  const auto& offsets = (s.*kKind)().partition_offset;
  return nb::ndarray<nb::numpy, const int32_t, nb::ndim<1>>(offsets.data(), {offsets.size()}, nb::find(s));
}

void bind_snapshot(nb::module_& m) {
  nb::class_<Snapshot>(m, "Snapshot")
      .def_prop_ro("cut", &Snapshot::number)
      .def_prop_ro("keys", &keys_of<&Snapshot::admitted>)
      .def_prop_ro("partition_offset", &offsets_of<&Snapshot::admitted>)
      .def_prop_ro("filtered_keys", &keys_of<&Snapshot::filtered>)
      .def_prop_ro("partition_filter_offset", &offsets_of<&Snapshot::filtered>)
      .def_prop_ro("removed_keys", &keys_of<&Snapshot::removed>)
      .def(
          "values",
          [](const Snapshot& s, size_t slot, size_t start, MutableMatrix<float> out) {
            check_range("keys", s.admitted().keys.size(), start, out.shape(0));
            if (slot >= s.layout().slots().size() || out.shape(1) != s.layout().slots()[slot].dim) {
              raise_if_error(Status::invalid("snapshot: no slot " + std::to_string(slot) + " of dimension " +
                                             std::to_string(out.shape(1))));
            }
            run([&] { return s.values(slot, start, span_of(out)); });
          },
          nb::arg("slot"), nb::arg("start"), nb::arg("out").noconvert())
      .def(
          "freqs",
          [](const Snapshot& s, size_t start, MutableVector<int64_t> out) {
            check_range("keys", s.admitted().keys.size(), start, out.size());
            run([&] { return s.freqs(start, span_of(out)); });
          },
          nb::arg("start"), nb::arg("out").noconvert())
      .def(
          "versions",
          [](const Snapshot& s, size_t start, MutableVector<int64_t> out) {
            check_range("keys", s.admitted().keys.size(), start, out.size());
            run([&] { return s.versions(start, span_of(out)); });
          },
          nb::arg("start"), nb::arg("out").noconvert())
      .def(
          "filtered_metas",
          [](const Snapshot& s, MutableVector<int64_t> freqs, MutableVector<int64_t> versions) {
            check_range("filtered keys", s.filtered().keys.size(), 0, freqs.size());
            check_range("filtered keys", freqs.size(), 0, versions.size());
            check_range("filtered keys", versions.size(), 0, freqs.size());
            const nb::gil_scoped_release no_gil;
            s.filtered_metas(0, span_of(freqs), span_of(versions));
          },
          nb::arg("freqs").noconvert(), nb::arg("versions").noconvert());
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
  bind_staged_import(m);
  bind_snapshot(m);
}

}  // namespace kvarn::bindings
