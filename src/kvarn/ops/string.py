"""String ops: hash buckets, joining, splitting, numbers, regular expressions.

A string is bytes; an array of them has elements of type object.

Source: tensorflow/core/ops/{string_ops,parsing_ops}.cc, tensorflow/core/kernels/*string*_op.cc,
tensorflow/python/ops/string_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops import _format, _text


def map_strings(function: Callable[[bytes], bytes], values: Any) -> Any:
    """An array of ``function`` of every string."""
    source = np.asarray(values, dtype=object)
    out = np.empty(source.shape, dtype=object)
    out.reshape(-1)[:] = [function(s) for s in source.reshape(-1)]
    return out


def _strings_of(items: list[bytes], shape: tuple[int, ...]) -> Any:
    out = np.empty(shape, dtype=object)
    out.reshape(-1)[:] = items
    return out


def _flat(values: Any) -> Any:
    return np.asarray(values, dtype=object).reshape(-1)


def _scalar(value: Any, what: str) -> bytes:
    """The string of a scalar input."""
    if np.ndim(value) != 0:
        raise errors.InvalidArgumentError.of(
            f"{what} must be a scalar, got shape: {shapes.fmt(np.shape(value))}"
        )
    held: Any = np.asarray(value, dtype=object)
    text: bytes = held[()]
    return text


# -- hash buckets ---------------------------------------------------------------------------------


def _buckets(hashes: Any, num_buckets: int, shape: tuple[int, ...]) -> Any:
    return (np.asarray(hashes, np.uint64) % np.uint64(num_buckets)).astype(np.int64).reshape(shape)


@op("StringToHashBucketFast", inputs="input: string", outputs="output: int64", attrs="num_buckets: int >= 1")
class string_to_hash_bucket_fast:
    """The bucket of each string by its FarmHash fingerprint, the same on every machine."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        from kvarn import _native

        hashes = _native.farmhash_fingerprint64(np.ascontiguousarray(_flat(input)))
        return _buckets(hashes, ctx.attrs["num_buckets"], np.shape(input))

    grad = NOT_DIFFERENTIABLE


@op(
    "StringToHashBucketStrong",
    inputs="input: string",
    outputs="output: int64",
    attrs=["num_buckets: int >= 1", "key: list(int)"],
)
class string_to_hash_bucket_strong:
    """The bucket of each string by a hash with a secret ``key`` of two integers, hard to attack."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        key = ctx.attrs["key"]
        if len(key) != 2:
            raise errors.InvalidArgumentError.of("Key must have 2 elements")
        pair = (key[0], key[1])
        hashes = [_text.sip_hash(pair, s) for s in _flat(input)]
        return _buckets(hashes, ctx.attrs["num_buckets"], np.shape(input))

    grad = NOT_DIFFERENTIABLE


@op(
    "StringToHashBucket",
    inputs="string_tensor: string",
    outputs="output: int64",
    attrs="num_buckets: int >= 1",
)
class string_to_hash_bucket_:
    """The bucket of each string by the hash of TensorFlow's first versions."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, string_tensor: Any) -> Any:
        hashes = [_text.hash64(s) for s in _flat(string_tensor)]
        return _buckets(hashes, ctx.attrs["num_buckets"], np.shape(string_tensor))

    grad = NOT_DIFFERENTIABLE


def string_to_hash_bucket(
    string_tensor: Any = None, num_buckets: int | None = None, name: str | None = None, input: Any = None
) -> Tensor:
    """The bucket of each string by the hash of TensorFlow's first versions."""
    result: Tensor = string_to_hash_bucket_(
        _either(string_tensor, input, "string_tensor"), num_buckets, name=name
    )
    return result


def _either(old: Any, new: Any, old_name: str) -> Any:
    """An argument that has two names."""
    if new is None:
        return old
    if old is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and 'input'")
    return new


# -- numbers --------------------------------------------------------------------------------------

_FLOATS = (dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128)


