"""Updates of variables by the rules of the optimizers; those of embedding variables are in `training_kv`.

Most rules come as four ops: of a whole reference or resource variable (``ApplyAdagrad``,
``ResourceApplyAdagrad``) and of some of its rows (``SparseApplyAdagrad``, ``ResourceSparseApplyAdagrad``).
Each rule is written once, in `kvarn.ops.training_rules`; `_declare` makes the ops of it.

Source: tensorflow/core/ops/training_ops.cc and tensorflow/core/kernels/training_ops.cc; AdagradDecay and AdamAsync
tensorflow/core/ops/training_ali_ops.cc and tensorflow/core/kernels/training_ali_ops.cc of DeepRec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.graph.op import OpFunction, op
from kvarn.graph.resources import Var, locked
from kvarn.graph.shape_inference import InferenceContext, Shape, fmt, merge, with_rank
from kvarn.ops import training_rules as rules
from kvarn.ops.resource_variable import handle_shape_and_type, look_up

Array = npt.NDArray[Any]
# update(attrs, *arrays of the variables, *the other inputs but the indices): changes the arrays in place.
Rule = Callable[..., None]


# -- from a rule to its ops -----------------------------------------------------------------------


def shape_at(c: InferenceContext, index: int) -> Shape:
    """The shape of the variable that input ``index`` is or stands for."""
    tensor = c.inputs[index]
    if tensor.dtype.name != "resource":
        return tensor._shape
    known = handle_shape_and_type(tensor)
    return None if known is None else known[0]


def _shape_rule(names: Sequence[str], variables: int, gradient: str, sparse: bool) -> Callable[..., Any]:
    at = names.index(gradient)

    def shape(c: InferenceContext, *shapes: Shape) -> Any:
        out = shape_at(c, 0)
        for i in range(1, variables):
            out = merge(out, shape_at(c, i))
        for i in range(variables, len(names)):
            if i != at and not (sparse and i == at + 1):
                with_rank(shapes[i], 0)
        d = shapes[at]
        if not sparse:
            out = merge(out, d)
        else:
            (n,) = with_rank(shapes[at + 1], 1)
            if d is not None:
                merge(d[:1], (n,))
                merge(out, (None, *d[1:]))
        return out if c.inputs[0].dtype.is_ref else []

    return shape


def holders(ctx: Any, given: Sequence[Any]) -> list[Var]:
    """The variables behind inputs that are references or handles."""
    return [h if isinstance(h, Var) else look_up(ctx, h) for h in given]


def check_scalars(names: Sequence[str], values: Sequence[Any]) -> None:
    """Raises InvalidArgumentError naming the first of the inputs that is no scalar."""
    for name, value in zip(names, values, strict=True):
        if np.ndim(value):
            raise errors.InvalidArgumentError.of(f"{name} is not a scalar: {fmt(np.shape(value))}")


def same_shape(first: Array, other: Any, first_name: str, other_name: str) -> None:
    """Raises InvalidArgumentError if the shapes differ."""
    if first.shape != np.shape(other):
        raise errors.InvalidArgumentError.of(
            f"{first_name} and {other_name} do not have the same shape"
            f"{fmt(first.shape)} {fmt(np.shape(other))}"
        )


def _dense_kernel(rule: Rule, names: Sequence[str], variables: int, gradient: str) -> Callable[..., Any]:
    at = names.index(gradient)
    scalars = [i for i in range(variables, len(names)) if i != at]

    def kernel(ctx: Any, *args: Any) -> Any:
        held = holders(ctx, args[:variables])
        with locked(held):
            arrays = [h.writable() for h in held]
            for i in range(1, variables):
                same_shape(arrays[0], arrays[i], names[0], names[i])
            same_shape(arrays[0], args[at], names[0], gradient)
            check_scalars([names[i] for i in scalars], [args[i] for i in scalars])
            rule(ctx.attrs, *arrays, *args[variables:])
        return args[0]

    return kernel


def _sparse_kernel(rule: Rule, names: Sequence[str], variables: int, gradient: str) -> Callable[..., Any]:
    at = names.index(gradient)
    scalars = [i for i in range(variables, len(names)) if i not in (at, at + 1)]

    def kernel(ctx: Any, *args: Any) -> Any:
        held = holders(ctx, args[:variables])
        with locked(held):
            arrays = [h.writable() for h in held]
            for i in range(1, variables):
                same_shape(arrays[0], arrays[i], names[0], names[i])
            check_scalars([names[i] for i in scalars], [args[i] for i in scalars])
            grad, indices = args[at], args[at + 1]
            check_rows(arrays[0], grad, indices)
            for chosen in rounds(indices):
                rows = indices[chosen]
                parts = [a[rows] for a in arrays]
                rule(ctx.attrs, *parts, *args[variables:at], grad[chosen], *args[at + 2 :])
                for a, part in zip(arrays, parts, strict=True):
                    a[rows] = part
        return args[0]

    return kernel


def check_rows(var: Array, grad: Any, indices: Any) -> None:
    """Raises InvalidArgumentError unless ``grad`` has a row for each of ``indices``, which are rows of ``var``."""
    if var.ndim < 1:
        raise errors.InvalidArgumentError.of("var must be at least 1 dimensional")
    if np.ndim(indices) != 1:
        raise errors.InvalidArgumentError.of("indices must be one-dimensional")
    if grad.ndim != var.ndim or grad.shape[1:] != var.shape[1:]:
        raise errors.InvalidArgumentError.of(
            "var and grad must match in the dimensions after the first: "
            f"{fmt(var.shape)} and {fmt(grad.shape)}"
        )
    if len(grad) != len(indices):
        raise errors.InvalidArgumentError.of("grad must be the same size as indices in the first dimension.")
    bad = np.flatnonzero((indices < 0) | (indices >= len(var)))
    if bad.size:
        raise errors.InvalidArgumentError.of(
            f"Index {indices[bad[0]]} at offset {bad[0]} in indices is out of range",
            hint=f"The variable has {len(var)} rows.",
        )


def rounds(indices: Any) -> list[Any]:
    """Positions of ``indices`` so that none occurs twice in a round, equal ones in order.

    The optimizers sum the gradients of equal indices beforehand: one round is what nearly always comes.
    """
    if len(indices) < 2:
        return [slice(None)]
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if len(starts) == len(indices):
        return [slice(None)]
    rank = np.arange(len(indices)) - np.repeat(starts, np.diff(np.append(starts, len(indices))))
    return [np.sort(order[rank == r]) for r in range(int(rank.max()) + 1)]


def _declare(
    rule: Rule,
    name: str,
    variables: str,
    inputs: str,
    doc: str,
    attrs: Sequence[str] = (),
    gradient: str = "grad",
) -> Callable[[str], OpFunction]:
    """What makes the ops of a rule, by the op type's beginning: "", "Resource", "Sparse", "ResourceSparse".

    Args:
      variables: names of the variable and its slots.
      inputs: the other inputs of the dense form, the sparse one has ``indices`` after the gradient; those not
        of type T say their type.
    """
    variable_names = variables.split()
    rest = inputs.split()

    def make(kind: str) -> OpFunction:
        sparse = kind.endswith("Sparse")
        resource = kind.startswith("Resource")
        given = ["grad" if sparse and x == gradient else x for x in rest]
        grad = "grad" if sparse else gradient
        if sparse:
            given.insert(given.index(grad) + 1, "indices:Tindices")
        names = variable_names + [x.partition(":")[0] for x in given]
        declared = [f"{v}: {'resource' if resource else 'Ref(T)'}" for v in variable_names]
        declared += [": ".join(x.partition(":")[::2]) if ":" in x else f"{x}: T" for x in given]
        kernel = (_sparse_kernel if sparse else _dense_kernel)(rule, names, len(variable_names), grad)
        body = {
            "__doc__": doc + (" Of the rows ``indices``." if sparse else ""),
            "__module__": __name__,
            "shape": staticmethod(_shape_rule(names, len(variable_names), grad, sparse)),
            # A resource form has no output.
            "kernel": staticmethod(_without_output(kernel) if resource else kernel),
        }
        return op(
            f"{kind}Apply{name}",
            inputs=declared,
            outputs=[] if resource else ["out: Ref(T)"],
            attrs=[
                "T: numbertype",
                *(["Tindices: {int32, int64}"] if sparse else []),
                "use_locking: bool = false",
                *attrs,
            ],
        )(type(f"{kind}Apply{name}", (), body))

    return make


def _without_output(kernel: Callable[..., Any]) -> Callable[..., None]:
    def run(ctx: Any, *args: Any) -> None:
        kernel(ctx, *args)

    return run


_make = _declare(
    rules.gradient_descent,
    "GradientDescent",
    "var",
    "alpha delta",
    "``var -= alpha * delta``.",
    gradient="delta",
)
apply_gradient_descent, resource_apply_gradient_descent = _make(""), _make("Resource")

_make = _declare(
    rules.proximal_gradient_descent,
    "ProximalGradientDescent",
    "var",
    "alpha l1 l2 delta",
    "Gradient descent with L1 and L2 penalties by the proximal (FOBOS) step.",
    gradient="delta",
)
apply_proximal_gradient_descent, resource_apply_proximal_gradient_descent = _make(""), _make("Resource")
sparse_apply_proximal_gradient_descent = _make("Sparse")
resource_sparse_apply_proximal_gradient_descent = _make("ResourceSparse")

_make = _declare(
    rules.adadelta,
    "Adadelta",
    "var accum accum_update",
    "lr rho epsilon grad",
    "One step of Adadelta (Zeiler 2012).",
)
apply_adadelta, resource_apply_adadelta = _make(""), _make("Resource")
sparse_apply_adadelta, resource_sparse_apply_adadelta = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.adagrad,
    "Adagrad",
    "var accum",
    "lr grad",
    "``accum += grad * grad; var -= lr * grad / sqrt(accum)``.",
    ["update_slots: bool = true"],
)
apply_adagrad, resource_apply_adagrad = _make(""), _make("Resource")
sparse_apply_adagrad, resource_sparse_apply_adagrad = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.adagrad_v2,
    "AdagradV2",
    "var accum",
    "lr epsilon grad",
    "``accum += grad * grad; var -= lr * grad / (sqrt(accum) + epsilon)``.",
    ["update_slots: bool = true"],
)
apply_adagrad_v2, resource_apply_adagrad_v2 = _make(""), _make("Resource")
sparse_apply_adagrad_v2, resource_sparse_apply_adagrad_v2 = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.proximal_adagrad,
    "ProximalAdagrad",
    "var accum",
    "lr l1 l2 grad",
    "Adagrad with L1 and L2 penalties by the proximal step.",
)
apply_proximal_adagrad, resource_apply_proximal_adagrad = _make(""), _make("Resource")
sparse_apply_proximal_adagrad, resource_sparse_apply_proximal_adagrad = (
    _make("Sparse"),
    _make("ResourceSparse"),
)

_make = _declare(
    rules.adagrad_da,
    "AdagradDA",
    "var gradient_accumulator gradient_squared_accumulator",
    "grad lr l1 l2 global_step:int64",
    "One step of Adagrad by dual averaging.",
)
apply_adagrad_da, resource_apply_adagrad_da = _make(""), _make("Resource")
sparse_apply_adagrad_da, resource_sparse_apply_adagrad_da = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.ftrl, "Ftrl", "var accum linear", "grad lr l1 l2 lr_power", "One step of FTRL-proximal."
)
apply_ftrl, resource_apply_ftrl = _make(""), _make("Resource")
sparse_apply_ftrl, resource_sparse_apply_ftrl = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.ftrl_v2,
    "FtrlV2",
    "var accum linear",
    "grad lr l1 l2 l2_shrinkage lr_power",
    "One step of FTRL-proximal whose gradient has an L2 shrinkage added.",
)
apply_ftrl_v2, resource_apply_ftrl_v2 = _make(""), _make("Resource")
sparse_apply_ftrl_v2, resource_sparse_apply_ftrl_v2 = _make("Sparse"), _make("ResourceSparse")

_NESTEROV = ["use_nesterov: bool = false"]
_make = _declare(
    rules.momentum,
    "Momentum",
    "var accum",
    "lr grad momentum",
    "``accum = momentum * accum + grad; var -= lr * accum``, or Nesterov's form.",
    _NESTEROV,
)
apply_momentum, resource_apply_momentum = _make(""), _make("Resource")
sparse_apply_momentum, resource_sparse_apply_momentum = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.keras_momentum,
    "KerasMomentum",
    "var accum",
    "lr grad momentum",
    "``accum = momentum * accum - lr * grad; var += accum``, or Nesterov's form.",
    _NESTEROV,
)
resource_apply_keras_momentum, resource_sparse_apply_keras_momentum = (
    _make("Resource"),
    _make("ResourceSparse"),
)

_make = _declare(
    rules.adam,
    "Adam",
    "var m v",
    "beta1_power beta2_power lr beta1 beta2 epsilon grad",
    "One step of Adam (Kingma and Ba 2014).",
    _NESTEROV,
)
apply_adam, resource_apply_adam = _make(""), _make("Resource")

_make = _declare(
    rules.adam_with_amsgrad,
    "AdamWithAmsgrad",
    "var m v vhat",
    "beta1_power beta2_power lr beta1 beta2 epsilon grad",
    "One step of Adam that divides by the largest second moment so far.",
)
resource_apply_adam_with_amsgrad = _make("Resource")

_make = _declare(
    rules.ada_max,
    "AdaMax",
    "var m v",
    "beta1_power lr beta1 beta2 epsilon grad",
    "One step of AdaMax (Kingma and Ba 2014).",
)
apply_ada_max, resource_apply_ada_max = _make(""), _make("Resource")

_make = _declare(
    rules.rms_prop, "RMSProp", "var ms mom", "lr rho momentum epsilon grad", "One step of RMSProp."
)
apply_rms_prop, resource_apply_rms_prop = _make(""), _make("Resource")
sparse_apply_rms_prop, resource_sparse_apply_rms_prop = _make("Sparse"), _make("ResourceSparse")

_make = _declare(
    rules.centered_rms_prop,
    "CenteredRMSProp",
    "var mg ms mom",
    "lr rho momentum epsilon grad",
    "One step of RMSProp by the estimated variance of the gradient.",
)
apply_centered_rms_prop, resource_apply_centered_rms_prop = _make(""), _make("Resource")
sparse_apply_centered_rms_prop, resource_sparse_apply_centered_rms_prop = (
    _make("Sparse"),
    _make("ResourceSparse"),
)

_make = _declare(
    rules.add_sign,
    "AddSign",
    "var m",
    "lr alpha sign_decay beta grad",
    "One step of AddSign (Bello et al. 2017).",
)
apply_add_sign, resource_apply_add_sign = _make(""), _make("Resource")

_make = _declare(
    rules.power_sign,
    "PowerSign",
    "var m",
    "lr logbase sign_decay beta grad",
    "One step of PowerSign (Bello et al. 2017).",
)
apply_power_sign, resource_apply_power_sign = _make(""), _make("Resource")
