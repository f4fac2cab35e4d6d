"""The rules of the optimizers: what one step does to a variable and its slots.

Each is a function ``rule(attrs, *arrays, *others)`` with the arrays of the variable and its slots, which it
changes in place, and the op's other inputs in order, without indices; ``attrs`` are the op's attributes.
Operations come in TensorFlow's order, so that results are its own to the last bit or two.

Source: tensorflow/core/kernels/training_ops.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def gradient_descent(attrs: Any, var: Array, alpha: Any, delta: Any) -> None:
    var -= delta * alpha


def proximal_gradient_descent(attrs: Any, var: Array, alpha: Any, l1: Any, l2: Any, delta: Any) -> None:
    var -= delta * alpha
    _shrink(var, alpha, l1, l2)


def _shrink(var: Array, rate: Any, l1: Any, l2: Any) -> None:
    """The proximal step for L1 and L2 penalties, after the gradient step."""
    one = var.dtype.type(1)
    if l1 > 0:
        var[...] = np.sign(var) * np.maximum(np.abs(var) - rate * l1, var.dtype.type(0)) / (one + l2 * rate)
    else:
        var /= one + l2 * rate


def adadelta(
    attrs: Any, var: Array, accum: Array, accum_update: Array, lr: Any, rho: Any, epsilon: Any, grad: Any
) -> None:
    rest = accum.dtype.type(1) - rho
    accum *= rho
    accum += np.square(grad) * rest
    update = np.sqrt(accum_update + epsilon) / np.sqrt(accum + epsilon) * grad
    var -= update * lr
    accum_update *= rho
    accum_update += np.square(update) * rest


def adagrad(attrs: Any, var: Array, accum: Array, lr: Any, grad: Any) -> None:
    if attrs["update_slots"]:
        accum += np.square(grad)
    # By the reciprocal, as Eigen does: more results are equal to the last bit.
    var -= grad * lr * (accum.dtype.type(1) / np.sqrt(accum))


def adagrad_v2(attrs: Any, var: Array, accum: Array, lr: Any, epsilon: Any, grad: Any) -> None:
    if attrs["update_slots"]:
        accum += np.square(grad)
    var -= grad * lr / (np.sqrt(accum) + epsilon)


def proximal_adagrad(attrs: Any, var: Array, accum: Array, lr: Any, l1: Any, l2: Any, grad: Any) -> None:
    accum += np.square(grad)
    rate = lr / np.sqrt(accum)
    var -= grad * rate
    _shrink(var, rate, l1, l2)


def adagrad_da(
    attrs: Any,
    var: Array,
    gradient: Array,
    squared: Array,
    grad: Any,
    lr: Any,
    l1: Any,
    l2: Any,
    global_step: Any,
) -> None:
    steps = var.dtype.type(global_step)
    gradient += grad
    squared += np.square(grad)
    kept = gradient
    if l1 > 0:
        kept = np.sign(gradient) * np.maximum(np.abs(gradient) - steps * l1, var.dtype.type(0))
    var[...] = -lr * kept / (l2 * (steps * lr) + np.sqrt(squared))


def ftrl(
    attrs: Any, var: Array, accum: Array, linear: Array, grad: Any, lr: Any, l1: Any, l2: Any, lr_power: Any
) -> None:
    ftrl_v2(attrs, var, accum, linear, grad, lr, l1, l2, None, lr_power)


def ftrl_v2(
    attrs: Any,
    var: Array,
    accum: Array,
    linear: Array,
    grad: Any,
    lr: Any,
    l1: Any,
    l2: Any,
    l2_shrinkage: Any,
    lr_power: Any,
) -> None:
    two = var.dtype.type(2)
    shrunk = grad if l2_shrinkage is None else grad + two * l2_shrinkage * var
    squared = np.square(grad)
    new = accum + squared
    if lr_power == -0.5:
        new_power, old_power = np.sqrt(new), np.sqrt(accum)
    else:
        new_power, old_power = np.power(new, -lr_power), np.power(accum, -lr_power)
    linear += shrunk - (new_power - old_power) / lr * var
    moved = (l1 * np.sign(linear) - linear) / (new_power / lr + two * l2)
    var[...] = np.where(np.abs(linear) > l1, moved, var.dtype.type(0))
    accum += squared


def momentum(attrs: Any, var: Array, accum: Array, lr: Any, grad: Any, momentum: Any) -> None:
    accum *= momentum
    accum += grad
    var -= grad * lr + accum * momentum * lr if attrs["use_nesterov"] else accum * lr


def keras_momentum(attrs: Any, var: Array, accum: Array, lr: Any, grad: Any, momentum: Any) -> None:
    step = grad * lr
    accum *= momentum
    accum -= step
    var += accum * momentum - step if attrs["use_nesterov"] else accum


def adam(
    attrs: Any,
    var: Array,
    m: Array,
    v: Array,
    beta1_power: Any,
    beta2_power: Any,
    lr: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    grad: Any,
) -> None:
    one = var.dtype.type(1)
    alpha = lr * np.sqrt(one - beta2_power) / (one - beta1_power)
    m += (grad - m) * (one - beta1)
    v += (np.square(grad) - v) * (one - beta2)
    step = grad * (one - beta1) + beta1 * m if attrs["use_nesterov"] else m
    var -= (step * alpha) / (np.sqrt(v) + epsilon)


def adam_with_amsgrad(
    attrs: Any,
    var: Array,
    m: Array,
    v: Array,
    vhat: Array,
    beta1_power: Any,
    beta2_power: Any,
    lr: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    grad: Any,
) -> None:
    one = var.dtype.type(1)
    alpha = lr * np.sqrt(one - beta2_power) / (one - beta1_power)
    m += (grad - m) * (one - beta1)
    v += (np.square(grad) - v) * (one - beta2)
    np.maximum(vhat, v, out=vhat)
    var -= (m * alpha) / (np.sqrt(vhat) + epsilon)


def ada_max(
    attrs: Any,
    var: Array,
    m: Array,
    v: Array,
    beta1_power: Any,
    lr: Any,
    beta1: Any,
    beta2: Any,
    epsilon: Any,
    grad: Any,
) -> None:
    one = var.dtype.type(1)
    m += (grad - m) * (one - beta1)
    np.maximum(beta2 * v, np.abs(grad), out=v)
    var -= lr / (one - beta1_power) * (m / (v + epsilon))


def rms_prop(
    attrs: Any, var: Array, ms: Array, mom: Array, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
) -> None:
    ms += (np.square(grad) - ms) * (ms.dtype.type(1) - rho)
    mom *= momentum
    mom += (grad * lr) / np.sqrt(ms + epsilon)
    var -= mom


def centered_rms_prop(
    attrs: Any,
    var: Array,
    mg: Array,
    ms: Array,
    mom: Array,
    lr: Any,
    rho: Any,
    momentum: Any,
    epsilon: Any,
    grad: Any,
) -> None:
    rest = ms.dtype.type(1) - rho
    ms += (np.square(grad) - ms) * rest
    mg += (grad - mg) * rest
    mom *= momentum
    mom += (grad * lr) / np.sqrt((ms - np.square(mg)) + epsilon)
    var -= mom


def add_sign(
    attrs: Any, var: Array, m: Array, lr: Any, alpha: Any, sign_decay: Any, beta: Any, grad: Any
) -> None:
    m *= beta
    m += grad * (m.dtype.type(1) - beta)
    var -= lr * (alpha + sign_decay * (np.sign(grad) * np.sign(m))) * grad


def power_sign(
    attrs: Any, var: Array, m: Array, lr: Any, logbase: Any, sign_decay: Any, beta: Any, grad: Any
) -> None:
    m *= beta
    m += grad * (m.dtype.type(1) - beta)
    var -= lr * np.exp(logbase * sign_decay * (np.sign(grad) * np.sign(m))) * grad