def _number_format(ctx: Any) -> str:
    """The format of AsString for real numbers; InvalidArgumentError if the attributes do not fit."""
    attrs = ctx.attrs
    kind = attrs["T"]
    precision, width = attrs["precision"], attrs["width"]
    scientific, shortest = attrs["scientific"], attrs["shortest"]
    fill = attrs["fill"].decode()
    if kind not in _FLOATS:
        if scientific or shortest:
            raise errors.InvalidArgumentError.of(
                f"scientific and shortest format not supported for datatype {_format.type_text(kind)}"
            )
        if precision >= 0:
            raise errors.InvalidArgumentError.of(
                f"precision not supported for datatype {_format.type_text(kind)}"
            )
    if len(fill) > 1:
        raise errors.InvalidArgumentError.of("Fill string must be one or fewer characters")
    if scientific and shortest:
        raise errors.InvalidArgumentError.of("Cannot select both scientific and shortest notation")
    if fill and fill not in " +-0#":
        raise errors.InvalidArgumentError.of(f'Fill argument not supported: "{fill}"')
    letter = "d" if kind not in _FLOATS else "g" if shortest else "e" if scientific else "f"
    sizes = (str(width) if width > -1 else "") + (f".{precision}" if precision > -1 else "")
    return f"%{fill}{sizes}{letter}"


def _formatted(pattern: str, value: Any) -> str:
    if isinstance(value, float) and not np.isfinite(value):
        # C fills with zeros only in front of digits, and shows the sign of a NaN.
        text = pattern.replace("%0", "%", 1) % value
        return text.replace("nan", "-nan") if np.isnan(value) and np.signbit(value) else text
    plain: str = pattern % value
    return plain


@op(
    "AsString",
    inputs="input: T",
    outputs="output: string",
    attrs=[
        "T: {int8, int16, int32, int64, complex64, complex128, float, double, bool}",
        "precision: int = -1",
        "scientific: bool = false",
        "shortest: bool = false",
        "width: int = -1",
        "fill: string = ''",
    ],
)
class as_string:
    """Numbers as text, by the rules of C's printf."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        array = np.asarray(input)
        pattern = _number_format(ctx)
        items = array.reshape(-1).tolist()
        if array.dtype.kind == "b":
            texts = [b"true" if x else b"false" for x in items]
        elif array.dtype.kind == "c":
            texts = [f"({_formatted(pattern, x.real)},{_formatted(pattern, x.imag)})".encode() for x in items]
        else:
            texts = [_formatted(pattern, x).encode() for x in items]
        return _strings_of(texts, array.shape)

    grad = NOT_DIFFERENTIABLE


def _to_float(text: bytes) -> float | None:
    stripped = text.strip()
    if b"_" in stripped or b"infinity" in stripped.lower():
        return None
    try:
        if stripped[:3].lower().lstrip(b"+-").startswith(b"0x"):
            return float(int(stripped, 16))
        return float(stripped)
    except ValueError:
        return None


def _to_int(text: bytes, bits: int) -> int | None:
    stripped = text.strip()
    digits = stripped[1:] if stripped.startswith(b"-") else stripped
    if not digits.isdigit():
        return None
    value = int(stripped)
    return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None


@op(
    "StringToNumber",
    inputs="string_tensor: string",
    outputs="output: out_type",
    attrs="out_type: {float, double, int32, int64} = DT_FLOAT",
)
class string_to_number_:
    """The number that each string spells; InvalidArgumentError where it does not."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, string_tensor: Any) -> Any:
        kind = ctx.attrs["out_type"]
        flat = _flat(string_tensor)
        out = np.empty(flat.shape, kind.np)
        with np.errstate(over="ignore"):
            for i, text in enumerate(flat):
                value = _to_int(text, out.itemsize * 8) if kind.is_integer else _to_float(text)
                if value is None:
                    shown = text.decode(errors="replace")
                    raise errors.InvalidArgumentError.of(
                        f"StringToNumberOp could not correctly convert string: {shown}", name=ctx.op.name
                    )
                out[i] = value
        return out.reshape(np.shape(string_tensor))

    grad = NOT_DIFFERENTIABLE


def string_to_number(
    string_tensor: Any = None, out_type: Any = dtypes.float32, name: str | None = None, input: Any = None
) -> Tensor:
    """The number that each string spells, as ``out_type`` (float32, float64, int32 or int64).

    Raises (when run):
      InvalidArgumentError: a string is no number of that type.
    """
    result: Tensor = string_to_number_(_either(string_tensor, input, "string_tensor"), out_type, name=name)
    return result


# -- joining and splitting ------------------------------------------------------------------------


def _join_shape(c: Any, inputs: Any) -> Any:
    if all(s == () for s in inputs):
        return ()
    out = None
    for s in inputs:
        if s is not None and s != ():
            out = shapes.merge(out, s)
    return out


