"""TensorFlow's random numbers: the Philox 4x32-10 generator and the distributions made of it, to the bit.

A generator is a counter of 128 bits and a key; each value of the counter gives a *block* of four
independent uint32.  A node owns one generator, whose counter moves on by a fixed amount with each run,
whatever was used of it.

The float32 normal distribution computes `log`, `sin` and `cos` in double precision by the polynomials of
the GNU C library (2.28 and later), which TensorFlow calls: so the results are its own to the last bit,
on every machine.

Source: tensorflow/core/lib/random/{philox_random,random_distributions}.h,
tensorflow/core/kernels/random_op_cpu.h, tensorflow/core/util/guarded_philox_random.{h,cc}.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MASK64 = 2**64 - 1
# Blocks computed at a time: the working arrays stay in the processor's cache.
_CHUNK = 4096
# Blocks that a run skips for each output element (and each group of outputs of a rejection method has).
_RESERVED = 256


class Philox:
    """A generator: its key, and the counter as two numbers of 64 bits.

    Args:
      seed, seed2: as in the attributes of an operation.
    """

    __slots__ = ("hi", "key", "lo")

    def __init__(self, seed: int, seed2: int, lo: int = 0) -> None:
        self.key = seed & _MASK64
        self.hi = seed2 & _MASK64
        self.lo = lo

    def skip(self, blocks: int) -> None:
        """Moves the counter on by ``blocks``."""
        total = self.lo + blocks
        self.hi = (self.hi + (total >> 64)) & _MASK64
        self.lo = total & _MASK64

    def blocks(self, places: Array) -> Array:
        """The blocks at the distances ``places`` (uint64 [n]) from the counter: uint32 [n, 4]."""
        out = np.empty((len(places), 4), np.uint32)
        for start in range(0, len(places), _CHUNK):
            self._compute(places[start : start + _CHUNK], out[start : start + _CHUNK])
        return out

    def _compute(self, places: Array, out: Array) -> None:
        counter = places + np.uint64(self.lo)
        high = np.full(len(places), self.hi, np.uint64)
        high += counter < places
        c0, c1 = counter & _LOW, counter >> _32
        c2, c3 = high & _LOW, high >> _32
        k0, k1 = self.key & 0xFFFFFFFF, self.key >> 32
        p0, p1 = np.empty_like(c0), np.empty_like(c0)
        for _ in range(10):
            np.multiply(c0, _M0, out=p0)
            np.multiply(c2, _M1, out=p1)
            # What is not needed any more takes the results.
            np.right_shift(p1, _32, out=c0)
            c0 ^= c1
            c0 ^= np.uint64(k0)
            np.right_shift(p0, _32, out=c2)
            c2 ^= c3
            c2 ^= np.uint64(k1)
            np.bitwise_and(p1, _LOW, out=c1)
            np.bitwise_and(p0, _LOW, out=c3)
            k0 = (k0 + _W0) & 0xFFFFFFFF
            k1 = (k1 + _W1) & 0xFFFFFFFF
        out[:, 0], out[:, 1], out[:, 2], out[:, 3] = c0, c1, c2, c3


class GuardedPhilox:
    """The generator of a node in a session.

    Args:
      seed, seed2: the node's attributes; both zero for numbers nobody can foresee.
    """

    def __init__(self, seed: int, seed2: int) -> None:
        if seed == 0 and seed2 == 0:
            seed, seed2 = (int.from_bytes(os.urandom(8), "little") for _ in range(2))
        self._generator = Philox(seed, seed2)
        self._lock = threading.Lock()

    def reserve_blocks(self, count: int) -> Philox:
        """A generator for the next ``count`` blocks, which nobody else gets."""
        with self._lock:
            now = self._generator
            mine = Philox(now.key, now.hi, now.lo)
            now.skip(count)
        return mine

    def reserve_outputs(self, count: int) -> Philox:
        """A generator for ``count`` outputs of a distribution."""
        return self.reserve_blocks(count * _RESERVED)


# -- from bits to numbers -------------------------------------------------------------------------


def to_float(x: Array) -> Array:
    """uint32 to float32 in [0, 1), by the low 23 bits."""
    bits = (x & np.uint32(0x7FFFFF)) | np.uint32(127 << 23)
    values: Array = bits.view(np.float32)
    values -= np.float32(1)
    return values


def to_double(x0: Array, x1: Array) -> Array:
    """Two uint32 to one float64 in [0, 1), by 52 bits."""
    bits = ((x0 & np.uint32(0xFFFFF)).astype(np.uint64) << _32) | x1
    bits |= np.uint64(1023 << 52)
    values = bits.view(np.float64)
    values -= 1.0
    return values


def to_half(x: Array) -> Array:
    """uint32 to float16 in [0, 1), by the low 10 bits."""
    bits = ((x & np.uint32(0x3FF)) | np.uint32(15 << 10)).astype(np.uint16)
    values: Array = bits.view(np.float16) - np.float16(1)
    return values


def to_bfloat16(x: Array) -> Array:
    """uint32 to bfloat16 in [0, 1), by the low 7 bits."""
    bits = ((x & np.uint32(0x7F)) | np.uint32(127 << 7)).astype(np.uint16)
    values: Array = bits.view(ml_dtypes.bfloat16) - ml_dtypes.bfloat16(1)
    return values


# -- logarithm, sine and cosine as the C library has them -----------------------------------------

_hex = float.fromhex
# For a mantissa z in the i-th of 16 intervals: 1/c and log(c) of a point c near its middle.
_LOG_TABLE = np.array(
    [
        (_hex("0x1.661ec79f8f3bep+0"), _hex("-0x1.57bf7808caadep-2")),
        (_hex("0x1.571ed4aaf883dp+0"), _hex("-0x1.2bef0a7c06ddbp-2")),
        (_hex("0x1.49539f0f010bp+0"), _hex("-0x1.01eae7f513a67p-2")),
        (_hex("0x1.3c995b0b80385p+0"), _hex("-0x1.b31d8a68224e9p-3")),
        (_hex("0x1.30d190c8864a5p+0"), _hex("-0x1.6574f0ac07758p-3")),
        (_hex("0x1.25e227b0b8eap+0"), _hex("-0x1.1aa2bc79c81p-3")),
        (_hex("0x1.1bb4a4a1a343fp+0"), _hex("-0x1.a4e76ce8c0e5ep-4")),
        (_hex("0x1.12358f08ae5bap+0"), _hex("-0x1.1973c5a611cccp-4")),
        (_hex("0x1.0953f419900a7p+0"), _hex("-0x1.252f438e10c1ep-5")),
        (1.0, 0.0),
        (_hex("0x1.e608cfd9a47acp-1"), _hex("0x1.aa5aa5df25984p-5")),
        (_hex("0x1.ca4b31f026aap-1"), _hex("0x1.c5e53aa362eb4p-4")),
        (_hex("0x1.b2036576afce6p-1"), _hex("0x1.526e57720db08p-3")),
        (_hex("0x1.9c2d163a1aa2dp-1"), _hex("0x1.bc2860d22477p-3")),
        (_hex("0x1.886e6037841edp-1"), _hex("0x1.1058bc8a07ee1p-2")),
        (_hex("0x1.767dcf5534862p-1"), _hex("0x1.4043057b6ee09p-2")),
    ]
)
_LOG_INVERSE, _LOG_OF_C = _LOG_TABLE[:, 0].copy(), _LOG_TABLE[:, 1].copy()
_LOG_POLYNOMIAL = (
    _hex("-0x1.00ea348b88334p-2"),
    _hex("0x1.5575b0be00b6ap-2"),
    _hex("-0x1.ffffef20a4123p-2"),
)
_LN2 = _hex("0x1.62e42fefa39efp-1")
_LOG_OFFSET = np.int32(0x3F330000)


def log_float(x: Array) -> Array:
    """The natural logarithm of positive normal float32."""
    bits: Array = x.view(np.int32)
    offset = bits - _LOG_OFFSET
    interval = (offset >> np.int32(19)) & np.int32(15)
    exponent = offset >> np.int32(23)
    z = (bits - (exponent << np.int32(23))).view(np.float32).astype(np.float64)
    r = z * _LOG_INVERSE[interval]
    r -= 1.0
    y0 = exponent * _LN2
    y0 += _LOG_OF_C[interval]
    r2 = r * r
    y: Array = r * _LOG_POLYNOMIAL[1]
    y += _LOG_POLYNOMIAL[2]
    y += r2 * _LOG_POLYNOMIAL[0]
    y *= r2
    y0 += r
    y += y0
    return y.astype(np.float32)


_HALF_PI = _hex("0x1.921FB54442D18p0")
_TWO_OVER_PI = _hex("0x1.45F306DC9C883p23")  # times 2 ** 24
_COS = tuple(
    _hex(c)
    for c in (
        "0x1p0",
        "-0x1.ffffffd0c621cp-2",
        "0x1.55553e1068f19p-5",
        "-0x1.6c087e89a359dp-10",
        "0x1.99343027bf8c3p-16",
    )
)
_SIN = tuple(_hex(c) for c in ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13"))
_SMALL = np.float32(2.0**-12)


def sincos_float(x: Array) -> tuple[Array, Array]:
    """Sine and cosine of float32 in [0, 120)."""
    wide = x.astype(np.float64)
    # The nearest multiple of pi / 2, found in fixed point as the C library does it.
    turns = ((wide * _TWO_OVER_PI).astype(np.int32) + np.int32(0x800000)) >> np.int32(24)
    r = wide - turns * _HALF_PI
    r2 = r * r
    r3 = r2 * r
    r4 = r2 * r2
    s = r2 * _SIN[2]
    s += _SIN[1]
    s *= r3 * r2
    s += r + r3 * _SIN[0]
    c = r2 * _COS[4]
    c += _COS[3]
    c *= r4 * r2
    c += (r2 * _COS[1] + _COS[0]) + r4 * _COS[2]
    odd = (turns & 1).astype(bool)
    sine = np.where(odd, c, s)
    cosine = np.where(odd, s, c)
    sine[(turns & 2) != 0] *= -1
    cosine[((turns + 1) & 2) != 0] *= -1
    sin, cos = sine.astype(np.float32), cosine.astype(np.float32)
    tiny = x < _SMALL
    if tiny.any():
        sin[tiny], cos[tiny] = x[tiny], 1
    return sin, cos


# -- distributions --------------------------------------------------------------------------------


def box_muller_float(x0: Array, x1: Array) -> tuple[Array, Array]:
    """Two float32 of the standard normal distribution from two uint32."""
    u = np.maximum(to_float(x0), np.float32(1.0e-7))
    angle = (to_float(x1).astype(np.float64) * (2.0 * np.pi)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * log_float(u))
    sin, cos = sincos_float(angle)
    sin *= radius
    cos *= radius
    return sin, cos


def box_muller_double(x0: Array, x1: Array, x2: Array, x3: Array) -> tuple[Array, Array]:
    """Two float64 of the standard normal distribution from four uint32."""
    u = np.maximum(to_double(x0, x1), 1.0e-7)
    angle = 2.0 * np.pi * to_double(x2, x3)
    radius = np.sqrt(-2.0 * _each(math.log, u))
    return _each(math.sin, angle) * radius, _each(math.cos, angle) * radius


def _each(function: Callable[[float], float], x: Array) -> Array:
    """``function`` of the C library for every number: NumPy's own rounds differently on some processors."""
    return np.fromiter(map(function, x.tolist()), np.float64, len(x))


