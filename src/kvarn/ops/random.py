"""Random numbers, the same as TensorFlow's for the same seeds.

A node's numbers follow from its two seeds (`kvarn.graph.random_seed`) and from how often it has run in the
session.

Source: tensorflow/core/ops/random_ops.cc, tensorflow/core/kernels/{random_op,random_shuffle_op,
multinomial_op}.cc, tensorflow/python/ops/random_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import random_seed, tensor_util
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import KERNEL_STATE, ResourceHandle
from kvarn.graph.tensor import Tensor
from kvarn.ops import _philox

_SEEDS = ["seed: int = 0", "seed2: int = 0"]


def generator_of(ctx: Any) -> _philox.GuardedPhilox:
    """The generator of the node in its session, whatever else is fetched along with it."""
    found: _philox.GuardedPhilox | None = ctx.cache
    if found is None:
        handle = ResourceHandle(KERNEL_STATE, ctx.op.name, "RandomGenerator")
        attrs = ctx.attrs
        found = ctx.cache = ctx.resources.look_up_or_create(
            handle, lambda: _philox.GuardedPhilox(attrs["seed"], attrs["seed2"])
        )
    return found


def _output_shape(shape: Any) -> tuple[int, ...]:
    """The value of a shape input."""
    dims = np.asarray(shape)
    if dims.ndim != 1:
        raise errors.InvalidArgumentError.of(
            f"shape must be a vector of {{int32,int64}}, got shape {shapes.fmt(dims.shape)}"
        )
    if dims.size and dims.min() < 0:
        raise errors.InvalidArgumentError.of(f"Dimension {dims.min()} must be >= 0")
    return tuple(int(d) for d in dims)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for d in shape:
        total *= d
    return total


def _shape_from_input(c: Any, *unused: Any) -> Any:
    return c.constant_shape(0)


def _drawing(draw: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel that fills an output with ``draw(generator, count, dtype)``."""

    def kernel(ctx: Any, shape: Any) -> Any:
        dims = _output_shape(shape)
        count = _count(dims)
        return draw(generator_of(ctx).reserve_outputs(count), count, ctx.attrs["dtype"].np).reshape(dims)

    return kernel


@op(
    "RandomUniform",
    inputs="shape: T",
    outputs="output: dtype",
    attrs=[*_SEEDS, "dtype: {half,bfloat16,float,double}", "T: {int32, int64}"],
    stateful=True,
)
class random_uniform_:
    """Numbers of the uniform distribution on [0, 1)."""

    shape = _shape_from_input
    kernel = _drawing(_philox.uniform)
    grad = NOT_DIFFERENTIABLE


def _int_shape(c: Any, shape: Any, minval: Any, maxval: Any) -> Any:
    shapes.with_rank(minval, 0)
    shapes.with_rank(maxval, 0)
    return c.constant_shape(0)


@op(
    "RandomUniformInt",
    inputs=["shape: T", "minval: Tout", "maxval: Tout"],
    outputs="output: Tout",
    attrs=[*_SEEDS, "Tout: {int32, int64}", "T: {int32, int64}"],
    stateful=True,
)
class random_uniform_int:
    """Integers in [minval, maxval)."""

    shape = _int_shape

    def kernel(ctx: Any, shape: Any, minval: Any, maxval: Any) -> Any:
        for name, bound in (("minval", minval), ("maxval", maxval)):
            if np.ndim(bound) != 0:
                raise errors.InvalidArgumentError.of(
                    f"{name} must be 0-D, got shape {shapes.fmt(np.shape(bound))}"
                )
        dims = _output_shape(shape)
        dtype = ctx.attrs["Tout"].np
        count = _count(dims)
        if count == 0:
            return np.empty(dims, dtype)
        lo, hi = int(minval), int(maxval)
        if lo >= hi:
            raise errors.InvalidArgumentError.of(f"Need minval < maxval, got {lo} >= {hi}")
        generator = generator_of(ctx).reserve_outputs(count)
        return _philox.uniform_int(generator, count, lo, hi, dtype).reshape(dims)

    grad = NOT_DIFFERENTIABLE


