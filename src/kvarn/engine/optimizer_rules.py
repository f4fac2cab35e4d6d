"""What an optimizer does to one entry of an embedding table: the specification of the kernels in native/src/kernels.

A rule sees the primary's row, the rows of its slots and the gradient, summed over equal keys. All is float32 and
rounded after every operation, in the order that is written here; the native kernels take the same order, so both
give the same bits. The two places where that needs care are `_powers` and `_norm`.

A rule knows nothing of graphs: numbers that are tensors in the op come as parameters, and a period of decay as the
quotient that the op has taken in integers.

Source: DeepRec tensorflow/core/kernels/training_ali_ops.cc; Momentum and RMSProp, which it has for ordinary variables
only: tensorflow/core/kernels/training_ops.cc.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]
Update = Callable[[Row, Sequence[Row], Row, Sequence[np.float32]], None]

_ONE: Final = np.float32(1)
_TWO: Final = np.float32(2)


class SlotShape(enum.Enum):
    """How many floats a slot has for each key."""

    LIKE_PRIMARY = enum.auto()
    ONE = enum.auto()

    def dim(self, primary_dim: int) -> int:
        return primary_dim if self is SlotShape.LIKE_PRIMARY else 1


@dataclass(frozen=True)
class OptimizerRule:
    """One optimizer on entries of an embedding table.

    Attributes:
      name: what `EmbeddingTable.apply` and the native core call it.
      slots: the shape of every slot that must be given, in order.
      params: names of the parameters, each a float32, in order; those of the op's inputs.
      update: ``update(value, slots, grad, params)`` changes the row ``value`` [dim] and those of the slots in place.
    """

    name: str
    slots: tuple[SlotShape, ...]
    params: tuple[str, ...]
    update: Update


def _gradient_descent(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    (alpha,) = params
    value -= alpha * grad


def _adagrad(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    (accum,) = slots
    (lr,) = params
    accum += grad * grad
    value -= lr * grad / np.sqrt(accum)


def _adagrad_decay(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    accum, power = slots
    lr, decay_rate, baseline, period = params
    # At most one decay a touch, however many periods went by, and the first element alone counts them: DeepRec.
    if period > power[0]:
        decayed = accum * decay_rate
        accum[...] = np.where(decayed < baseline, baseline, decayed)
        power[0] += _ONE
    _adagrad(value, (accum,), grad, (lr,))


def _alpha(lr: np.float32, beta1_power: np.float32, beta2_power: np.float32) -> np.float32:
    """The learning rate with Adam's correction for moments that start from zero."""
    alpha: np.float32 = lr * np.sqrt(_ONE - beta2_power) / (_ONE - beta1_power)
    return alpha


