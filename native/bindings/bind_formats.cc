#include <nanobind/stl/string.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string>
#include <unordered_map>

#include "bindings.h"
#include "buffer.h"
#include "kvarn/base/crc32c.h"
#include "kvarn/base/thread_pool.h"
#include "kvarn/formats/bundle_entry.h"
#include "kvarn/formats/checked_io.h"
#include "kvarn/formats/table_block.h"
#include "kvarn/formats/table_builder.h"

namespace kvarn::bindings {
namespace {

nb::bytes to_bytes(std::string_view s) { return nb::bytes(s.data(), s.size()); }

std::string_view view_of(PyObject* bytes) {
  return {PyBytes_AS_STRING(bytes), static_cast<size_t>(PyBytes_GET_SIZE(bytes))};
}

std::span<const unsigned char> bytes_of(std::string_view s) {
  return {reinterpret_cast<const unsigned char*>(s.data()), s.size()};
}

// A list of bytes objects, whose length and elements cannot change under us while we hold the GIL.
class BytesList {
 public:
  explicit BytesList(nb::list items) : items_(std::move(items)) {
    for (size_t i = 0; i < size(); i++) {
      PyObject* item = PyList_GET_ITEM(items_.ptr(), static_cast<Py_ssize_t>(i));
      if (!PyBytes_Check(item)) throw nb::type_error("expected a list of bytes");
    }
  }
  size_t size() const { return nb::len(items_); }
  std::string_view operator[](size_t i) const {
    return view_of(PyList_GET_ITEM(items_.ptr(), static_cast<Py_ssize_t>(i)));
  }