def _normal_float(blocks: Array) -> Array:
    pairs = np.ascontiguousarray(blocks).reshape(-1, 2)
    out = np.empty((len(pairs), 2), np.float32)
    x0, x1 = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    out[:, 0], out[:, 1] = box_muller_float(x0, x1)
    return out.reshape(-1, 4)


def _normal_double(blocks: Array) -> Array:
    out = np.empty((len(blocks), 2), np.float64)
    out[:, 0], out[:, 1] = box_muller_double(*[np.ascontiguousarray(blocks[:, i]) for i in range(4)])
    return out


def _cast(function: Callable[[Array], Array], dtype: Any) -> Callable[[Array], Array]:
    return lambda blocks: function(blocks).astype(dtype)


_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# By element type: blocks [n, 4] to numbers [n, 4 or 2].
UNIFORM: dict[np.dtype[Any], Callable[[Array], Array]] = {
    np.dtype(np.float32): to_float,
    np.dtype(np.float64): lambda b: to_double(b[:, 0::2], b[:, 1::2]),
    np.dtype(np.float16): to_half,
    _BFLOAT16: to_bfloat16,
}
NORMAL: dict[np.dtype[Any], Callable[[Array], Array]] = {
    np.dtype(np.float32): _normal_float,
    np.dtype(np.float64): _normal_double,
    np.dtype(np.float16): _cast(_normal_float, np.float16),
    _BFLOAT16: _cast(_normal_float, ml_dtypes.bfloat16),
}


