"""Static shapes: TensorFlow's `TensorShape` and `Dimension`, and the plain tuples that kvarn keeps.

Inside kvarn a static shape is a tuple of ints and Nones, or None when even the rank is unknown:

    (2, None)   two dimensions, the second unknown      ()     a scalar      None    nothing is known

`TensorShape` is the public face of such a tuple.  The functions at the end of this file work on tuples.

Source: tensorflow/python/framework/tensor_shape.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, overload

from kvarn.dtypes import DType

StaticShape: TypeAlias = "tuple[int | None, ...] | None"

_v2_behavior = False


def enable_v2_tensorshape() -> None:
    """From now on items of a TensorShape are ints or None instead of Dimensions."""
    global _v2_behavior
    _v2_behavior = True


def disable_v2_tensorshape() -> None:
    """Items of a TensorShape are Dimensions again, which is where kvarn starts."""
    global _v2_behavior
    _v2_behavior = False


class Dimension:
    """The size of one dimension, which may be unknown.

    Comparisons with an unknown size give None, neither true nor false.

    Args:
      value: None, an int >= 0, another Dimension, or anything that ``int`` takes without loss.

    Raises:
      TypeError: ``value`` is a DType, or ``int`` refuses it.
      ValueError: ``value`` is negative or has a fraction.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value: int | None = _dimension_value(value)

    def __repr__(self) -> str:
        return f"Dimension({self._value!r})"

    def __str__(self) -> str:
        return "?" if self._value is None else str(self._value)

    @property
    def value(self) -> int | None:
        """The size, or None."""
        return self._value

    def __eq__(self, other: object) -> Any:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return None if self._value is None or size is None else self._value == size

    def __ne__(self, other: object) -> Any:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return None if self._value is None or size is None else self._value != size

    # An object whose equality may be unknown cannot be a key.
    __hash__ = None  # type: ignore[assignment]

    def __int__(self) -> int:
        return self._value  # type: ignore[return-value]

    def __index__(self) -> int:
        return self._value  # type: ignore[return-value]

    def is_compatible_with(self, other: Any) -> Any:
        """Whether both sizes can be the same: they are equal, or one is unknown."""
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return self._value is None or size is None or self._value == size

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError unless `is_compatible_with` holds."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Dimensions {self} and {other} are not compatible")

    def merge_with(self, other: Any) -> Any:
        """The Dimension that knows what both know; ValueError when they contradict each other."""
        try:
            dimension = as_dimension(other)
        except (TypeError, ValueError):
            return NotImplemented
        self.assert_is_compatible_with(dimension)
        return Dimension(dimension._value if self._value is None else self._value)

    def __add__(self, other: Any) -> Dimension:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return Dimension(None if self._value is None or size is None else self._value + size)

    def __radd__(self, other: Any) -> Dimension:
        return self.__add__(other)

    def __sub__(self, other: Any) -> Dimension:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return Dimension(None if self._value is None or size is None else self._value - size)

    def __rsub__(self, other: Any) -> Dimension:
        size = _dimension_value(other)
        return Dimension(None if self._value is None or size is None else size - self._value)

    def __mul__(self, other: Any) -> Dimension:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return Dimension(None if self._value is None or size is None else self._value * size)

    def __rmul__(self, other: Any) -> Dimension:
        return self.__mul__(other)

    def __floordiv__(self, other: Any) -> Dimension:
        try:
            size = _dimension_value(other)
        except (TypeError, ValueError):
            return NotImplemented
        return Dimension(None if self._value is None or size is None else self._value // size)

    def __rfloordiv__(self, other: Any) -> Dimension:
        size = _dimension_value(other)
        return Dimension(None if self._value is None or size is None else size // self._value)

    # True division raises with two arguments, as TensorFlow's does.
    def __truediv__(self, other: Any) -> Dimension:
        kind = type(other).__name__
        raise TypeError(f"unsupported operand type(s) for /: 'Dimension' and '{kind}', please use // instead")

    def __rtruediv__(self, other: Any) -> Dimension:
        kind = type(other).__name__
        raise TypeError(f"unsupported operand type(s) for /: '{kind}' and 'Dimension', please use // instead")

    def __mod__(self, other: Any) -> Dimension:
        size = _dimension_value(other)
        return Dimension(None if self._value is None or size is None else self._value % size)

    def __rmod__(self, other: Any) -> Dimension:
        return as_dimension(other) % self

    def __lt__(self, other: Any) -> Any:
        size = _dimension_value(other)
        return None if self._value is None or size is None else self._value < size

    def __le__(self, other: Any) -> Any:
        size = _dimension_value(other)
        return None if self._value is None or size is None else self._value <= size

    def __gt__(self, other: Any) -> Any:
        size = _dimension_value(other)
        return None if self._value is None or size is None else self._value > size

    def __ge__(self, other: Any) -> Any:
        size = _dimension_value(other)
        return None if self._value is None or size is None else self._value >= size

    def __reduce__(self) -> tuple[Any, ...]:
        return (Dimension, (self._value,))


class TensorShape:
    """A static shape: a known number of dimensions, each known or not, or nothing at all.

    Args:
      dims: None for an unknown rank; an iterable of what `Dimension` takes; one such value for a vector;
        another TensorShape; or a TensorShapeProto.

    Raises:
      TypeError: ``dims`` is a string, or a dimension cannot be converted.
      ValueError: a dimension is negative or has a fraction.
    """

    __slots__ = ("_tuple",)

    def __init__(self, dims: Any) -> None:
        self._tuple: StaticShape = to_tuple(dims)

    @classmethod
    def from_tuple(cls, shape: StaticShape) -> TensorShape:
        """The TensorShape of a static shape tuple, which is taken as it is, without a check."""
        self = cls.__new__(cls)
        self._tuple = shape
        return self

    def as_tuple(self) -> StaticShape:
        """The static shape tuple."""
        return self._tuple

    def __repr__(self) -> str:
        if self._tuple is None:
            return "TensorShape(None)"
        return f"TensorShape({list(self._tuple) if _v2_behavior else self.dims!r})"

    def __str__(self) -> str:
        return shape_text(self._tuple, "None" if _v2_behavior else "?")

    @property
    def rank(self) -> int | None:
        """The number of dimensions, or None."""
        return None if self._tuple is None else len(self._tuple)

    @property
    def ndims(self) -> int | None:
        """The older name of `rank`."""
        return self.rank

    @property
    def dims(self) -> list[Dimension] | None:
        """The Dimensions, or None when the rank is unknown."""
        return None if self._tuple is None else [Dimension(d) for d in self._tuple]

    # The name some programs reach for.
    @property
    def _dims(self) -> list[Dimension] | None:
        return self.dims

    def __len__(self) -> int:
        if self._tuple is None:
            raise ValueError("Cannot take the length of shape with unknown rank.")
        return len(self._tuple)

    def __bool__(self) -> bool:
        """Whether the rank is known."""
        return self._tuple is not None

    def __iter__(self) -> Iterator[Any]:
        if self._tuple is None:
            raise ValueError("Cannot iterate over a shape with unknown rank.")
        return iter(self._tuple) if _v2_behavior else map(Dimension, self._tuple)

    @overload
    def __getitem__(self, key: slice) -> TensorShape: ...
    @overload
    def __getitem__(self, key: int) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        """The dimension at an index, or the TensorShape of a slice.

        Raises:
          ValueError: ``key`` is a slice with a step and the rank is unknown.
        """
        if self._tuple is not None:
            if isinstance(key, slice):
                return TensorShape.from_tuple(self._tuple[key])
            size = self._tuple[key]
            return size if _v2_behavior else Dimension(size)
        if not isinstance(key, slice):
            return None if _v2_behavior else Dimension(None)
        if key.step is not None:
            raise ValueError("Steps are not yet handled")
        start, stop = key.start or 0, key.stop
        if stop is None or start < 0 or stop < 0:
            return unknown_shape()
        return unknown_shape(rank=stop - start)

    def num_elements(self) -> int | None:
        """The number of elements, or None when a dimension is unknown."""
        return element_count(self._tuple)

    def merge_with(self, other: Any) -> TensorShape:
        """The shape that knows what both know; ValueError when they contradict each other."""
        return TensorShape.from_tuple(merge_tuples(self._tuple, to_tuple(other)))

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return as_shape(other).concatenate(self)

    def __concat__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def concatenate(self, other: Any) -> TensorShape:
        """The dimensions of both, one after the other; unknown when either rank is unknown."""
        dims = to_tuple(other)
        return TensorShape.from_tuple(None if self._tuple is None or dims is None else self._tuple + dims)

    def assert_same_rank(self, other: Any) -> None:
        """Raises ValueError when both ranks are known and differ."""
        other = as_shape(other)
        if self.rank is not None and other.rank is not None and self.rank != other.rank:
            raise ValueError(f"Shapes {self} and {other} must have the same rank")

    def assert_has_rank(self, rank: int) -> None:
        """Raises ValueError when the rank is known to be another one."""
        if self.rank not in (None, rank):
            raise ValueError(f"Shape {self} must have rank {rank}")

    def with_rank(self, rank: int) -> TensorShape:
        """This shape, or ``rank`` unknown dimensions if nothing was known.

        Raises:
          ValueError: the rank is known to be another one.
        """
        try:
            return self.merge_with(unknown_shape(rank=rank))
        except ValueError:
            raise ValueError(f"Shape {self} must have rank {rank}") from None

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """This shape; ValueError when it is known to have fewer dimensions than ``rank``."""
        if self.rank is not None and self.rank < rank:
            raise ValueError(f"Shape {self} must have rank at least {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """This shape; ValueError when it is known to have more dimensions than ``rank``."""
        if self.rank is not None and self.rank > rank:
            raise ValueError(f"Shape {self} must have rank at most {rank}")
        return self

    def is_compatible_with(self, other: Any) -> bool:
        """Whether some fully defined shape fits both."""
        return compatible(self._tuple, to_tuple(other))

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError unless `is_compatible_with` holds."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {other} are incompatible")

    def most_specific_compatible_shape(self, other: Any) -> TensorShape:
        """The shape that keeps only the dimensions known to be equal in both."""
        dims = to_tuple(other)
        if self._tuple is None or dims is None or len(self._tuple) != len(dims):
            return unknown_shape()
        return TensorShape.from_tuple(
            tuple(a if a == b else None for a, b in zip(self._tuple, dims, strict=True))
        )

    def is_fully_defined(self) -> bool:
        """Whether every dimension is known."""
        return self._tuple is not None and None not in self._tuple

    def assert_is_fully_defined(self) -> None:
        """Raises ValueError unless `is_fully_defined` holds."""
        if not self.is_fully_defined():
            raise ValueError(f"Shape {self} is not fully defined")

    def as_list(self) -> list[int | None]:
        """The sizes, with None for the unknown ones; ValueError when the rank is unknown."""
        if self._tuple is None:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return list(self._tuple)

    def as_proto(self) -> Any:
        """The TensorShapeProto."""
        return tuple_to_proto(self._tuple)

    def __eq__(self, other: object) -> Any:
        try:
            dims = to_tuple(other)
        except TypeError:
            return NotImplemented
        return _known_equal(self._tuple, dims)

    def __ne__(self, other: object) -> Any:
        try:
            dims = to_tuple(other)
        except TypeError:
            return NotImplemented
        if self._tuple is None or dims is None:
            raise ValueError("The inequality of unknown TensorShapes is undefined.")
        return not _known_equal(self._tuple, dims)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return (TensorShape, (self._tuple,))


def as_dimension(value: Any) -> Dimension:
    """``value`` as a Dimension."""
    return value if isinstance(value, Dimension) else Dimension(value)


def as_shape(shape: Any) -> TensorShape:
    """``shape`` as a TensorShape."""
    return shape if isinstance(shape, TensorShape) else TensorShape(shape)


def dimension_value(dimension: Any) -> Any:
    """The int or None of a Dimension; anything else as it is."""
    return dimension.value if isinstance(dimension, Dimension) else dimension


def dimension_at_index(shape: TensorShape, index: int) -> Dimension:
    """The Dimension at ``index``, whichever behaviour `enable_v2_tensorshape` chose."""
    dims = shape.as_tuple()
    return Dimension(None if dims is None else dims[index])


def unknown_shape(rank: int | None = None, **kwargs: Any) -> TensorShape:
    """A shape of ``rank`` unknown dimensions, or one without a known rank.

    Args:
      rank: the number of dimensions, or None.
      kwargs: ``ndims``, the older name of ``rank``.

    Raises:
      TypeError: any other keyword.
    """
    if rank is None and "ndims" in kwargs:
        rank = kwargs.pop("ndims")
    if kwargs:
        raise TypeError(f"Unknown argument: {kwargs}")
    return TensorShape.from_tuple(None if rank is None else (None,) * rank)


def scalar() -> TensorShape:
    """The shape of a scalar."""
    return TensorShape.from_tuple(())


def vector(length: Any) -> TensorShape:
    """The shape of a vector; ``length`` may be None."""
    return TensorShape([length])


def matrix(rows: Any, cols: Any) -> TensorShape:
    """The shape of a matrix; ``rows`` and ``cols`` may be None."""
    return TensorShape([rows, cols])


# Static shape tuples.


def to_tuple(value: Any) -> StaticShape:
    """The static shape tuple of anything that `TensorShape` takes.

    Raises:
      TypeError, ValueError: as `TensorShape`.
    """
    if value is None:
        return None
    if isinstance(value, TensorShape):
        return value._tuple
    if isinstance(value, str | bytes):
        raise TypeError(
            f"A string has ambiguous TensorShape, please wrap in a list or convert to an int: {value!s}"
        )
    if _is_shape_proto(value):
        return proto_to_tuple(value)
    try:
        items: Iterable[Any] = iter(value)
    except TypeError:
        return (_dimension_value(value),)
    return tuple([_dimension_value(item) for item in items])


def proto_to_tuple(proto: Any) -> StaticShape:
    """The static shape tuple of a TensorShapeProto, whose unknown sizes are -1.

    Raises:
      ValueError: a size is less than -1.
    """
    if proto.unknown_rank:
        return None
    return tuple([None if dim.size == -1 else _dimension_value(dim.size) for dim in proto.dim])


def tuple_to_proto(shape: StaticShape) -> Any:
    """The TensorShapeProto of a static shape tuple."""
    from kvarn import protos

    proto = protos.TensorShapeProto()
    if shape is None:
        proto.unknown_rank = True
    else:
        for size in shape:
            proto.dim.add(size=-1 if size is None else size)
    return proto


def shape_text(shape: StaticShape, unknown: str = "?") -> str:
    """A static shape as error messages show it: ``(2, ?)``, ``(3,)``, ``<unknown>``."""
    if shape is None:
        return "<unknown>"
    sizes = [unknown if d is None else str(d) for d in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def element_count(shape: StaticShape) -> int | None:
    """The product of the sizes, or None when one is unknown."""
    if shape is None:
        return None
    count = 1
    for size in shape:
        if size is None:
            return None
        count *= size
    return count


def compatible(a: StaticShape, b: StaticShape) -> bool:
    """Whether some fully defined shape fits both."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(x == y or x is None or y is None for x, y in zip(a, b, strict=True))


def merge_tuples(a: StaticShape, b: StaticShape) -> StaticShape:
    """What both shapes together say.

    Raises:
      ValueError: they contradict each other.
    """
    if a is None:
        return b
    if b is None or a is b:
        return a
    if not compatible(a, b):
        raise ValueError(f"Shapes {shape_text(a)} and {shape_text(b)} are not compatible")
    return tuple([y if x is None else x for x, y in zip(a, b, strict=True)])


def _dimension_value(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int:
        size = value
    elif isinstance(value, Dimension):
        return value._value
    elif isinstance(value, DType):
        raise TypeError(f"Cannot convert {value} to Dimension")
    else:
        size = int(value)
        if not isinstance(value, str | bytes) and size != value:
            raise ValueError(f"Ambiguous dimension: {value}")
    if size < 0:
        raise ValueError(f"Dimension {size} must be >= 0")
    return size


def _is_shape_proto(value: Any) -> bool:
    descriptor = getattr(value, "DESCRIPTOR", None)
    return descriptor is not None and descriptor.full_name == "tensorflow.TensorShapeProto"


def _known_equal(a: StaticShape, b: StaticShape) -> bool:
    # A shape with unknown sizes equals itself (the same tuple) and nothing else, because an unknown size
    # is not known to equal another.
    if a is b:
        return True
    return a is not None and b is not None and None not in a and a == b
