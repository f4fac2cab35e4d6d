#include <nanobind/stl/string.h>

#include <string>

#include "bindings.h"

namespace kvarn::bindings {
namespace {

const char* error_class(Code code) {
  switch (code) {
    case Code::kOk:
      break;
    case Code::kInvalidArgument:
      return "InvalidArgumentError";
    case Code::kNotFound:
      return "NotFoundError";
    case Code::kResourceExhausted:
      return "ResourceExhaustedError";
    case Code::kFailedPrecondition:
      return "FailedPreconditionError";
    case Code::kOutOfRange:
      return "OutOfRangeError";
    case Code::kInternal:
      break;
    case Code::kDataLoss:
      return "DataLossError";
  }
  return "InternalError";
}

}  // namespace

void raise_if_error(const Status& status) {
  if (status.ok()) return;
  const nb::object type = nb::module_::import_("kvarn.errors").attr(error_class(status.code()));
  const nb::object error = type.attr("of")(status.message());
  PyErr_SetObject(type.ptr(), error.ptr());
  throw nb::python_error();
}

}  // namespace kvarn::bindings

NB_MODULE(_native, m) {
  m.doc() = "The native core of kvarn: checksums, kernels and the embedding table.";
  kvarn::bindings::bind_base(m);
  kvarn::bindings::bind_kernels(m);
  kvarn::bindings::bind_engine(m);
  kvarn::bindings::bind_executor(m);
  kvarn::bindings::bind_formats(m);
  kvarn::bindings::bind_group_lookup(m);
}