@op(
    "RandomStandardNormal",
    inputs="shape: T",
    outputs="output: dtype",
    attrs=[*_SEEDS, "dtype: {half,bfloat16,float,double}", "T: {int32, int64}"],
    stateful=True,
)
class random_standard_normal:
    """Numbers of the normal distribution with mean 0 and standard deviation 1."""

    shape = _shape_from_input
    kernel = _drawing(_philox.normal)
    grad = NOT_DIFFERENTIABLE


@op(
    "TruncatedNormal",
    inputs="shape: T",
    outputs="output: dtype",
    attrs=[*_SEEDS, "dtype: {half,bfloat16,float,double}", "T: {int32, int64}"],
    stateful=True,
)
class truncated_normal_:
    """Numbers of the standard normal distribution inside (-2, 2)."""

    shape = _shape_from_input
    kernel = _drawing(_philox.truncated_normal)
    grad = NOT_DIFFERENTIABLE


@op(
    "RandomShuffle",
    inputs="value: T",
    outputs="output: T",
    attrs=[*_SEEDS, "T: type"],
    stateful=True,
)
class random_shuffle_:
    """The rows of ``value`` in random order."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, value: Any) -> Any:
        if value.size <= 1 or value.shape[0] <= 1:
            return value
        size = value.shape[0]
        blocks = (size + 2) // 4
        generator = generator_of(ctx).reserve_blocks(blocks)
        draws = generator.blocks(np.arange(blocks, dtype=np.uint64)).reshape(-1)[: size - 1]
        left = np.arange(size, 1, -1, dtype=np.uint32)
        order = list(range(size))
        # Each place takes one of those not placed yet, its own included.
        for i, step in enumerate((draws % left).tolist()):
            order[i], order[i + step] = order[i + step], order[i]
        return value[order]


def _multinomial_shape(c: Any, logits: Any, num_samples: Any) -> Any:
    shapes.with_rank(num_samples, 0)
    value = c.constant_value(1)
    return (shapes.with_rank(logits, 2)[0], None if value is None else int(value))


@op(
    "Multinomial",
    inputs=["logits: T", "num_samples: int32"],
    outputs="output: output_dtype",
    attrs=[*_SEEDS, "T: realnumbertype", "output_dtype: {int32, int64} = DT_INT64"],
    stateful=True,
)
class multinomial_:
    """Classes drawn for each row by the probabilities ``softmax(logits)``."""

    shape = _multinomial_shape

    def kernel(ctx: Any, logits: Any, num_samples: Any) -> Any:
        if np.ndim(logits) != 2:
            raise errors.InvalidArgumentError.of(
                f"logits should be a matrix, got shape {shapes.fmt(np.shape(logits))}"
            )
        if np.ndim(num_samples) != 0:
            raise errors.InvalidArgumentError.of(
                f"num_samples should be a scalar, got shape {shapes.fmt(np.shape(num_samples))}"
            )
        samples = int(num_samples)
        rows, classes = logits.shape
        if samples < 0:
            raise errors.InvalidArgumentError.of(f"num_samples should be nonnegative, got {samples}")
        if classes <= 0:
            raise errors.InvalidArgumentError.of(f"num_classes should be positive, got {classes}")
        out = np.empty((rows, samples), ctx.attrs["output_dtype"].np)
        if out.size == 0:
            return out
        generator = generator_of(ctx).reserve_outputs(rows * ((samples + 3) // 4 * 4 * 2))
        draws = _philox.uniform(generator, rows * samples, np.float64).reshape(rows, samples)
        for row, (values, draw) in enumerate(zip(logits, draws, strict=True)):
            finite = np.isfinite(values)
            wide = values.astype(np.float64)
            top = wide[finite].max() if finite.any() else float(np.finfo(np.float32).min)
            weights = np.where(finite, np.exp(np.where(finite, wide, top) - top), 0.0)
            cumulated = np.cumsum(weights)
            out[row] = np.searchsorted(cumulated, draw * cumulated[-1], side="right")
        return out

    grad = NOT_DIFFERENTIABLE


# -- functions of tf -------------------------------------------------------------------------------


def random_uniform(
    shape: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers of the uniform distribution on [minval, maxval).

    Args:
      shape: int vector, the shape of the result.
      minval, maxval: scalars; 0 and, for floats, 1 by default.
      dtype: a floating type, int32 or int64.
      seed: of the operation; see `tf.set_random_seed`.

    Raises:
      ValueError: the type is another one, or an integer type without ``maxval``.
    """
    from kvarn.ops import math

    kind = dtypes.as_dtype(dtype)
    allowed = (
        dtypes.float16,
        dtypes.bfloat16,
        dtypes.float32,
        dtypes.float64,
        dtypes.int32,
        dtypes.int64,
    )
    if kind not in allowed:
        raise ValueError(f"Invalid dtype {kind!r}")
    if maxval is None:
        if kind.is_integer:
            raise ValueError(f"Must specify maxval for integer dtype {kind!r}")
        maxval = 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        shape = tensor_util.shape_tensor(shape)
        low = convert_to_tensor(minval, dtype=kind, name="min")
        high = convert_to_tensor(maxval, dtype=kind, name="max")
        seed1, seed2 = random_seed.get_seed(seed)
        result: Tensor
        if kind.is_integer:
            result = random_uniform_int(shape, low, high, seed=seed1, seed2=seed2, name=scope)
            return result
        numbers = random_uniform_(shape, kind, seed=seed1, seed2=seed2)
        span = math.subtract(high, low, name="sub")
        result = math.add(math.multiply(numbers, span, name="mul"), low, name=scope)
        return result


