"""Initializers: objects that make the initial value of a variable from its shape.

    w = tf.get_variable("w", [4, 3], initializer=tf.glorot_uniform_initializer(seed=1))

An initializer is called as ``init(shape, dtype=None, partition_info=None)`` and builds the operations of the
value.  `get_config` and `from_config` turn it into a dictionary and back.

Source: tensorflow/python/ops/init_ops.py (1.15).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph.convert import constant
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape

# The standard deviation of the standard normal distribution cut at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base of all initializers."""

    # Constructor arguments that `get_config` tells, besides the type.
    _config: ClassVar[tuple[str, ...]] = ()
    dtype: DType

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        """The initial value.

        Args:
          shape: of the variable, or of the part of it that is made.
          dtype: element type, the initializer's own by default.
          partition_info: which part of the whole it is (`full_shape`, `var_offset`), or None.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, serializable as JSON."""
        config = {name: getattr(self, name) for name in self._config}
        if hasattr(self, "dtype"):
            config["dtype"] = self.dtype.name
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initializer whose `get_config` gave ``config``."""
        return cls(**config)


def _float_dtype(dtype: Any) -> DType:
    kind = dtypes.as_dtype(dtype)
    if not kind.is_floating:
        raise ValueError(f"Expected floating point type, got {kind}.")
    return kind


class Zeros(Initializer):
    """All elements 0 (False, or the empty string)."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = dtypes.as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import array

        return array.zeros(shape, self.dtype if dtype is None else dtype)


class Ones(Initializer):
    """All elements 1 (or True)."""

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype = dtypes.as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import array

        return array.ones(shape, self.dtype if dtype is None else dtype)


class Constant(Initializer):
    """Given values.

    Args:
      value: a scalar, list, tuple or array.  Where it has fewer elements than the variable, the last one is
        repeated.
      dtype: element type.
      verify_shape: whether ``value`` must have the variable's shape exactly.

    Raises:
      TypeError: ``value`` is something else, or, when called, not of the type or (verified) shape.
      ValueError: when called: there are more values than elements.
    """

    _config = ("value",)

    def __init__(self, value: Any = 0, dtype: Any = dtypes.float32, verify_shape: bool = False) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(
                f"Invalid type for initial value: {type(value)} (expected Python scalar, list or tuple of "
                "values, or numpy.ndarray)."
            )
        self.value = value
        self.dtype = dtypes.as_dtype(dtype)
        self._verify_shape = verify_shape

    def __call__(
        self, shape: Any, dtype: Any = None, partition_info: Any = None, verify_shape: bool | None = None
    ) -> Tensor:
        return constant(
            self.value,
            dtype=self.dtype if dtype is None else dtype,
            shape=shape,
            verify_shape=self._verify_shape if verify_shape is None else verify_shape,
        )


