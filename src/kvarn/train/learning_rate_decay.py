"""Learning rates that change with the step.

Source: tensorflow/python/training/learning_rate_decay.py and
tensorflow/python/keras/optimizer_v2/learning_rate_schedule.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant, convert_n_to_tensor, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import comparison, math, random
from kvarn.ops.casting import cast
from kvarn.ops.conditional import case, cond


def _initial(learning_rate: Any) -> Tensor:
    return convert_to_tensor(learning_rate, name="initial_learning_rate")


def _part_done(global_step: Any, decay_steps: Any, staircase: bool) -> Any:
    p = global_step / decay_steps
    return math.floor(p) if staircase else p


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """``learning_rate * decay_rate ** (global_step / decay_steps)``.

    Args:
      staircase: round the exponent down.
    """
    with name_scope(name or "ExponentialDecay") as scope:
        initial = _initial(learning_rate)
        steps, rate = cast(decay_steps, initial.dtype), cast(decay_rate, initial.dtype)
        p = _part_done(cast(global_step, initial.dtype), steps, staircase)
        result: Tensor = math.multiply(initial, math.pow(rate, p), name=scope)
        return result


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """``learning_rate * exp(-decay_rate * global_step / decay_steps)``; see `exponential_decay`."""
    rate = math.exp(math.negative(decay_rate))
    return exponential_decay(learning_rate, global_step, decay_steps, rate, staircase, name)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """``learning_rate / (1 + decay_rate * global_step / decay_steps)``.

    Args:
      staircase: round the fraction down.
    """
    with name_scope(name or "InverseTimeDecay") as scope:
        initial = _initial(learning_rate)
        steps, rate = cast(decay_steps, initial.dtype), cast(decay_rate, initial.dtype)
        p = _part_done(cast(global_step, initial.dtype), steps, staircase)
        one = cast(constant(1), initial.dtype)
        result: Tensor = math.divide(initial, math.add(one, math.multiply(rate, p)), name=scope)
        return result


def piecewise_constant(x: Any, boundaries: Any, values: Any, name: str | None = None) -> Tensor:
    """``values[i]`` for ``x`` up to ``boundaries[i]``, the last one beyond.

    Raises:
      ValueError: element types differ.
    """
    limits, values, x = convert_n_to_tensor(boundaries), convert_n_to_tensor(values), convert_to_tensor(x)
    for i, b in enumerate(limits):
        if b.dtype.base_dtype is not x.dtype.base_dtype:
            if b.dtype.base_dtype is not dtypes.int32 or x.dtype.base_dtype is not dtypes.int64:
                raise ValueError(
                    f"Boundaries ({b.dtype.base_dtype}) must have the same dtype as x ({x.dtype.base_dtype})."
                )
            limits[i] = cast(b, x.dtype.base_dtype)
    for v in values[1:]:
        if v.dtype.base_dtype is not values[0].dtype.base_dtype:
            raise ValueError(
                "Values must have elements all with the same dtype "
                f"({values[0].dtype.base_dtype} vs {v.dtype.base_dtype})."
            )
    with name_scope(name or "PiecewiseConstant"):
        pairs: list[Any] = [(x <= limits[0], lambda: values[0]), (x > limits[-1], lambda: values[-1])]
        for low, high, v in zip(limits[:-1], limits[1:], values[1:-1], strict=True):
            pairs.append(((x > low) & (x <= high), lambda v=v: v))
        result: Tensor = case(pairs, lambda: values[0], exclusive=True)
        return result


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Tensor:
    """From ``learning_rate`` to ``end_learning_rate`` in ``decay_steps``, by the ``power`` of what is left.

    Args:
      cycle: behind the end go on with the next multiple of ``decay_steps``.
    """
    with name_scope(name or "PolynomialDecay") as scope:
        initial = _initial(learning_rate)
        end, exponent = cast(end_learning_rate, initial.dtype), cast(power, initial.dtype)
        step, steps = cast(global_step, initial.dtype), cast(decay_steps, initial.dtype)
        if cycle:
            rounds = cond(comparison.equal(step, 0), lambda: 1.0, lambda: math.ceil(step / decay_steps))
            steps = math.multiply(steps, rounds)
        else:
            step = math.minimum(step, decay_steps)
        p = math.divide(step, steps)
        left = math.multiply(initial - end, math.pow(1 - p, exponent))
        result: Tensor = math.add(left, end, name=scope)
        return result


def cosine_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, alpha: float = 0.0, name: str | None = None
) -> Tensor:
    """Half a cosine from ``learning_rate`` down to ``alpha`` times it.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017.
    """
    with name_scope(name or "CosineDecay"):
        initial = _initial(learning_rate)
        steps = cast(decay_steps, initial.dtype)
        done = math.minimum(cast(global_step, initial.dtype), steps) / steps
        decayed = (1 - alpha) * _half_cosine(0.5, done) + alpha
        result: Tensor = math.multiply(initial, decayed)
        return result


def _half_cosine(factor: Any, fraction: Any) -> Any:
    return factor * (1.0 + math.cos(constant(_math.pi) * fraction))


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Tensor:
    """`cosine_decay` again and again, each time ``t_mul`` times as long, from ``m_mul`` times as high."""
    with name_scope(name or "SGDRDecay") as scope:
        initial = _initial(learning_rate)
        dtype = initial.dtype
        first, lowest = cast(first_decay_steps, dtype), cast(alpha, dtype)
        longer, lower = cast(t_mul, dtype), cast(m_mul, dtype)
        done = cast(global_step, dtype) / first

        def equal_periods() -> Any:
            number = math.floor(done)
            return number, done - number

        def growing_periods() -> Any:
            number = math.floor(math.log(1.0 - done * (1.0 - longer)) / math.log(longer))
            before = (1.0 - longer**number) / (1.0 - longer)
            return number, (done - before) / longer**number

        number, fraction = cond(comparison.equal(longer, 1.0), equal_periods, growing_periods)
        decayed = (1 - lowest) * _half_cosine(0.5 * lower**number, fraction) + lowest
        result: Tensor = math.multiply(initial, decayed, name=scope)
        return result


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Tensor:
    """``(alpha + linear) * cosine + beta``, both from 1 down to 0 in ``decay_steps``.

    Source: Bello et al., Neural Optimizer Search with Reinforcement Learning, ICML 2017.
    """
    with name_scope(name or "LinearCosineDecay") as scope:
        initial = _initial(learning_rate)
        dtype = initial.dtype
        steps, periods = cast(decay_steps, dtype), cast(num_periods, dtype)
        above, last = cast(alpha, dtype), cast(beta, dtype)
        step = math.minimum(cast(global_step, dtype), steps)
        linear = (steps - step) / steps
        cosine = _half_cosine(0.5, 2.0 * periods * (step / steps))
        result: Tensor = math.multiply(initial, (above + linear) * cosine + last, name=scope)
        return result


def noisy_linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    initial_variance: float = 1.0,
    variance_decay: float = 0.55,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Tensor:
    """`linear_cosine_decay` with noise of variance ``initial_variance / (1 + step) ** variance_decay``."""
    with name_scope(name or "NoisyLinearCosineDecay") as scope:
        initial = _initial(learning_rate)
        dtype = initial.dtype
        steps = cast(decay_steps, dtype)
        first_variance, exponent = cast(initial_variance, dtype), cast(variance_decay, dtype)
        periods, above, last = (cast(x, dtype) for x in (num_periods, alpha, beta))
        step = math.minimum(cast(global_step, dtype), steps)
        linear = (steps - step) / steps
        deviation = math.sqrt(first_variance / math.pow(1.0 + step, exponent))
        noisy = linear + random.random_normal(linear.shape, stddev=deviation)
        cosine = _half_cosine(0.5, 2.0 * periods * (step / steps))
        result: Tensor = math.multiply(initial, (above + noisy) * cosine + last, name=scope)
        return result
