"""Initializers of convolutions that keep the norms of what goes through them.

Source: tensorflow/python/ops/init_ops.py (1.15); Xiao et al., 2018.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

from kvarn import dtypes
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, casting, comparison, linalg, math, matrices, random, unary
from kvarn.variables.initializers import Initializer, _float_dtype

# A kernel as matrices by their places in it.
_Kernel = dict[tuple[int, ...], Any]


class _OfConvolutions(Initializer):
    """What all have in common.

    Args:
      gain: factor of the values.
      seed: of the operations; see `tf.set_random_seed`.
      dtype: a floating type.

    Raises:
      ValueError: the type is not a floating one.
    """

    _config = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        self.gain = gain
        self.dtype = _float_dtype(dtype)
        self.seed = seed


def _check_channels(shape: Sequence[int]) -> None:
    if shape[-2] > shape[-1]:
        raise ValueError("In_filters cannot be greater than out_filters.")


class ConvolutionDeltaOrthogonal(_OfConvolutions):
    """A random orthogonal matrix in the middle of the kernel, zeros around it.

    The shape [*inner, in, out] has three to five dimensions, and no more input than output channels.
    """

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        dtype = self.dtype if dtype is None else dtype
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                "The tensor to initialize must be at least three-dimensional and at most five-dimensional"
            )
        shape = [int(d) for d in shape]
        _check_channels(shape)
        numbers = random.random_normal([shape[-1], shape[-1]], dtype=dtype, seed=self.seed)
        q, r = matrices.qr(numbers, full_matrices=False)
        q *= unary.sign(matrices.diag_part(r))
        q = q[: shape[-2], :]
        q *= casting.cast(self.gain, dtype=dtype)
        middle = [[(size - 1) // 2 for size in shape[:-2]]]
        found: Tensor = array.scatter_nd(middle, array.expand_dims(q, 0), shape)
        return found


class ConvolutionOrthogonal(_OfConvolutions):
    """A random orthogonal kernel: what goes through keeps its norm where it is padded with its other end.

    The shape is [*inner, in, out] with inner dimensions that are all equal, and no more input than output channels.
    """

    _rank: ClassVar[int]
    _shape_text: ClassVar[str]

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        dtype = self.dtype if dtype is None else dtype
        if len(shape) != self._rank + 2:
            raise ValueError(f"The tensor to initialize must be {self._shape_text}")
        shape = [int(d) for d in shape]
        _check_channels(shape)
        if len(set(shape[:-2])) > 1:
            raise ValueError("Kernel sizes must be equal.")
        kernel: Any = self._orthogonal_kernel(shape[0], shape[-2], shape[-1])
        kernel *= casting.cast(self.gain, dtype=dtype)
        return kernel  # type: ignore[no-any-return]

    def _next_seed(self) -> int | None:
        """The seed; each matrix has one of its own."""
        seed = self.seed
        if seed:
            self.seed = seed + 1
        return seed

    def _orthogonal_matrix(self, n: int) -> Any:
        numbers = random.random_normal([n, n], dtype=self.dtype, seed=self._next_seed())
        q, r = matrices.qr(numbers)
        return q * unary.sign(matrices.diag_part(r))

    def _symmetric_projection(self, n: int) -> Any:
        """A matrix P = PP = Pᵀ."""
        q = self._orthogonal_matrix(n)
        numbers = random.random_normal([n], seed=self._next_seed())
        columns = math.multiply(q, casting.cast(comparison.greater(numbers, 0), self.dtype))
        return linalg.matmul(columns, array.matrix_transpose(columns))

    def _face(self, eye: Any, projection: Any, side: int) -> Any:
        """The projection or its complement."""
        return eye - projection if side else projection

    def _block(self, n: int) -> _Kernel:
        """An orthogonal kernel of size 2."""
        projections = [self._symmetric_projection(n) for _ in range(self._rank)]
        eye = matrices.eye(n, dtype=self.dtype)
        corners = itertools.product((0, 1), repeat=self._rank)
        return {
            corner: functools.reduce(
                linalg.matmul, [self._face(eye, p, side) for p, side in zip(projections, corner, strict=True)]
            )
            for corner in corners
        }

    def _convolve(self, first: _Kernel, second: _Kernel, n: int) -> _Kernel:
        """The kernel that does what two do one after the other; ``second`` has the size 2."""
        size = max(place[0] for place in first) + 1
        result: _Kernel = {}
        for place in itertools.product(range(size + 1), repeat=self._rank):
            result[place] = array.zeros([n, n], self.dtype)
            for at in itertools.product(*(range(min(size, i + 1)) for i in place)):
                rest = tuple(i - j for i, j in zip(place, at, strict=True))
                if max(rest) < 2:
                    result[place] += linalg.matmul(first[at], second[rest])
        return result

    def _orthogonal_kernel(self, size: int, channels_in: int, channels_out: int) -> Any:
        orthogonal = self._orthogonal_matrix(channels_out)[:channels_in, :]
        if size == 1:
            for _ in range(self._rank):
                orthogonal = array.expand_dims(orthogonal, 0)
            return orthogonal
        kernel = self._block(channels_out)
        for _ in range(size - 2):
            kernel = self._convolve(kernel, self._block(channels_out), channels_out)
        for place in itertools.product(range(size), repeat=self._rank):
            kernel[place] = linalg.matmul(orthogonal, kernel[place])
        return _stacked(kernel, size, self._rank)


def _stacked(kernel: _Kernel, size: int, rank: int, place: tuple[int, ...] = ()) -> Any:
    if len(place) == rank:
        return kernel[place]
    return array.stack([_stacked(kernel, size, rank, (*place, i)) for i in range(size)])


class ConvolutionOrthogonal1D(ConvolutionOrthogonal):
    """`ConvolutionOrthogonal` of [width, in, out]."""

    _rank = 1
    _shape_text = "three-dimensional"


class ConvolutionOrthogonal2D(ConvolutionOrthogonal):
    """`ConvolutionOrthogonal` of [height, width, in, out]."""

    _rank = 2
    _shape_text = "four-dimensional"


class ConvolutionOrthogonal3D(ConvolutionOrthogonal):
    """`ConvolutionOrthogonal` of [depth, height, width, in, out]."""

    _rank = 3
    _shape_text = "five-dimensional"

    def _face(self, eye: Any, projection: Any, side: int) -> Any:
        # TensorFlow adds both here, one of them zero times.
        return side * projection + (1 - side) * (eye - projection)