def _adam(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    m, v = slots
    beta1_power, beta2_power, lr, beta1, beta2, epsilon = params
    m += (grad - m) * (_ONE - beta1)
    v += (grad * grad - v) * (_ONE - beta2)
    value -= m * _alpha(lr, beta1_power, beta2_power) / (np.sqrt(v) + epsilon)


def _adam_async(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    m, v = slots
    beta1_power, beta2_power, lr, beta1, beta2, epsilon = params
    m[...] = m * beta1 + grad * (_ONE - beta1)
    v[...] = v * beta2 + grad * grad * (_ONE - beta2)
    value -= m * _alpha(lr, beta1_power, beta2_power) / (np.sqrt(v) + epsilon)


def _adam_async_sparse_rmsprop(
    value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]
) -> None:
    m, v = slots
    lr, beta1, beta2, epsilon = params
    v[...] = v * beta2 + grad * grad * (_ONE - beta2)
    m[...] = m * beta1 + lr * grad / np.sqrt(v + epsilon)
    value -= m


def _adam_w(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    m, v = slots
    beta1_power, beta2_power, lr, beta1, beta2, epsilon, weight_decay = params
    m += (grad - m) * (_ONE - beta1)
    v += (grad * grad - v) * (_ONE - beta2)
    value -= _alpha(lr, beta1_power, beta2_power) * (m / (np.sqrt(v) + epsilon) + weight_decay * value)


def _powers(accum: Row, exponent: np.float32) -> Row:
    """``accum ** exponent``, by the square root where that is what it means.

    The libraries of machines differ in the last bit of a float32 power, so it is taken in float64 and rounded once.
    Powers of NumPy's scalars are the C library's own; those of its arrays need not be.
    """
    if exponent == np.float32(0.5):
        return np.sqrt(accum)
    wide = np.float64(exponent)
    return np.array([np.float64(a) ** wide for a in accum], np.float32)


_LANES: Final = 8


def _norm(row: Row) -> np.float32:
    """The Euclidean norm. Squares are summed in eight lanes, element i in lane i % 8, and the lanes by halves."""
    squares = np.zeros(-(-len(row) // _LANES) * _LANES, np.float32)
    squares[: len(row)] = row * row
    lanes = np.zeros(_LANES, np.float32)
    for eight in squares.reshape(-1, _LANES):
        lanes += eight
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    norm: np.float32 = np.sqrt(lanes[0])
    return norm


def _ftrl(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    lr, l1, l2, lr_power = params
    _ftrl_step(value, slots, grad, grad, lr, l1, l2, lr_power)


def _ftrl_v2(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    lr, l1, l2, l2_shrinkage, lr_power = params
    _ftrl_step(value, slots, grad, grad + _TWO * l2_shrinkage * value, lr, l1, l2, lr_power)


def _ftrl_step(
    value: Row,
    slots: Sequence[Row],
    grad: Row,
    shrunk: Row,
    lr: np.float32,
    l1: np.float32,
    l2: np.float32,
    lr_power: np.float32,
) -> None:
    """FTRL with a penalty on the norm of the row, so that a row vanishes as a whole (group lasso)."""
    accum, linear = slots
    new_power = _powers(accum + shrunk * shrunk, -lr_power)
    linear += shrunk - (new_power - _powers(accum, -lr_power)) / lr * value
    norm = _norm(linear)
    if norm > l1:
        value[...] = (l1 - norm) / ((new_power / lr + _TWO * l2) * norm) * linear
    else:
        value[...] = 0
    accum += grad * grad


def _momentum(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    (accum,) = slots
    lr, momentum = params
    accum[...] = accum * momentum + grad
    value -= accum * lr


def _nesterov_momentum(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    (accum,) = slots
    lr, momentum = params
    accum[...] = accum * momentum + grad
    value -= grad * lr + accum * momentum * lr


def _rms_prop(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    ms, mom = slots
    lr, rho, momentum, epsilon = params
    ms += (grad * grad - ms) * (_ONE - rho)
    mom[...] = mom * momentum + grad * lr / np.sqrt(ms + epsilon)
    value -= mom


def _centered_rms_prop(value: Row, slots: Sequence[Row], grad: Row, params: Sequence[np.float32]) -> None:
    mg, ms, mom = slots
    lr, rho, momentum, epsilon = params
    ms += (grad * grad - ms) * (_ONE - rho)
    mg += (grad - mg) * (_ONE - rho)
    mom[...] = mom * momentum + grad * lr / np.sqrt(ms - mg * mg + epsilon)
    value -= mom


def _rule(name: str, slots: Sequence[SlotShape], params: str, update: Update) -> OptimizerRule:
    # Gradients that are not finite go through as IEEE has it, without a warning for each row.
    return OptimizerRule(name, tuple(slots), tuple(params.split()), np.errstate(all="ignore")(update))


_LIKE, _SINGLE = SlotShape.LIKE_PRIMARY, SlotShape.ONE
_DECAY = "lr accum_decay_rate accum_baseline period"
_ADAM = "beta1_power beta2_power lr beta1 beta2 epsilon"

# Lazy Adam has no rule of its own: it differs from Adam in leaving the moments of untouched rows alone, and a table
# touches no others.
RULES: Final = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            _rule("GradientDescent", [], "alpha", _gradient_descent),
            _rule("Adagrad", [_LIKE], "lr", _adagrad),
            _rule("AdagradDecay", [_LIKE, _LIKE], _DECAY, _adagrad_decay),
            _rule("AdagradDecayV2", [_LIKE, _SINGLE], _DECAY, _adagrad_decay),
            _rule("Adam", [_LIKE, _LIKE], _ADAM, _adam),
            _rule("AdamAsync", [_LIKE, _LIKE], _ADAM, _adam_async),
            _rule(
                "AdamAsyncSparseRmsprop", [_LIKE, _LIKE], "lr beta1 beta2 epsilon", _adam_async_sparse_rmsprop
            ),
            _rule("AdamW", [_LIKE, _LIKE], f"{_ADAM} weight_decay", _adam_w),
            _rule("Ftrl", [_LIKE, _LIKE], "lr l1 l2 lr_power", _ftrl),
            _rule("FtrlV2", [_LIKE, _LIKE], "lr l1 l2 l2_shrinkage lr_power", _ftrl_v2),
            _rule("Momentum", [_LIKE], "lr momentum", _momentum),
            _rule("NesterovMomentum", [_LIKE], "lr momentum", _nesterov_momentum),
            _rule("RMSProp", [_LIKE, _LIKE], "lr rho momentum epsilon", _rms_prop),
            _rule("CenteredRMSProp", [_LIKE, _LIKE, _LIKE], "lr rho momentum epsilon", _centered_rms_prop),
        )
    }
)