class RandomUniform(Initializer):
    """Numbers of the uniform distribution on [minval, maxval).

    Args:
      minval, maxval: scalars; maxval is 1 by default for floats.
      seed: of the operation; see `tf.set_random_seed`.
    """

    _config = ("minval", "maxval", "seed")

    def __init__(
        self, minval: Any = 0, maxval: Any = None, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed
        self.dtype = dtypes.as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import random

        kind = self.dtype if dtype is None else dtype
        return random.random_uniform(shape, self.minval, self.maxval, kind, seed=self.seed)


class RandomNormal(Initializer):
    """Numbers of a normal distribution.

    Args:
      mean, stddev: scalars.
      seed: of the operation; see `tf.set_random_seed`.
      dtype: a floating type.

    Raises:
      ValueError: the type is not a floating one.
    """

    _config = ("mean", "stddev", "seed")

    def __init__(
        self, mean: Any = 0.0, stddev: Any = 1.0, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed
        self.dtype = _float_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import random

        kind = self.dtype if dtype is None else dtype
        return random.random_normal(shape, self.mean, self.stddev, kind, seed=self.seed)


class TruncatedNormal(RandomNormal):
    """Numbers of a normal distribution without those two standard deviations and more from the mean.

    Takes the arguments of `RandomNormal`.
    """

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import random

        kind = self.dtype if dtype is None else dtype
        return random.truncated_normal(shape, self.mean, self.stddev, kind, seed=self.seed)


class UniformUnitScaling(Initializer):
    """Uniform numbers that keep the scale of a layer's input: in ±factor * sqrt(3 / input size).

    Args:
      factor: of the limit.
      seed: of the operation; see `tf.set_random_seed`.
      dtype: a floating type.

    Raises:
      ValueError: the type is not a floating one.
    """

    _config = ("factor", "seed")

    def __init__(self, factor: float = 1.0, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        self.factor = factor
        self.seed = seed
        self.dtype = _float_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import random

        whole = shape if partition_info is None else partition_info.full_shape
        input_size = 1.0
        for dim in whole[:-1]:
            input_size *= float(int(dim))
        limit = math.sqrt(3 / max(input_size, 1.0)) * self.factor
        kind = self.dtype if dtype is None else dtype
        return random.random_uniform(shape, -limit, limit, kind, seed=self.seed)


class VarianceScaling(Initializer):
    """Random numbers whose variance is ``scale`` divided by the number of a layer's units.

    Args:
      scale: positive.
      mode: which units count: ``fan_in`` (of the input), ``fan_out`` (of the output) or ``fan_avg`` (the mean
        of both).
      distribution: ``truncated_normal`` (also ``normal``), ``untruncated_normal`` or ``uniform``.
      seed: of the operation; see `tf.set_random_seed`.
      dtype: a floating type.

    Raises:
      ValueError: an argument is none of these.
    """

    _config: ClassVar[tuple[str, ...]] = ("scale", "mode", "distribution", "seed")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        if scale <= 0.0:
            raise ValueError("`scale` must be positive float.")
        if mode not in {"fan_in", "fan_out", "fan_avg"}:
            raise ValueError("Invalid `mode` argument:", mode)
        distribution = distribution.lower()
        if distribution not in {"normal", "uniform", "truncated_normal", "untruncated_normal"}:
            raise ValueError("Invalid `distribution` argument:", distribution)
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self.dtype = _float_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import random

        kind = self.dtype if dtype is None else dtype
        fan_in, fan_out = _compute_fans(shape if partition_info is None else partition_info.full_shape)
        units = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, units)
        if self.distribution in ("normal", "truncated_normal"):
            stddev = math.sqrt(variance) / _TRUNCATED_STDDEV
            return random.truncated_normal(shape, 0.0, stddev, kind, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return random.random_normal(shape, 0.0, math.sqrt(variance), kind, seed=self.seed)
        limit = math.sqrt(3.0 * variance)
        return random.random_uniform(shape, -limit, limit, kind, seed=self.seed)


class Orthogonal(Initializer):
    """A random orthogonal matrix: orthonormal columns, or rows where there are fewer of them.

    All dimensions but the last count as one.

    Args:
      gain: factor of the matrix.
      seed: of the operation; see `tf.set_random_seed`.
      dtype: a floating type.

    Raises:
      ValueError: the type is not a floating one; when called: the shape has less than two dimensions.
    """

    _config = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        self.gain = gain
        self.seed = seed
        self.dtype = _float_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import array, matrices, random, unary

        if len(shape) < 2:
            raise ValueError("The tensor to initialize must be at least two-dimensional")
        rows = 1
        for dim in shape[:-1]:
            rows *= int(dim)
        columns = int(shape[-1])
        tall = (columns, rows) if rows < columns else (rows, columns)
        numbers: Any = random.random_normal(
            tall, dtype=self.dtype if dtype is None else dtype, seed=self.seed
        )
        q, r = matrices.qr(numbers, full_matrices=False)
        # With R's diagonal positive, Q is distributed evenly over the orthogonal matrices.
        q = q * unary.sign(matrices.diag_part(r))
        if rows < columns:
            q = array.matrix_transpose(q)
        scaled: Any = self.gain * array.reshape(q, shape)
        result: Tensor = scaled
        return result


class Identity(Initializer):
    """The identity matrix times ``gain``; for matrices only.

    Raises:
      ValueError: the type is not a floating one; when called: the shape is not a matrix's.
    """

    _config = ("gain",)

    def __init__(self, gain: float = 1.0, dtype: Any = dtypes.float32) -> None:
        self.gain = gain
        self.dtype = _float_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        from kvarn.ops import array, matrices

        full_shape = shape if partition_info is None else partition_info.full_shape
        if len(full_shape) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        if isinstance(full_shape, TensorShape):
            full_shape = full_shape.as_list()
        rows, columns = full_shape
        matrix: Any = matrices.eye(rows, columns, dtype=self.dtype if dtype is None else dtype)
        if partition_info is not None:
            matrix = array.slice(matrix, partition_info.var_offset, shape)
        scaled: Any = self.gain * matrix
        result: Tensor = scaled
        return result


class GlorotUniform(VarianceScaling):
    """Glorot's (Xavier's) uniform initializer: in ±sqrt(6 / (fan_in + fan_out))."""

    _config = ("seed",)

    def __init__(self, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        # As in TensorFlow the type given here counts for nothing; it is that of the variable.
        super().__init__(scale=1.0, mode="fan_avg", distribution="uniform", seed=seed)


class GlorotNormal(VarianceScaling):
    """Glorot's (Xavier's) normal initializer: truncated, with the variance 2 / (fan_in + fan_out)."""

    _config = ("seed",)

    def __init__(self, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        super().__init__(scale=1.0, mode="fan_avg", distribution="truncated_normal", seed=seed)


zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
uniform_unit_scaling_initializer = UniformUnitScaling
variance_scaling_initializer = VarianceScaling
glorot_uniform_initializer = GlorotUniform
glorot_normal_initializer = GlorotNormal
orthogonal_initializer = Orthogonal
identity_initializer = Identity


def lecun_normal(seed: int | None = None) -> VarianceScaling:
    """LeCun's normal initializer: truncated, with the variance 1 / fan_in."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="truncated_normal", seed=seed)


def lecun_uniform(seed: int | None = None) -> VarianceScaling:
    """LeCun's uniform initializer: in ±sqrt(3 / fan_in)."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="uniform", seed=seed)


def he_normal(seed: int | None = None) -> VarianceScaling:
    """He's normal initializer: truncated, with the variance 2 / fan_in."""
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="truncated_normal", seed=seed)


def he_uniform(seed: int | None = None) -> VarianceScaling:
    """He's uniform initializer: in ±sqrt(6 / fan_in)."""
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="uniform", seed=seed)


def _compute_fans(shape: Any) -> tuple[int, int]:
    """The numbers of input and output units of a layer with weights of ``shape``."""
    dims = [int(d) for d in shape]
    if len(dims) < 1:
        return 1, 1
    if len(dims) == 1:
        return dims[0], dims[0]
    # In a convolution's weights every place of the kernel has the last two dimensions.
    places = math.prod(dims[:-2])
    return dims[-2] * places, dims[-1] * places