@op(
    "StringJoin",
    inputs="inputs: N * string",
    outputs="output: string",
    attrs=["N: int", "separator: string = ''"],
)
class string_join:
    """The strings of several tensors of one shape, or scalars, joined element by element."""

    shape = _join_shape

    def kernel(ctx: Any, inputs: Any) -> Any:
        shape: tuple[int, ...] = ()
        for x in inputs:
            if np.ndim(x) != 0:
                if shape == ():
                    shape = np.shape(x)
                elif shape != np.shape(x):
                    raise errors.InvalidArgumentError.of(
                        f"Input shapes do not match: {shapes.fmt(shape)} vs. {shapes.fmt(np.shape(x))}"
                    )
        columns = [np.broadcast_to(np.asarray(x, dtype=object), shape).reshape(-1) for x in inputs]
        separator = ctx.attrs["separator"]
        return _strings_of([separator.join(row) for row in zip(*columns, strict=True)], shape)

    grad = NOT_DIFFERENTIABLE


def _reduce_shape(c: Any, inputs: Any, reduction_indices: Any) -> Any:
    axes = c.constant_value(1)
    if inputs is None:
        return None
    rank = len(inputs)
    if axes is None:
        return (None,) * rank if c.attrs["keep_dims"] else None
    reduced = {int(a) + rank if a < 0 else int(a) for a in np.ravel(axes)}
    if c.attrs["keep_dims"]:
        return tuple(1 if i in reduced else d for i, d in enumerate(inputs))
    return tuple(d for i, d in enumerate(inputs) if i not in reduced)


@op(
    "ReduceJoin",
    inputs=["inputs: string", "reduction_indices: int32"],
    outputs="output: string",
    attrs=["keep_dims: bool = false", "separator: string = ''"],
)
class reduce_join_:
    """The strings along some dimensions joined, the first of these dimensions running fastest."""

    shape = _reduce_shape

    def kernel(ctx: Any, inputs: Any, reduction_indices: Any) -> Any:
        array = np.asarray(inputs, dtype=object)
        rank = array.ndim
        reduced: list[int] = []
        for axis in np.ravel(reduction_indices).tolist():
            if not -rank <= axis < rank:
                raise errors.OutOfRangeError.of(
                    f"Invalid reduction dimension {axis} for input with {rank} dimension(s)"
                )
            if axis % rank in reduced:
                raise errors.InvalidArgumentError.of(f"Duplicate reduction dimension {axis}")
            reduced.append(axis % rank)
        kept = [i for i in range(rank) if i not in reduced]
        length = int(np.prod([array.shape[i] for i in reduced], dtype=np.int64))
        count = int(np.prod([array.shape[i] for i in kept], dtype=np.int64))
        rows = array.transpose(kept + reduced[::-1]).reshape(count, length)
        if ctx.attrs["keep_dims"]:
            shape = tuple(1 if i in reduced else d for i, d in enumerate(array.shape))
        else:
            shape = tuple(array.shape[i] for i in kept)
        separator = ctx.attrs["separator"]
        return _strings_of([separator.join(row) for row in rows], shape)

    grad = NOT_DIFFERENTIABLE


