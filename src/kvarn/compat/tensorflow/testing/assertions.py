"""Assertions about numbers, arrays, messages and collections.

Source: `TensorFlowTestCase` of tensorflow/python/framework/test_util.py (1.15), and of absl.testing.absltest
those that its tests use.
"""

from __future__ import annotations

import contextlib
import re
import unittest
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes, errors, protos
from kvarn.graph import device as device_lib
from kvarn.graph.graph import GRAPH_DEF_VERSION, GRAPH_DEF_VERSION_MIN_CONSUMER
from kvarn.graph.tensor import Tensor

# How many offending elements a message lists, and up to which size it shows whole arrays.
_LISTED = 10
_SHOWN_SIZE = 500


class Assertions(unittest.TestCase):
    """Assertions that take tensors where they take arrays: `evaluate` gives their values."""

    def evaluate(self, tensors: Any) -> Any:
        raise NotImplementedError

    # Names that unittest has dropped or will drop.
    assertItemsEqual = unittest.TestCase.assertCountEqual
    assertRaisesRegexp = unittest.TestCase.assertRaisesRegex
    assertRegexpMatches = unittest.TestCase.assertRegex
    assertNotRegexpMatches = unittest.TestCase.assertNotRegex
    assertEquals = unittest.TestCase.assertEqual
    assertNotEquals = unittest.TestCase.assertNotEqual
    assertAlmostEquals = unittest.TestCase.assertAlmostEqual
    assert_ = unittest.TestCase.assertTrue

    # -- numbers and arrays -----------------------------------------------------------------------

    def _GetNdArray(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            a = self.evaluate(a)
        if isinstance(a, np.ndarray):
            return a
        try:
            return np.array(a)
        except ValueError:  # Of lists of several lengths: an array of lists, as NumPy once made it.
            return np.array(a, dtype=object)

    def assertNear(self, f1: Any, f2: Any, err: float, msg: str | None = None) -> None:
        """|f1 - f2| is at most ``err``; equal infinities are near.  An array of one number counts as that number."""
        f1, f2 = (x.item() if isinstance(x, np.ndarray) else x for x in (f1, f2))
        note = "" if msg is None else f" ({msg})"
        self.assertTrue(f1 == f2 or abs(f1 - f2) <= err, f"{f1:f} != {f2:f} +/- {err:f}{note}")

    def assertArrayNear(self, farray1: Any, farray2: Any, err: float, msg: str | None = None) -> None:
        """`assertNear` for each pair of two sequences of one length."""
        self.assertEqual(len(farray1), len(farray2), msg)
        for f1, f2 in zip(farray1, farray2, strict=True):
            self.assertNear(float(f1), float(f2), err, msg)

    def assertNDArrayNear(self, ndarray1: Any, ndarray2: Any, err: float, msg: str | None = None) -> None:
        """The norm of the difference is below ``err``."""
        self.assertTrue(np.linalg.norm(ndarray1 - ndarray2) < err, msg)

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None
    ) -> None:
        """|a - b| <= atol + rtol |b| for all elements of two nests of arrays or tensors; NaNs are equal.

        Raises:
          ValueError: the nests have different shapes.
        """
        self._close(a, b, rtol, atol, "", msg)

    def _close(self, a: Any, b: Any, rtol: float, atol: float, path: str, msg: str | None) -> None:
        a = a._asdict() if hasattr(a, "_asdict") else a
        b = b._asdict() if hasattr(b, "_asdict") else b
        note = msg or ""
        if isinstance(a, Mapping) != isinstance(b, Mapping):
            raise ValueError(f"Can't compare dict to non-dict, a{path} vs b{path}. {note}")
        if isinstance(a, Mapping):
            self.assertCountEqual(a.keys(), b.keys(), f"mismatched keys: a{path} and b{path}. {note}")
            for key in a:
                self._close(a[key], b[key], rtol, atol, f"{path}[{key}]", msg)
            return
        where = f"Mismatched value: a{path} is different from b{path}. {note}"
        if not isinstance(a, (list, tuple)):
            self._arrays_close(a, b, rtol, atol, where)
            return
        try:
            self._arrays_close(a, b, rtol, atol, where)
        except (ValueError, TypeError):  # a nest that is no array
            if len(a) != len(b):
                raise ValueError(
                    f"Mismatched length: a{path} has {len(a)} items, but b{path} has {len(b)} items. {note}"
                ) from None
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                self._close(x, y, rtol, atol, f"{path}[{i}]", msg)

    def _arrays_close(self, a: Any, b: Any, rtol: float, atol: float, msg: str) -> None:
        a, b = self._GetNdArray(a), self._GetNdArray(b)
        self._same_shape(a, b, msg)
        with np.errstate(all="ignore"):
            if not np.allclose(a, b, rtol=rtol, atol=atol):
                off = (np.abs(a - b) > atol + rtol * np.abs(b)) | (np.isnan(a) != np.isnan(b))
                np.testing.assert_allclose(
                    a, b, rtol=rtol, atol=atol, err_msg=_differences(msg, "close", a, b, off), equal_nan=True
                )

    def _same_shape(self, a: Any, b: Any, msg: str) -> None:
        if a.shape != b.shape:
            contents = f" with contents {b}" if b.ndim <= 3 or b.size < _SHOWN_SIZE else ""
            self.fail(f"Shape mismatch: expected {a.shape}, got {b.shape}{contents}. {msg}")

    def assertAllCloseAccordingToType(
        self,
        a: Any,
        b: Any,
        rtol: float = 1e-6,
        atol: float = 1e-6,
        float_rtol: float = 1e-6,
        float_atol: float = 1e-6,
        half_rtol: float = 1e-3,
        half_atol: float = 1e-3,
        bfloat16_rtol: float = 1e-2,
        bfloat16_atol: float = 1e-2,
        msg: str | None = None,
    ) -> None:
        """`assertAllClose` with the tolerances of the less precise of the two types."""
        a, b = self._GetNdArray(a), self._GetNdArray(b)
        found = {a.dtype, b.dtype}
        limits = (
            ({np.dtype(np.float32), np.dtype(np.complex64)}, float_rtol, float_atol),
            ({np.dtype(np.float16)}, half_rtol, half_atol),
            ({np.dtype(dtypes.bfloat16.as_numpy_dtype)}, bfloat16_rtol, bfloat16_atol),
        )
        for kinds, type_rtol, type_atol in limits:
            if found & kinds:
                rtol, atol = max(rtol, type_rtol), max(atol, type_atol)
        self.assertAllClose(a, b, rtol, atol, msg)

    def assertNotAllClose(self, a: Any, b: Any, **kwargs: Any) -> None:
        """Some element fails `assertAllClose`, whose arguments these are."""
        self._refuted(lambda: self.assertAllClose(a, b, **kwargs), "The two values are close at all elements")

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Two arrays or tensors have one shape and equal elements; NaNs are equal."""
        a, b = self._GetNdArray(a), self._GetNdArray(b)
        self._same_shape(a, b, msg or "")
        same = a == b
        if a.dtype.kind == "f" or a.dtype == dtypes.bfloat16.as_numpy_dtype:
            same = same | (np.isnan(a) & np.isnan(b))
        if not np.all(same):
            text = _differences(msg or "", "equal", a, b, np.logical_not(same))
            np.testing.assert_array_equal(a, b, err_msg=text)

    def assertNotAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """Some element, or the shape, differs."""
        self._refuted(lambda: self.assertAllEqual(a, b, msg), "The two values are equal at all elements")

    def _refuted(self, assertion: Callable[[], None], text: str) -> None:
        try:
            assertion()
        except AssertionError:
            return
        raise AssertionError(text)

    def assertAllGreater(self, a: Any, comparison_target: Any) -> None:
        self.assertGreater(np.min(self._GetNdArray(a)), comparison_target)

    def assertAllLess(self, a: Any, comparison_target: Any) -> None:
        self.assertLess(np.max(self._GetNdArray(a)), comparison_target)

    def assertAllGreaterEqual(self, a: Any, comparison_target: Any) -> None:
        self.assertGreaterEqual(np.min(self._GetNdArray(a)), comparison_target)

    def assertAllLessEqual(self, a: Any, comparison_target: Any) -> None:
        self.assertLessEqual(np.max(self._GetNdArray(a)), comparison_target)

    def assertAllInRange(
        self,
        target: Any,
        lower_bound: Any,
        upper_bound: Any,
        open_lower_bound: bool = False,
        open_upper_bound: bool = False,
    ) -> None:
        """All elements lie between the bounds, which count as inside unless they are open; none is NaN."""
        target = self._GetNdArray(target)
        if target.dtype.kind not in "fiu":
            raise AssertionError(
                f"The value of {target} does not have an ordered numeric type, instead it has type: {target.dtype}"
            )
        nans = np.isnan(target)
        if nans.any():
            raise AssertionError(
                f"{nans.sum()} of the {target.size} element(s) are NaN. Subscripts(s) and value(s) of the NaN "
                f"element(s):\n{_listed(target, nans)}"
            )
        below = target <= lower_bound if open_lower_bound else target < lower_bound
        above = target >= upper_bound if open_upper_bound else target > upper_bound
        outside = below | above
        if outside.any():
            first, last = "(" if open_lower_bound else "[", ")" if open_upper_bound else "]"
            bounds = f"{first}{lower_bound}, {upper_bound}{last}"
            raise AssertionError(
                f"{outside.sum()} of the {target.size} element(s) are outside the range {bounds}. Subscript(s) and "
                f"value(s) of the offending elements:\n{_listed(target, outside)}"
            )

    def assertAllInSet(self, target: Any, expected_set: Collection[Any]) -> None:
        """Every element is one of ``expected_set``."""
        others = np.setdiff1d(self._GetNdArray(target).flatten(), list(expected_set))
        if others.size:
            raise AssertionError(
                f"{others.size} unique element(s) are not in the set {expected_set}: {others}"
            )

    def assertDTypeEqual(self, target: Any, expected_dtype: Any) -> None:
        self.assertEqual(self._GetNdArray(target).dtype, expected_dtype)

    def assertShapeEqual(self, np_array: Any, tf_tensor: Any, msg: str | None = None) -> None:
        """The shape of an array is the static shape of a tensor.

        Raises:
          TypeError: the arguments are not an array and a tensor.
        """
        if not isinstance(np_array, (np.ndarray, np.generic)):
            raise TypeError("np_array must be a Numpy ndarray or Numpy scalar")
        if not isinstance(tf_tensor, Tensor):
            raise TypeError("tf_tensor must be a Tensor")
        self.assertAllEqual(np_array.shape, tf_tensor.get_shape().as_list(), msg)

    # -- texts, devices and messages --------------------------------------------------------------

    def assertStartsWith(self, actual: Any, expected_start: Any, msg: str | None = None) -> None:
        if not actual.startswith(expected_start):
            self.fail(f"{actual!r} does not start with {expected_start!r}" + (f" : {msg!r}" if msg else ""))

    def assertDeviceEqual(self, device1: Any, device2: Any, msg: str | None = None) -> None:
        """Two device strings or DeviceSpecs mean the same."""
        device1, device2 = device_lib.canonical_name(device1), device_lib.canonical_name(device2)
        self.assertEqual(device1, device2, f"Devices {device1} and {device2} are not equal. {msg}")

    def assertProtoEquals(
        self, expected_message_maybe_ascii: Any, message: Any, msg: str | None = None
    ) -> None:
        """A message equals another one, given as it is or as text; floats up to their seventh digit."""
        expected = expected_message_maybe_ascii
        if isinstance(expected, (str, bytes)):
            expected = protos.from_text(expected, type(message)())
        if not isinstance(expected, type(message)):
            self.fail(f"Can't compare protos of type {type(expected)} and {type(message)}. {msg or ''}")
        if expected != message:
            self.assertMultiLineEqual(_normal_text(expected), _normal_text(message), msg)

    def assertProtoEqualsVersion(
        self,
        expected: str,
        actual: Any,
        producer: int = GRAPH_DEF_VERSION,
        min_consumer: int = GRAPH_DEF_VERSION_MIN_CONSUMER,
        msg: str | None = None,
    ) -> None:
        """`assertProtoEquals` of a GraphDef with its versions added to the text ``expected``."""
        versions = f"versions {{ producer: {producer} min_consumer: {min_consumer} }};\n"
        self.assertProtoEquals(versions + expected, actual, msg)

    # -- errors -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def assertRaisesWithPredicateMatch(
        self, exception_type: type[BaseException], expected_err_re_or_predicate: Any
    ) -> Iterator[None]:
        """An error of a type whose text contains a pattern, or of which a function says True.

        The text of an OpError includes the names of the operation and of those that it is the gradient of.
        """
        expected = expected_err_re_or_predicate
        holds = expected if callable(expected) else lambda e: re.search(expected, _text_with_ops(e))
        try:
            yield
        except Exception as e:
            if not isinstance(e, exception_type) or not holds(e):
                raise AssertionError(f"Exception of type {type(e)}: {e}") from e
        else:
            self.fail(f"{exception_type.__name__} not raised")

    def assertRaisesOpError(self, expected_err_re_or_predicate: Any) -> Any:
        """`assertRaisesWithPredicateMatch` for errors of running a graph."""
        return self.assertRaisesWithPredicateMatch(errors.OpError, expected_err_re_or_predicate)

    # -- collections, as absl has them ------------------------------------------------------------

    def assertLen(self, container: Any, expected_len: int, msg: str | None = None) -> None:
        if len(container) != expected_len:
            self.fail(
                self._formatMessage(
                    msg, f"{container!r} has length of {len(container)}, expected {expected_len}."
                )
            )

    def assertEmpty(self, container: Any, msg: str | None = None) -> None:
        if len(container):
            self.fail(self._formatMessage(msg, f"{container!r} has length of {len(container)}."))

    def assertNotEmpty(self, container: Any, msg: str | None = None) -> None:
        if not len(container):
            self.fail(self._formatMessage(msg, f"{container!r} has length of 0."))

    def assertBetween(self, value: Any, minv: Any, maxv: Any, msg: str | None = None) -> None:
        if not minv <= value <= maxv:
            self.fail(self._formatMessage(msg, f"{value!r} unexpectedly not between {minv!r} and {maxv!r}"))

    def assertSameElements(self, expected_seq: Any, actual_seq: Any, msg: str | None = None) -> None:
        """Two collections have the same elements, however often."""
        self.assertEqual(set(expected_seq), set(actual_seq), msg)

    def assertContainsSubset(self, expected_subset: Any, actual_set: Any, msg: str | None = None) -> None:
        missing = set(expected_subset) - set(actual_set)
        if missing:
            self.fail(self._formatMessage(msg, f"Missing elements {missing} in {actual_set!r}"))


def _text_with_ops(error: Exception) -> str:
    if not isinstance(error, errors.OpError):
        return str(error)
    text, op = error.message, error.op
    while op is not None:
        text += f"\nCaused by: {op.name}"
        op = getattr(op, "_original_op", None)
    return text


def _differences(msg: str, relation: str, a: Any, b: Any, off: Any) -> str:
    """A message that names the elements of two arrays that differ."""
    where = np.where(off) if a.ndim else ()
    lines = [msg]
    if a.ndim:
        a, b = a[where], b[where]
        lines.append(f"not {relation} where = {where}")
    lines += [f"not {relation} lhs = {a}", f"not {relation} rhs = {b}"]
    if relation == "close":
        lines.append(f"not close dif = {np.abs(a - b)}")
    return "\n".join(lines)


def _listed(value: Any, chosen: Any) -> str:
    subscripts = np.argwhere(chosen)
    lines = [f"  {subscript} : {value[tuple(subscript)]}" for subscript in subscripts[:_LISTED]]
    return "\n".join(lines + (["  ..."] if len(subscripts) > _LISTED else []))


def _normal_text(message: Any) -> str:
    """The text of a message with floats cut to seven digits."""
    copy = type(message)()
    copy.CopyFrom(message)
    _cut_floats(copy)
    return protos.to_text(copy)


def _cut_floats(message: Any) -> None:
    value: Any
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    _cut_floats(item)
        elif field.message_type is not None:
            for item in value if isinstance(value, Sequence) else [value]:
                _cut_floats(item)
        elif isinstance(value, float):
            setattr(message, field.name, float(f"{value:.7g}"))
        elif isinstance(value, Sequence) and value and isinstance(value[0], float):
            repeated: Any = value
            repeated[:] = [float(f"{x:.7g}") for x in value]