def fill(generator: Philox, count: int, group: int, convert: Callable[[Array], Array], dtype: Any) -> Array:
    """``count`` numbers, ``group`` of them from each block in turn."""
    out = np.empty(count, dtype)
    groups = -(-count // group)
    for start in range(0, groups, _CHUNK):
        places = np.arange(start, min(start + _CHUNK, groups), dtype=np.uint64)
        blocks = generator.blocks(places)
        part = out[start * group : (start + len(places)) * group]
        part[:] = convert(blocks).reshape(-1)[: len(part)]
    return out


def uniform(generator: Philox, count: int, dtype: Any) -> Array:
    """``count`` numbers of the uniform distribution on [0, 1)."""
    return fill(generator, count, _group(dtype), UNIFORM[np.dtype(dtype)], dtype)


def normal(generator: Philox, count: int, dtype: Any) -> Array:
    """``count`` numbers of the standard normal distribution."""
    return fill(generator, count, _group(dtype), NORMAL[np.dtype(dtype)], dtype)


def uniform_int(generator: Philox, count: int, lo: int, hi: int, dtype: Any) -> Array:
    """``count`` integers (int32 or int64) in [lo, hi)."""
    if np.dtype(dtype) == np.int32:
        span = np.uint32((hi - lo) & 0xFFFFFFFF)

        def convert32(blocks: Array) -> Array:
            numbers: Array = (blocks % span) + np.uint32(lo & 0xFFFFFFFF)
            return numbers.view(np.int32)

        return fill(generator, count, 4, convert32, np.int32)
    wide_span = np.uint64((hi - lo) & _MASK64)

    def convert64(blocks: Array) -> Array:
        bits = blocks[:, 0::2] | (blocks[:, 1::2].astype(np.uint64) << _32)
        numbers: Array = (bits % wide_span) + np.uint64(lo & _MASK64)
        return numbers.view(np.int64)

    return fill(generator, count, 2, convert64, np.int64)


def truncated_normal(generator: Philox, count: int, dtype: Any) -> Array:
    """``count`` numbers of the standard normal distribution, those of magnitude 2 and more drawn again.

    Each group of outputs has 256 blocks for each output of its own to draw from, so that it does not matter
    how many the others needed.
    """
    kind = np.dtype(dtype)
    group = _group(kind)
    draw = _normal_double if kind == np.float64 else _normal_float
    stride = np.uint64(group * _RESERVED // 4)
    out = np.empty((-(-count // group), group), np.float64 if kind == np.float64 else np.float32)
    for start in range(0, len(out), _CHUNK):
        part = out[start : start + _CHUNK]
        first = np.arange(start, start + len(part), dtype=np.uint64) * stride
        numbers = draw(generator.blocks(first))
        accepted = np.abs(numbers) < 2
        part[:] = numbers
        # The groups where something was rejected: what they have moves up and more is drawn.
        rows = np.flatnonzero(~accepted.all(axis=1))
        filled = np.zeros(len(part), np.int64)
        numbers, accepted = numbers[rows], accepted[rows]
        attempt = 0
        while rows.size:
            place = filled[rows][:, None] + np.cumsum(accepted, axis=1) - 1
            use = accepted & (place < group)
            part[np.broadcast_to(rows[:, None], use.shape)[use], place[use]] = numbers[use]
            filled[rows] += accepted.sum(axis=1)
            rows = rows[filled[rows] < group]
            attempt += 1
            if rows.size:
                numbers = draw(generator.blocks(first[rows] + np.uint64(attempt)))
                accepted = np.abs(numbers) < 2
    return out.reshape(-1)[:count].astype(kind, copy=False)


def _group(dtype: Any) -> int:
    """How many numbers one block gives."""
    return 2 if np.dtype(dtype) == np.float64 else 4