def reduce_join(
    inputs: Any,
    axis: Any = None,
    keep_dims: bool | None = None,
    separator: str = "",
    name: str | None = None,
    reduction_indices: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Joins strings along dimensions.

    Args:
      axis: the dimensions; all of them, the last running fastest, by default.
      keep_dims, keepdims: whether they stay, with one element.
      separator: between two strings.
    """
    if axis is None:
        axis = reduction_indices
    with name_scope(None, "ReduceJoin", [inputs, axis]):
        tensor = convert_to_tensor(inputs)
        if axis is None:
            if tensor.static_shape is None:
                from kvarn.ops import array, ranges

                axis = ranges.range(array.rank(tensor) - 1, -1, -1)
            else:
                axis = constant(np.arange(len(tensor.static_shape) - 1, -1, -1), dtype=dtypes.int32)
        kept = bool(keep_dims if keepdims is None else keepdims)
        result: Tensor = reduce_join_(tensor, axis, keep_dims=kept, separator=separator, name=name)
        return result


def _split_shape(c: Any, input: Any, delimiter: Any) -> Any:
    shapes.with_rank(input, 1)
    shapes.with_rank(delimiter, 0)
    return [(None, 2), (None,), (2,)]


def _as_sparse(rows: list[list[bytes]]) -> Any:
    """Indices, values and shape of strings in rows of different lengths."""
    lengths = np.array([len(r) for r in rows], np.int64)
    total = int(lengths.sum())
    indices = np.empty((total, 2), np.int64)
    indices[:, 0] = np.repeat(np.arange(len(rows)), lengths)
    indices[:, 1] = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = _strings_of([s for row in rows for s in row], (total,))
    return indices, values, np.array([len(rows), lengths.max(initial=0)], np.int64)


def _vector(input: Any) -> Any:
    if np.ndim(input) != 1:
        raise errors.InvalidArgumentError.of(
            f"input must be a vector, got shape: {shapes.fmt(np.shape(input))}"
        )
    return input


@op(
    "StringSplit",
    inputs=["input: string", "delimiter: string"],
    outputs=["indices: int64", "values: string", "shape: int64"],
    attrs="skip_empty: bool = true",
)
class string_split_:
    """The parts of each string between bytes of ``delimiter``, as a sparse matrix."""

    shape = _split_shape

    def kernel(ctx: Any, input: Any, delimiter: Any) -> Any:
        cut, skip = _scalar(delimiter, "delimiter"), ctx.attrs["skip_empty"]
        return _as_sparse([_text.split(s, cut, skip) for s in _vector(input)])

    grad = NOT_DIFFERENTIABLE


@op(
    "StringSplitV2",
    inputs=["input: string", "sep: string"],
    outputs=["indices: int64", "values: string", "shape: int64"],
    attrs="maxsplit: int = -1",
)
class string_split_v2_:
    """The parts of each string between separators, as Python's split, as a sparse matrix."""

    shape = _split_shape

    def kernel(ctx: Any, input: Any, sep: Any) -> Any:
        cut, limit = _scalar(sep, "sep"), ctx.attrs["maxsplit"]
        return _as_sparse([_text.split_v2(s, cut, limit) for s in _vector(input)])

    grad = NOT_DIFFERENTIABLE


def string_split(
    source: Any, sep: Any = None, skip_empty: bool = True, delimiter: Any = None
) -> SparseTensor:
    """The parts of each string.

    Args:
      source: strings, [n].
      sep, delimiter: the bytes at which to cut, a space by default; "" cuts after every byte.
      skip_empty: whether to leave out empty parts.

    Returns:
      [n, most parts], row i holding the parts of string i.
    """
    if delimiter is None:
        delimiter = " " if sep is None else sep
    with name_scope(None, "StringSplit", [source]):
        cut = convert_to_tensor(delimiter, dtype=dtypes.string)
        strings = convert_to_tensor(source, dtype=dtypes.string)
        indices, values, shape = string_split_(strings, cut, skip_empty=skip_empty)
    return SparseTensor(indices, values, shape)


def string_split_v2(source: Any, sep: Any = None, maxsplit: int = -1) -> SparseTensor:
    """The parts of each string, as Python's ``str.split``.

    Args:
      source: strings, [n].
      sep: the separator; runs of white space by default.
      maxsplit: how often to cut at most, if positive.
    """
    cut = convert_to_tensor("" if sep is None else sep, dtype=dtypes.string)
    strings = convert_to_tensor(source, dtype=dtypes.string)
    indices, values, shape = string_split_v2_(strings, cut, maxsplit=maxsplit)
    return SparseTensor(indices, values, shape)


# -- single strings -------------------------------------------------------------------------------


@op(
    "StringLength",
    inputs="input: string",
    outputs="output: int32",
    attrs="unit: {'BYTE', 'UTF8_CHAR'} = 'BYTE'",
)
class string_length_:
    """The length of each string in bytes or characters."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        length = len if ctx.attrs["unit"] == b"BYTE" else _text.count_characters
        return np.array([length(s) for s in _flat(input)], np.int32).reshape(np.shape(input))

    grad = NOT_DIFFERENTIABLE


def string_length(input: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """The length of each string in ``unit``: BYTE or UTF8_CHAR."""
    result: Tensor = string_length_(input, unit=unit, name=name)
    return result


def _substr_shape(c: Any, input: Any, pos: Any, len: Any) -> Any:
    if pos is not None and len is not None and pos != len:
        try:
            shapes.merge(pos, len)
        except ValueError:
            raise ValueError(
                f"pos and len shapes must match: {shapes.fmt(pos)} vs. {shapes.fmt(len)}"
            ) from None
    return shapes.broadcast_shapes(input, pos)


@op(
    "Substr",
    inputs=["input: string", "pos: T", "len: T"],
    outputs="output: string",
    attrs=["T: {int32, int64}", "unit: {'BYTE', 'UTF8_CHAR'} = 'BYTE'"],
)
class substr_:
    """``len`` bytes or characters of each string from ``pos`` on, from its end if negative."""

    shape = _substr_shape

    def kernel(ctx: Any, input: Any, pos: Any, len_: Any) -> Any:
        array = np.asarray(input, dtype=object)
        try:
            strings, starts, lengths = np.broadcast_arrays(array, pos, len_)
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {shapes.fmt(array.shape)} vs. {shapes.fmt(np.shape(pos))}"
            ) from None
        in_bytes = ctx.attrs["unit"] == b"BYTE"
        cut = _text.substring if in_bytes else _text.substring_utf8
        out: list[bytes] = []
        for i, (text, start, length) in enumerate(
            zip(strings.reshape(-1), starts.reshape(-1).tolist(), lengths.reshape(-1).tolist(), strict=True)
        ):
            part = cut(text, start, length)
            if part is None:
                shown = f"string b'{text.decode(errors='replace')}'" if in_bytes else "string"
                raise errors.InvalidArgumentError.of(
                    f"pos {start} out of range for {shown} at index {i}", name=ctx.op.name
                )
            out.append(part)
        return _strings_of(out, strings.shape)

    grad = NOT_DIFFERENTIABLE


def substr(input: Any, pos: Any, len: Any, name: str | None = None, unit: str = "BYTE") -> Tensor:
    """Parts of strings.

    Args:
      input: strings.
      pos: where the part begins; negative from the end.
      len: its length, cut off at the end of the string.
      unit: BYTE or UTF8_CHAR.

    Raises (when run):
      InvalidArgumentError: ``pos`` is outside a string.
    """
    result: Tensor = substr_(input, pos, len, unit=unit, name=name)
    return result


@op("StringStrip", inputs="input: string", outputs="output: string")
class string_strip:
    """Each string without white space at its ends."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return map_strings(bytes.strip, input)

    grad = NOT_DIFFERENTIABLE


def _by_encoding(
    ctx: Any, on_bytes: Callable[[bytes], bytes], on_text: Callable[[str], str], input: Any
) -> Any:
    encoding = ctx.attrs["encoding"]
    if encoding not in (b"", b"utf-8"):
        raise errors.InvalidArgumentError.of(
            f"only utf-8 or '' (no encoding) is supported, received {encoding!r}"
        )
    if encoding == b"":
        return map_strings(on_bytes, input)
    return map_strings(lambda s: on_text(s.decode("utf-8", "replace")).encode(), input)


@op("StringLower", inputs="input: string", outputs="output: string", attrs="encoding: string =''")
class string_lower:
    """Each string in lower case: ASCII letters only, or all with encoding utf-8."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return _by_encoding(ctx, bytes.lower, str.lower, input)

    grad = NOT_DIFFERENTIABLE


@op("StringUpper", inputs="input: string", outputs="output: string", attrs="encoding: string =''")
class string_upper:
    """Each string in upper case: ASCII letters only, or all with encoding utf-8."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return _by_encoding(ctx, bytes.upper, str.upper, input)

    grad = NOT_DIFFERENTIABLE


# -- regular expressions --------------------------------------------------------------------------


def _replaced(input: Any, pattern: bytes, rewrite: bytes, everywhere: bool) -> Any:
    compiled = _text.regex(pattern)
    return map_strings(lambda s: _text.replace(compiled, s, rewrite, everywhere), input)


def _matched(input: Any, pattern: bytes) -> Any:
    compiled = _text.regex(pattern)
    return np.array([_text.full_match(compiled, s) for s in _flat(input)], bool).reshape(np.shape(input))


def _regex_shape(c: Any, input: Any, *patterns: Any) -> Any:
    for pattern in patterns:
        shapes.with_rank(pattern, 0)
    return input


@op(
    "RegexReplace",
    inputs=["input: string", "pattern: string", "rewrite: string"],
    outputs="output: string",
    attrs="replace_global: bool = true",
)
class regex_replace_:
    """Each string with what matches a pattern replaced."""

    shape = _regex_shape

    def kernel(ctx: Any, input: Any, pattern: Any, rewrite: Any) -> Any:
        everywhere = ctx.attrs["replace_global"]
        return _replaced(input, _scalar(pattern, "pattern"), _scalar(rewrite, "rewrite"), everywhere)

    grad = NOT_DIFFERENTIABLE


@op(
    "StaticRegexReplace",
    inputs="input: string",
    outputs="output: string",
    attrs=["pattern: string", "rewrite: string", "replace_global: bool = true"],
)
class static_regex_replace:
    """RegexReplace with a pattern that is known when the graph is built."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return _replaced(input, ctx.attrs["pattern"], ctx.attrs["rewrite"], ctx.attrs["replace_global"])

    grad = NOT_DIFFERENTIABLE


@op("RegexFullMatch", inputs=["input: string", "pattern: string"], outputs="output: bool")
class regex_full_match_:
    """Whether a pattern matches the whole of each string."""

    shape = _regex_shape

    def kernel(ctx: Any, input: Any, pattern: Any) -> Any:
        return _matched(input, _scalar(pattern, "pattern"))

    grad = NOT_DIFFERENTIABLE


@op("StaticRegexFullMatch", inputs="input: string", outputs="output: bool", attrs="pattern: string")
class static_regex_full_match:
    """RegexFullMatch with a pattern that is known when the graph is built."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return _matched(input, ctx.attrs["pattern"])

    grad = NOT_DIFFERENTIABLE


def regex_replace(
    input: Any, pattern: Any, rewrite: Any, replace_global: bool = True, name: str | None = None
) -> Tensor:
    """Each string with what matches replaced.

    Args:
      pattern: a regular expression of RE2, as far as Python's ``re`` knows it.
      rewrite: the replacement; ``\\0`` to ``\\9`` stand for the match and its groups.
      replace_global: all matches instead of the first.

    Raises (when run):
      InvalidArgumentError: pattern or replacement are not valid.
    """
    result: Tensor
    if isinstance(pattern, (str, bytes)) and isinstance(rewrite, (str, bytes)):
        result = static_regex_replace(input, pattern, rewrite, replace_global, name=name)
    else:
        result = regex_replace_(input, pattern, rewrite, replace_global, name=name)
    return result


def regex_full_match(input: Any, pattern: Any, name: str | None = None) -> Tensor:
    """Whether ``pattern``, a regular expression of RE2, matches the whole of each string."""
    result: Tensor
    if isinstance(pattern, (str, bytes)):
        result = static_regex_full_match(input, pattern, name=name)
    else:
        result = regex_full_match_(input, pattern, name=name)
    return result


# -- templates ------------------------------------------------------------------------------------


def _template_shape(c: Any, inputs: Any) -> Any:
    places = c.attrs["template"].count(c.attrs["placeholder"])
    if places != len(inputs):
        raise ValueError(
            f"num placeholders in template and num inputs must match: {places} vs. {len(inputs)}"
        )
    return ()


@op(
    "StringFormat",
    inputs="inputs: T",
    outputs="output: string",
    attrs=[
        "T: list(type) >= 0",
        "template: string = '%s'",
        "placeholder: string = '%s'",
        "summarize: int = 3",
    ],
)
class string_format_:
    """A template with tensors, shortened, in its places."""

    shape = _template_shape

    def kernel(ctx: Any, inputs: Any) -> Any:
        pieces = ctx.attrs["template"].split(ctx.attrs["placeholder"])
        summarize = ctx.attrs["summarize"]
        out = pieces[0]
        for value, piece in zip(inputs, pieces[1:], strict=True):
            out += _format.summarize_value_v2(value, summarize).encode() + piece
        return _strings_of([out], ())

    grad = NOT_DIFFERENTIABLE


def string_format(
    template: str, inputs: Any, placeholder: str = "{}", summarize: int = 3, name: str | None = None
) -> Tensor:
    """A scalar string: ``template`` with tensors in its places.

    Args:
      inputs: a tensor or a list of them.
      summarize: elements to show at both ends of every dimension; -1 for all.

    Raises:
      ValueError: there are not as many places as tensors.
    """
    values = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    places = template.count(placeholder)
    if places != len(values):
        raise ValueError(
            f"{places} placeholder(s) in template does not match {len(values)} tensor(s) provided as input"
        )
    result: Tensor = string_format_(
        values, template=template, placeholder=placeholder, summarize=summarize, name=name
    )
    return result
