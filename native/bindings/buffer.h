// Objects of Python's buffer protocol.
#pragma once

#include <nanobind/nanobind.h>

#include <span>

namespace kvarn::bindings {

// Any contiguous object of the buffer protocol, held for as long as this lives.
class Buffer {
 public:
  explicit Buffer(nanobind::handle source, bool writable = false) {
    if (PyObject_GetBuffer(source.ptr(), &view_, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) != 0) {
      throw nanobind::python_error();
    }
  }
  ~Buffer() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }
  Buffer(Buffer&& other) noexcept : view_(other.view_) { other.view_.obj = nullptr; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::span<const unsigned char> bytes() const { return writable_bytes(); }
  std::span<unsigned char> writable_bytes() const {
    return {static_cast<unsigned char*>(view_.buf), static_cast<size_t>(view_.len)};
  }

 private:
  Py_buffer view_;
};

}  // namespace kvarn::bindings