def _scaled(numbers: Tensor, mean: Tensor, stddev: Tensor, scope: str) -> Tensor:
    from kvarn.ops import math

    result: Tensor = math.add(math.multiply(numbers, stddev, name="mul"), mean, name=scope)
    return result


def random_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers of a normal distribution.

    Args:
      shape: int vector, the shape of the result.
      mean, stddev: scalars or tensors that broadcast.
      dtype: a floating type.
      seed: of the operation; see `tf.set_random_seed`.
    """
    with name_scope(name, "random_normal", [shape, mean, stddev]) as scope:
        shape = tensor_util.shape_tensor(shape)
        mean = convert_to_tensor(mean, dtype=dtype, name="mean")
        stddev = convert_to_tensor(stddev, dtype=dtype, name="stddev")
        seed1, seed2 = random_seed.get_seed(seed)
        return _scaled(random_standard_normal(shape, dtype, seed=seed1, seed2=seed2), mean, stddev, scope)


def truncated_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers of a normal distribution without those two standard deviations and more from the mean.

    Args:
      shape: int vector, the shape of the result.
      mean, stddev: of the distribution before it is cut; scalars or tensors that broadcast.
      dtype: a floating type.
      seed: of the operation; see `tf.set_random_seed`.
    """
    with name_scope(name, "truncated_normal", [shape, mean, stddev]) as scope:
        shape = tensor_util.shape_tensor(shape)
        mean = convert_to_tensor(mean, dtype=dtype, name="mean")
        stddev = convert_to_tensor(stddev, dtype=dtype, name="stddev")
        seed1, seed2 = random_seed.get_seed(seed)
        return _scaled(truncated_normal_(shape, dtype, seed=seed1, seed2=seed2), mean, stddev, scope)


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The rows of ``value``, [n, ...], in random order."""
    seed1, seed2 = random_seed.get_seed(seed)
    result: Tensor = random_shuffle_(value, seed=seed1, seed2=seed2, name=name)
    return result


def multinomial(
    logits: Any, num_samples: Any, seed: int | None = None, name: str | None = None, output_dtype: Any = None
) -> Tensor:
    """Classes drawn at random.

    Args:
      logits: [batch, classes], logarithms of unnormalized probabilities.
      num_samples: scalar, how many to draw for each row.
      output_dtype: int32 or int64, which is the default.

    Returns:
      [batch, num_samples].
    """
    with name_scope(name, "multinomial", [logits]):
        return _categorical(logits, num_samples, output_dtype, seed)


def categorical(
    logits: Any, num_samples: Any, dtype: Any = None, seed: int | None = None, name: str | None = None
) -> Tensor:
    """`multinomial` by its newer name."""
    with name_scope(name, "categorical", [logits]):
        return _categorical(logits, num_samples, dtype, seed)


def _categorical(logits: Any, num_samples: Any, dtype: Any, seed: int | None) -> Tensor:
    logits = convert_to_tensor(logits, name="logits")
    seed1, seed2 = random_seed.get_seed(seed)
    result: Tensor = multinomial_(
        logits, num_samples, seed=seed1, seed2=seed2, output_dtype=dtypes.as_dtype(dtype or dtypes.int64)
    )
    return result