 private:
  nb::list items_;
};

nb::tuple parse_block(nb::object data) {
  const Buffer buffer(data);
  BlockCursor cursor(buffer.bytes());
  nb::list keys;
  nb::list values;
  while (cursor.next()) {
    keys.append(to_bytes(cursor.key()));
    values.append(to_bytes(cursor.value()));
  }
  if (!cursor.error().empty()) throw nb::value_error(cursor.error().c_str());
  return nb::make_tuple(keys, values);
}

nb::bytes build_table(nb::list keys, nb::list values, size_t block_bytes, size_t restart_interval) {
  const BytesList key_list(keys);
  const BytesList value_list(values);
  if (key_list.size() != value_list.size()) throw nb::value_error("as many values as keys are needed");
  TableBuilder builder(block_bytes, restart_interval);
  for (size_t i = 0; i < key_list.size(); i++) {
    if (!builder.add(key_list[i], value_list[i])) {
      throw nb::value_error(("table keys must ascend, and key " + std::to_string(i) + " does not").c_str());
    }
  }
  return to_bytes(builder.finish());
}

nb::object shape_tuple(std::span<const int64_t> shape) {
  nb::object out = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  if (!out.is_valid()) throw nb::python_error();
  for (size_t d = 0; d < shape.size(); d++) {
    PyObject* size = PyLong_FromLongLong(shape[d]);
    if (size == nullptr) throw nb::python_error();
    PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(d), size);
  }
  return out;
}

nb::tuple parse_entries(nb::list values) {
  const BytesList messages(values);
  const size_t n = messages.size();
  std::vector<int32_t> dtype(n);
  std::vector<int64_t> num_elements(n, -1);
  std::vector<int64_t> shard(n);
  std::vector<int64_t> offset(n);
  std::vector<int64_t> size(n);
  std::vector<uint32_t> crc(n);
  nb::list shapes;
  // A checkpoint has few different shapes, however many tensors.
  std::unordered_map<std::string_view, nb::object> known;
  PlainEntry entry;
  for (size_t i = 0; i < n; i++) {
    if (!parse_plain_entry(bytes_of(messages[i]), &entry)) {
      shapes.append(nb::none());
      continue;
    }
    dtype[i] = entry.dtype;
    num_elements[i] = entry.num_elements;
    shard[i] = entry.shard_id;
    offset[i] = entry.offset;
    size[i] = entry.size;
    crc[i] = entry.crc32c;
    nb::object& shape = known[entry.shape_bytes];
    if (!shape.is_valid()) shape = shape_tuple(entry.shape());
    shapes.append(shape);
  }
  return nb::make_tuple(to_numpy(std::move(dtype)), shapes, to_numpy(std::move(num_elements)),
                        to_numpy(std::move(shard)), to_numpy(std::move(offset)), to_numpy(std::move(size)),
                        to_numpy(std::move(crc)));
}

NumpyVector<uint32_t> read_runs(int file, Vector<int64_t> offsets, nb::list targets, int threads) {
  if (offsets.size() != nb::len(targets)) throw nb::value_error("as many targets as offsets are needed");
  std::vector<Buffer> buffers;
  std::vector<FileRun> runs;
  for (size_t i = 0; i < offsets.size(); i++) {
    buffers.emplace_back(targets[i], true);
    runs.push_back({offsets.data()[i], buffers.back().writable_bytes()});
  }
  IoOutcome outcome;
  {
    const nb::gil_scoped_release no_gil;
    outcome = read_checked(file, runs, threads > 0 ? threads : num_threads());
  }
  if (outcome.error != 0) {
    errno = outcome.error;
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
  }
  if (!outcome.ok()) {
    const nb::object error = nb::borrow(PyExc_EOFError)(outcome.run);
    PyErr_SetObject(PyExc_EOFError, error.ptr());
    throw nb::python_error();
  }
  std::vector<uint32_t> crcs;
  for (const FileRun& run : runs) crcs.push_back(run.crc);
  return to_numpy(std::move(crcs));
}

uint32_t write_with_checksum(int file, nb::object data, uint32_t crc) {
  const Buffer buffer(data);
  int error = 0;
  {
    const nb::gil_scoped_release no_gil;
    error = write_checked(file, buffer.bytes(), &crc);
  }
  if (error != 0) {
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
  }
  return crc;
}

NumpyVector<uint32_t> checksums(nb::object data, Vector<int64_t> offsets, Vector<int64_t> sizes,
                                int threads) {
  const Buffer buffer(data);
  if (offsets.size() != sizes.size()) throw nb::value_error("as many sizes as offsets are needed");
  std::vector<MemoryRun> runs;
  for (size_t i = 0; i < offsets.size(); i++) {
    const auto offset = static_cast<size_t>(offsets.data()[i]);
    const auto size = static_cast<size_t>(sizes.data()[i]);
    if (offset > buffer.bytes().size() || size > buffer.bytes().size() - offset) {
      throw nb::value_error("a run reaches past the buffer");
    }
    runs.push_back({buffer.bytes().subspan(offset, size)});
  }
  {
    const nb::gil_scoped_release no_gil;
    checksum_runs(runs, threads > 0 ? threads : num_threads());
  }
  std::vector<uint32_t> crcs;
  for (const MemoryRun& run : runs) crcs.push_back(run.crc);
  return to_numpy(std::move(crcs));
}

// The number in TensorFlow's DataType enum of elements that lie in memory as in a file; 0 for all others.
int32_t plain_dtype(const char* format, Py_ssize_t item_size) {
  if (format == nullptr || std::endian::native != std::endian::little) return 0;
  if (format[0] == 'Z') return format[2] != 0 ? 0 : format[1] == 'f' ? 8 : format[1] == 'd' ? 18 : 0;
  if (format[0] == 0 || format[1] != 0) return 0;
  switch (format[0]) {
    case 'f':
      return 1;
    case 'd':
      return 2;
    case 'e':
      return 19;
    case '?':
      return 10;
    case 'b':
      return 6;
    case 'B':
      return 4;
    case 'h':
      return 5;
    case 'H':
      return 17;
    case 'i':
    case 'l':
    case 'q':
      return item_size == 4 ? 3 : item_size == 8 ? 9 : 0;
    case 'I':
    case 'L':
    case 'Q':
      return item_size == 4 ? 22 : item_size == 8 ? 23 : 0;
    default:
      return 0;
  }
}

// The bytes of a name: of text as UTF-8, or of bytes; empty for all others.
std::string_view name_bytes(PyObject* name) {
  if (PyBytes_Check(name)) return view_of(name);
  if (!PyUnicode_Check(name)) return {};
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(name, &size);
  if (utf8 == nullptr) PyErr_Clear();  // surrogates
  return {utf8, utf8 == nullptr ? 0 : static_cast<size_t>(size)};
}

// A plain C-contiguous view of a NumPy array, or nothing.
class PlainArray {
 public:
  PlainArray(PyObject* array, PyObject* ndarray, Py_ssize_t largest_bytes) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(array)) != ndarray) return;
    if (PyObject_GetBuffer(array, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
      PyErr_Clear();
      return;
    }
    held_ = true;
    if (view_.len <= largest_bytes) dtype_ = plain_dtype(view_.format, view_.itemsize);
  }
  ~PlainArray() {
    if (held_) PyBuffer_Release(&view_);
  }
  PlainArray(const PlainArray&) = delete;
  PlainArray& operator=(const PlainArray&) = delete;

  int32_t dtype() const { return dtype_; }
  const Py_buffer& view() const { return view_; }

 private:
  Py_buffer view_;
  bool held_ = false;
  int32_t dtype_ = 0;
};

