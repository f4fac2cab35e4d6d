#include <array>
#include <cstddef>
#include <vector>

#include "bindings.h"

namespace kvarn::bindings {
namespace {

// How many inputs a step may have before its arguments need memory of their own.
constexpr size_t kFewArguments = 16;

// Stores what a kernel returned: one value for one slot, a sequence for a tuple of slots. False with an error
// set if it returned another number of values than there are slots.
bool store(PyObject* slots, PyObject* result, PyObject* values) {
  if (PyLong_Check(slots)) {
    // Steals the reference.
    return PyList_SetItem(values, PyLong_AsSsize_t(slots), Py_NewRef(result)) == 0;
  }
  const nb::object items =
      nb::steal(PySequence_Fast(result, "a kernel of several outputs returned no sequence"));
  if (!items.is_valid()) return false;
  const Py_ssize_t n = PyTuple_GET_SIZE(slots);
  if (PySequence_Fast_GET_SIZE(items.ptr()) != n) {
    PyErr_Format(PyExc_ValueError, "a kernel returned %zd values for %zd outputs",
                 PySequence_Fast_GET_SIZE(items.ptr()), n);
    return false;
  }
  for (Py_ssize_t i = 0; i < n; ++i) {
    const Py_ssize_t slot = PyLong_AsSsize_t(PyTuple_GET_ITEM(slots, i));
    if (slot < 0) continue;
    PyObject* value = PySequence_Fast_GET_ITEM(items.ptr(), i);
    if (PyList_SetItem(values, slot, Py_NewRef(value)) != 0) return false;
  }
  return true;
}

// Runs one step; false with an error set if its kernel failed.
bool run_step(PyObject* step, PyObject* values, std::vector<PyObject*>* many) {
  PyObject* kernel = PyTuple_GET_ITEM(step, 0);
  PyObject* inputs = PyTuple_GET_ITEM(step, 2);
  PyObject* outputs = PyTuple_GET_ITEM(step, 3);
  PyObject* free = PyTuple_GET_ITEM(step, 4);
  const auto n = static_cast<size_t>(PyTuple_GET_SIZE(inputs));
  // One more in front, for the callee to use.
  std::array<PyObject*, kFewArguments + 2> few;
  PyObject** arguments = few.data();
  if (n > kFewArguments) {
    many->resize(n + 2);
    arguments = many->data();
  }
  arguments[1] = PyTuple_GET_ITEM(step, 1);
  for (size_t i = 0; i < n; ++i) {
    // Borrowed: the list keeps them, and nobody changes it meanwhile.
    arguments[i + 2] = PyList_GET_ITEM(values, PyLong_AsSsize_t(PyTuple_GET_ITEM(inputs, i)));
  }
  const nb::object result = nb::steal(
      PyObject_Vectorcall(kernel, arguments + 1, (n + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  if (!result.is_valid()) return false;
  if (outputs != Py_None && !store(outputs, result.ptr(), values)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(free); ++i) {
    if (PyList_SetItem(values, PyLong_AsSsize_t(PyTuple_GET_ITEM(free, i)), Py_NewRef(Py_None)) != 0)
      return false;
  }
  return true;
}

// Runs steps (tuples of kernel, context, input slots, output slots, slots to empty) on a list of slots.
// Returns None, or the number of the step whose kernel failed and its exception.
nb::object run_steps(nb::list steps, nb::list values) {
  std::vector<PyObject*> many;
  const Py_ssize_t n = PyList_GET_SIZE(steps.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!run_step(PyList_GET_ITEM(steps.ptr(), i), values.ptr(), &many)) {
      nb::python_error error;
      return nb::make_tuple(i, error.value());
    }
  }
  return nb::none();
}

}  // namespace

void bind_executor(nb::module_& m) { m.def("run_steps", &run_steps, nb::arg("steps"), nb::arg("values")); }

}  // namespace kvarn::bindings
