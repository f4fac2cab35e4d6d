#include <nanobind/stl/string.h>

#include <string>

#include "bindings.h"
#include "buffer.h"
#include "kvarn/base/crc32c.h"
#include "kvarn/base/fingerprint.h"
#include "kvarn/base/snappy.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/base/varint.h"

namespace kvarn::bindings {
namespace {

constexpr size_t kReleaseGilBytes = 4096;

uint32_t crc32c(nb::object data, uint32_t crc) {
  const Buffer buffer(data);
  if (buffer.bytes().size() < kReleaseGilBytes) return crc32c_extend(crc, buffer.bytes());
  const nb::gil_scoped_release no_gil;
  return crc32c_extend(crc, buffer.bytes());
}

nb::bytes uncompress(nb::object data) {
  const Buffer buffer(data);
  std::string out;
  std::string why;
  bool ok = false;
  {
    const nb::gil_scoped_release no_gil;
    ok = snappy_uncompress(buffer.bytes(), &out, &why);
  }
  if (!ok) throw nb::value_error(("damaged snappy stream: " + why).c_str());
  return nb::bytes(out.data(), out.size());
}

template <typename T>
size_t decode_varints(nb::object data, MutableVector<T> out) {
  const Buffer buffer(data);
  size_t used = 0;
  {
    const nb::gil_scoped_release no_gil;
    used = kvarn::decode_varints(buffer.bytes(), span_of(out));
  }
  if (used == 0 && out.size() > 0) {
    throw nb::value_error(("no " + std::to_string(out.size()) + " varints").c_str());
  }
  return used;
}

template <typename T>
nb::bytes encode_varints(Vector<T> values) {
  nb::bytes out = nb::steal<nb::bytes>(
      PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(varints_size(span_of(values)))));
  if (!out.is_valid()) throw nb::python_error();
  auto* const target = reinterpret_cast<unsigned char*>(PyBytes_AS_STRING(out.ptr()));
  const nb::gil_scoped_release no_gil;
  kvarn::encode_varints(span_of(values), target);
  return out;
}

template <typename... T>
void bind_varints(nb::module_& m) {
  (m.def("decode_varints", &decode_varints<T>, nb::arg("data"), nb::arg("out").noconvert()), ...);
  (m.def("encode_varints", &encode_varints<T>, nb::arg("values").noconvert()), ...);
}

NumpyVector<uint64_t> fingerprints(nb::object strings) {
  const nb::object items = nb::steal(PySequence_Fast(strings.ptr(), "expected a sequence of bytes"));
  if (!items.is_valid()) throw nb::python_error();
  const auto n = static_cast<size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
  std::vector<uint64_t> out(n);
  for (size_t i = 0; i < n; i++) {
    PyObject* item = PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
    if (!PyBytes_Check(item)) {
      raise_if_error(Status::invalid("fingerprint of element " + std::to_string(i) +
                                     ": expected bytes, found " + Py_TYPE(item)->tp_name));
    }
    out[i] = fingerprint64(reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(item)),
                           static_cast<size_t>(PyBytes_GET_SIZE(item)));
  }
  return to_numpy(std::move(out));
}

NumpyVector<uint64_t> fingerprints_cat(Vector<uint64_t> a, Vector<uint64_t> b) {
  if (a.size() != b.size()) {
    raise_if_error(Status::invalid("fingerprint_cat64: " + std::to_string(a.size()) + " and " +
                                   std::to_string(b.size()) + " fingerprints, expected as many of both"));
  }
  std::vector<uint64_t> out(a.size());
  for (size_t i = 0; i < out.size(); i++) out[i] = fingerprint_cat64(a.data()[i], b.data()[i]);
  return to_numpy(std::move(out));
}

nb::dict build_info() {
  nb::dict info;
  info["build_type"] = KVARN_BUILD_TYPE;
  info["sanitize"] = KVARN_SANITIZE_NAME;
  info["compiler"] = __VERSION__;
  return info;
}

}  // namespace

void bind_base(nb::module_& m) {
  m.def("crc32c", &crc32c, nb::arg("data"), nb::arg("crc") = 0);
  m.def("crc32c_combine", &crc32c_combine, nb::arg("crc_a"), nb::arg("crc_b"), nb::arg("length_b"));
  m.def("snappy_uncompress", &uncompress, nb::arg("data"));
  bind_varints<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>(m);
  m.def("farmhash_fingerprint64", &fingerprints, nb::arg("strings"));
  m.def("fingerprint_cat64", &fingerprint_cat64, nb::arg("a"), nb::arg("b"));
  m.def("fingerprint_cat64", &fingerprints_cat, nb::arg("a").noconvert(), nb::arg("b").noconvert());
  m.def("set_num_threads", &set_num_threads, nb::arg("n"));
  m.def("num_threads", &num_threads);
  m.def("build_info", &build_info);
}

}  // namespace kvarn::bindings