nb::tuple pack_tensors(nb::list names, nb::list arrays, size_t start, int64_t offset,
                       Py_ssize_t largest_bytes, size_t enough_bytes) {
  const nb::object ndarray = nb::module_::import_("numpy").attr("ndarray");
  if (nb::len(names) != nb::len(arrays)) throw nb::value_error("as many arrays as names are needed");
  std::string packed;
  std::string message;
  nb::list keys;
  nb::list entries;
  PlainEntry entry;
  size_t i = start;
  // Asked for anew each time: the buffer protocol may run code of others.
  for (; i < std::min(nb::len(names), nb::len(arrays)) && packed.size() < enough_bytes; i++) {
    const nb::object name = names[i];
    const nb::object array = arrays[i];
    const std::string_view key = name_bytes(name.ptr());
    const PlainArray plain(array.ptr(), ndarray.ptr(), largest_bytes);
    if (key.empty() || plain.dtype() == 0 || static_cast<size_t>(plain.view().ndim) > kMaxDimensions) break;
    const Py_buffer& view = plain.view();
    entry.dtype = plain.dtype();
    entry.offset = offset + static_cast<int64_t>(packed.size());
    entry.size = view.len;
    entry.rank = static_cast<size_t>(view.ndim);
    for (size_t d = 0; d < entry.rank; d++) entry.dims[d] = view.shape[d];
    packed.append(static_cast<const char*>(view.buf), static_cast<size_t>(view.len));
    const auto copied = std::string_view(packed).substr(packed.size() - static_cast<size_t>(view.len));
    entry.crc32c = crc32c_mask(crc32c_extend(0, bytes_of(copied)));
    message.clear();
    append_plain_entry(&message, entry);
    keys.append(to_bytes(key));
    entries.append(to_bytes(message));
  }
  return nb::make_tuple(i, to_bytes(packed), keys, entries);
}

}  // namespace

void bind_formats(nb::module_& m) {
  m.def("parse_block", &parse_block, nb::arg("data"));
  m.def("build_table", &build_table, nb::arg("keys"), nb::arg("values"), nb::arg("block_bytes"),
        nb::arg("restart_interval"));
  m.def("parse_entries", &parse_entries, nb::arg("values"));
  m.def("read_runs", &read_runs, nb::arg("file"), nb::arg("offsets"), nb::arg("targets"),
        nb::arg("threads") = 0);
  m.def("write_with_checksum", &write_with_checksum, nb::arg("file"), nb::arg("data"), nb::arg("crc"));
  m.def("checksums", &checksums, nb::arg("data"), nb::arg("offsets"), nb::arg("sizes"),
        nb::arg("threads") = 0);
  m.def("pack_tensors", &pack_tensors, nb::arg("names"), nb::arg("arrays"), nb::arg("start"),
        nb::arg("offset"), nb::arg("largest_bytes"), nb::arg("enough_bytes"));
}

}  // namespace kvarn::bindings
