"""Updates of ordinary variables by the two rules that DeepRec has beside TensorFlow's: AdagradDecay and AdamAsync.

Both keep numbers beside the rows: AdagradDecay the decays done so far, AdamAsync the powers of its betas.

Source: tensorflow/core/ops/training_ali_ops.cc and tensorflow/core/kernels/training_ali_ops.cc of DeepRec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction, op
from kvarn.graph.resources import locked
from kvarn.graph.shape_inference import InferenceContext, Shape, fmt, merge, with_rank
from kvarn.ops import training_rules as rules
from kvarn.ops.training import check_rows, check_scalars, holders, rounds, same_shape, shape_at

Array = npt.NDArray[Any]
# update(attrs, arrays of the variables, the other inputs by name, rows to change or None for all)
Update = Callable[[Any, Sequence[Array], dict[str, Any], Any], None]


def _declare(
    name: str,
    variables: str,
    numbers: str,
    inputs: str,
    doc: str,
    update: Update,
    attrs: Sequence[str] = (),
    per_row: bool = False,
) -> Callable[[str], OpFunction]:
    """What makes the ops of a rule, by the op type's beginning: "", "Resource", "Sparse", "ResourceSparse".

    Args:
      variables: names of the variable and of the slots of its shape.
      numbers: names of the variables behind them, which may have any shape; not of type T when they say so.
      inputs: the other inputs but the gradient; those not of type T say their type.
      per_row: the sparse forms need a number for each row.
    """
    rows = variables.split()
    kept = [x.partition(":")[0] for x in numbers.split()]
    held = rows + kept
    scalars = [x.partition(":")[0] for x in inputs.split()]

    def make(kind: str) -> OpFunction:
        sparse, resource = kind.endswith("Sparse"), kind.startswith("Resource")
        names = [*held, *scalars, "grad", *(["indices"] if sparse else [])]
        grad = names.index("grad")

        def kernel(ctx: Any, *args: Any) -> Any:
            values = dict(zip(names, args, strict=True))
            variables = holders(ctx, args[: len(held)])
            with locked(variables):
                arrays = [v.writable() for v in variables]
                for i in range(1, len(rows)):
                    same_shape(arrays[0], arrays[i], rows[0], rows[i])
                check_scalars(scalars, [values[x] for x in scalars])
                if sparse:
                    check_rows(arrays[0], values["grad"], values["indices"])
                else:
                    same_shape(arrays[0], values["grad"], rows[0], "grad")
                for x, array in zip(kept, arrays[len(rows) :], strict=True):
                    _check_size(x, array, len(arrays[0]) if sparse and per_row else 1)
                if not sparse or len(values["indices"]):
                    update(ctx.attrs, arrays, values, values.get("indices"))
            return None if resource else args[0]

        def shape(c: InferenceContext, *shapes: Shape) -> Any:
            out = shape_at(c, 0)
            for i in range(1, len(rows)):
                out = merge(out, shape_at(c, i))
            for i in range(len(held), grad):
                with_rank(shapes[i], 0)
            d = shapes[grad]
            if not sparse:
                out = merge(out, d)
            else:
                (n,) = with_rank(shapes[grad + 1], 1)
                if d is not None:
                    merge(d[:1], (n,))
                    merge(out, (None, *d[1:]))
            return [] if resource else out

        def declared(x: str, variable: bool) -> str:
            input_name, _, dtype = x.partition(":")
            dtype = dtype or "T"
            if variable:
                dtype = "resource" if resource else f"Ref({dtype})"
            return f"{input_name}: {dtype}"

        body = {
            "__doc__": doc + (" Of the rows ``indices``." if sparse else ""),
            "__module__": __name__,
            "shape": staticmethod(shape),
            "kernel": staticmethod(kernel),
            "grad": NOT_DIFFERENTIABLE,
        }
        return op(
            f"{kind}Apply{name}",
            inputs=[
                *(declared(x, True) for x in (*rows, *numbers.split())),
                *(declared(x, False) for x in inputs.split()),
                "grad: T",
                *(["indices: Tindices"] if sparse else []),
            ],
            outputs=[] if resource else ["out: Ref(T)"],
            attrs=[
                "T: numbertype",
                *(["Tindices: {int32, int64}"] if sparse else []),
                *(["Tstep: {int32, int64}"] if "Tstep" in inputs else []),
                "use_locking: bool = false",
                *(a for a in attrs if ("sparse" in a) == sparse),
            ],
        )(type(f"{kind}Apply{name}", (), body))

    return make


def _check_size(name: str, numbers: Array, least: int) -> None:
    if numbers.size < least:
        raise errors.InvalidArgumentError.of(
            f"{name} has shape {fmt(numbers.shape)}, expected at least {least} elements"
        )


def quotient(step: Any, decay_step: Any) -> int:
    """How many whole periods of ``decay_step`` have gone by at ``step``, rounded towards zero like C's.

    Raises:
      InvalidArgumentError: ``decay_step`` is not positive.
    """
    now, period = int(step), int(decay_step)
    if period <= 0:
        raise errors.InvalidArgumentError.of(
            f"accum_decay_step must be positive: {period}",
            hint="It is how many steps lie between two decays.",
        )
    return abs(now) // period * (-1 if now < 0 else 1)


def _adagrad_decay(attrs: Any, arrays: Sequence[Array], values: dict[str, Any], indices: Any) -> None:
    var, accum, power = arrays
    period = quotient(values["global_step"], values["accum_decay_step"])
    rate, baseline, lr, grad = (values[x] for x in ("accum_decay_rate", "accum_baseline", "lr", "grad"))
    # The decays of a row are counted by the element of its number, whatever shape the counters have: DeepRec.
    counters = power.reshape(-1)
    always = {"update_slots": True}
    if indices is None:
        if period > counters[0]:
            counters[0] += 1
            accum[...] = np.maximum(accum * rate, baseline)
        rules.adagrad(always, var, accum, lr, grad)
        return
    for chosen in rounds(indices):
        rows = indices[chosen]
        decays = period > counters[rows]
        accum[rows[decays]] = np.maximum(accum[rows[decays]] * rate, baseline)
        counters[rows] += decays
        parts = var[rows], accum[rows]
        rules.adagrad(always, *parts, lr, grad[chosen])
        var[rows], accum[rows] = parts


def _adam_async(attrs: Any, arrays: Sequence[Array], values: dict[str, Any], indices: Any) -> None:
    var, m, v, *powers = arrays
    lr, beta1, beta2, epsilon, grad = (values[x] for x in ("lr", "beta1", "beta2", "epsilon", "grad"))
    one = var.dtype.type(1)
    if indices is not None and attrs["apply_sparse_rmsprop"]:
        for chosen in rounds(indices):
            rows, g = indices[chosen], grad[chosen]
            v[rows] = v[rows] * beta2 + np.square(g) * (one - beta2)
            m[rows] = m[rows] * beta1 + one / np.sqrt(v[rows] + epsilon) * lr * g
            var[rows] -= m[rows]
        return
    beta1_power, beta2_power = (power.reshape(-1)[0] for power in powers)
    alpha = lr * np.sqrt(one - beta2_power) / (one - beta1_power)
    for chosen in [...] if indices is None else rounds(indices):
        rows = ... if indices is None else indices[chosen]
        g = grad[chosen]
        m[rows] = m[rows] * beta1 + g * (one - beta1)
        v[rows] = v[rows] * beta2 + np.square(g) * (one - beta2)
        step = m[rows]
        if indices is None and attrs["use_nesterov"]:
            step = g * (one - beta1) + beta1 * step
        var[rows] -= step * alpha / (np.sqrt(v[rows]) + epsilon)
    powers[0] *= beta1
    powers[1] *= beta2


_make = _declare(
    "AdagradDecay",
    "var accum",
    "accum_decay_power:Tstep",
    "lr accum_decay_step:Tstep accum_decay_rate accum_baseline global_step:Tstep",
    "Adagrad whose ``accum`` decays, not below ``accum_baseline``, once a period of ``accum_decay_step`` steps.",
    _adagrad_decay,
    per_row=True,
)
apply_adagrad_decay, resource_apply_adagrad_decay = _make(""), _make("Resource")
sparse_apply_adagrad_decay, resource_sparse_apply_adagrad_decay = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    "AdamAsync",
    "var m v",
    "beta1_power beta2_power",
    "lr beta1 beta2 epsilon",
    "One step of Adam with powers of its own, which it multiplies; of rows also RMSProp with momentum.",
    _adam_async,
    ["use_nesterov: bool = false", "apply_sparse_rmsprop: bool = false"],
)
apply_adam_async, resource_apply_adam_async = _make(""), _make("Resource")
sparse_apply_adam_async, resource_sparse_apply_adam_async = _make("Sparse"), _make("ResourceSparse")
