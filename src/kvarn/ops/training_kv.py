"""Updates of embedding variables by the rules of the optimizers.

Each op changes the rows of the keys ``indices`` [n] by ``grad`` [n, dim]: a key that the variable has not seen is
created, or counted while its filter does not admit it; gradients of equal keys are summed; ``global_step`` becomes
the keys' version. Every op has a twin ``…WithCounts`` whose last input says how many occurrences each index stands
for. What is done to a row is in `kvarn.engine.optimizer_rules`.

Not here are the ``_OPT_`` twins, which a pass over a running DeepRec session puts in their place: their indices are
addresses in its memory, and no graph that is saved has them.

Source: tensorflow/core/ops/training_ali_ops.cc and tensorflow/core/kernels/training_ali_ops.cc of DeepRec; Momentum
and RMSProp, which DeepRec does not have on embedding variables, after tensorflow/core/ops/training_ops.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from kvarn import errors
from kvarn.engine.optimizer_rules import RULES
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction, op
from kvarn.graph.operation import Operation
from kvarn.graph.resources import locked
from kvarn.graph.shape_inference import InferenceContext, Shape, fmt, merge, with_rank
from kvarn.graph.tensor import Tensor
from kvarn.ops.kv import handle_shape
from kvarn.ops.kv_resource import EmbeddingResource, initialized
from kvarn.ops.resource_variable import look_up
from kvarn.ops.training import check_scalars
from kvarn.ops.training_deeprec import quotient

_INDICES: Final = "indices:Tindices"
_STEP: Final = "global_step:Tstep"
_POINTERS: Final = "indices_as_pointer: bool = false"
# The plain op and the one with counts of each rule.
_BY_NAME: Final[dict[str, tuple[OpFunction, OpFunction]]] = {}


class _Update:
    """One run of an op: its inputs by name, and the rows they change.

    Attributes:
      values: the inputs by name; what `apply` finds there under a parameter's name becomes that parameter.
    """

    def __init__(self, ctx: Any, variables: Sequence[str], values: dict[str, Any]) -> None:
        self.ctx = ctx
        self.values = values
        self.variables = [initialized(ctx.resources, values[name]) for name in variables]
        _check_slots(*self.variables)

    @property
    def attrs(self) -> Any:
        return self.ctx.attrs

    def apply(self, rule: str) -> None:
        primary, *slots = self.variables
        values = self.values
        step = values.get("global_step")
        primary.table.apply(
            rule,
            values["indices"],
            values["grad"],
            slots=[slot.slot for slot in slots],
            params=[float(values[name]) for name in RULES[rule].params],
            counts=values.get("counts"),
            step=None if step is None else int(step),
        )


def _check_slots(primary: EmbeddingResource, *slots: EmbeddingResource) -> None:
    if primary.slot != 0:
        raise errors.InvalidArgumentError.of(
            f"'{primary.name}' is an optimizer's slot, not a variable to be trained.", name=primary.name
        )
    for slot in slots:
        if slot.shared is not primary.shared:
            raise errors.InvalidArgumentError.of(
                f"'{slot.name}' is no slot of embedding variable '{primary.name}'.",
                name=slot.name,
                hint="Let the optimizer create its own slots for the variable.",
            )


def _shape_rule(names: Sequence[str], resources: Sequence[str], slots: Sequence[str]) -> Callable[..., Any]:
    grad, indices = names.index("grad"), names.index("indices")
    vectors = {i for i, name in enumerate(names) if name in ("indices", "counts")}
    scalars = [i for i in range(len(resources), len(names)) if i != grad and i not in vectors]

    def shape(c: InferenceContext, *shapes: Shape) -> list[Any]:
        for i in scalars:
            with_rank(shapes[i], 0)
        row = handle_shape(c.inputs[0])
        for slot in slots:
            row = merge(row, handle_shape(c.inputs[names.index(slot)]))
        n: Shape = with_rank(shapes[indices], 1)
        for i in vectors:
            n = merge(n, with_rank(shapes[i], 1))
        d = shapes[grad]
        if d is not None:
            merge(d[:1], n)
            merge(d[1:], row)
        return []

    return shape


def _before_joining(names: Sequence[str]) -> Callable[[Operation], Sequence[Tensor]]:
    """What a run reads of an op whose gradient was summed over equal indices beforehand: gradient and indices as they
    were. The table sums over equal keys itself, in the same order, so the nodes that optimizers put before the op
    (``Unique``, ``UnsortedSegmentSum``) need not run.

    Args:
      names: of the inputs; "grad", "indices" and, if there are, "counts" are looked for.
    """
    indices, summed = names.index("indices"), [i for i, x in enumerate(names) if x in ("grad", "counts")]

    def reads(node: Operation) -> Sequence[Tensor]:
        inputs = list(node._inputs)
        unique = inputs[indices].op
        if unique.type != "Unique" or inputs[indices].value_index != 0 or unique._control_inputs:
            return inputs
        inputs[indices] = unique._inputs[0]
        for i in summed:
            sums = inputs[i].op
            if sums.type != "UnsortedSegmentSum" or sums._control_inputs or not _sums_over(sums, unique):
                return node._inputs
            inputs[i] = sums._inputs[0]
        return inputs

    return reads


def _sums_over(sums: Operation, unique: Operation) -> bool:
    """Whether rows are summed by the distinct value that each belongs to, one sum for every distinct value."""
    number = sums._inputs[2].op
    return (
        sums._inputs[1] is unique._outputs[1]
        and number.type == "StridedSlice"
        and number._inputs[0].op.type == "Shape"
        and number._inputs[0].op._inputs[0] is unique._outputs[0]
    )


def _declare(
    name: str,
    variables: str,
    inputs: str,
    doc: str,
    run: Callable[[_Update], None],
    *,
    attrs: Sequence[str] = (_POINTERS,),
    unlike: str = "",
    resources: str = "",
    counts: str = "indices_counts",
) -> tuple[OpFunction, OpFunction]:
    """The plain op of a rule and the one with counts.

    Args:
      variables: names of the variable and of its slots.
      inputs: the other inputs; those not of type T say their type.
      run: what the kernel does.
      unlike: slots whose rows need not have the primary's length.
      resources: inputs that are ordinary variables, straight behind the slots.
      counts: what the last input of the form with counts is called.
    """
    slots = variables.split()[1:]
    handles = [*variables.split(), *resources.split()]

    def make(suffix: str, given: list[str]) -> OpFunction:
        # In a kernel the counts have one name, whatever they are called in the op.
        names = handles + [x.partition(":")[0] for x in given]
        if suffix:
            names[-1] = "counts"
        scalars = [x for x in names[len(handles) :] if x not in ("grad", "indices", "counts")]

        def kernel(ctx: Any, *args: Any) -> None:
            values = dict(zip(names, args, strict=True))
            check_scalars(scalars, [values[x] for x in scalars])
            if np.ndim(values["indices"]) != 1:
                raise errors.InvalidArgumentError.of("indices must be one-dimensional")
            if ctx.attrs.get("indices_as_pointer", False):
                raise errors.UnimplementedError.of(
                    "indices_as_pointer: indices that are addresses of a running DeepRec mean nothing here.",
                    hint="Leave the attribute out and give keys.",
                )
            run(_Update(ctx, variables.split(), values))

        op_type = f"KvResourceSparseApply{name}{suffix}"
        body = {
            "__doc__": doc + (f" ``{counts}`` [n] are occurrences of ``indices``." if suffix else ""),
            "__module__": __name__,
            "shape": staticmethod(_shape_rule(names, handles, [s for s in slots if s not in unlike.split()])),
            "kernel": staticmethod(kernel),
            "grad": NOT_DIFFERENTIABLE,
            "reads": staticmethod(_before_joining(names)),
        }
        return op(
            op_type,
            inputs=[f"{h}: resource" for h in handles]
            + [": ".join(x.split(":")) if ":" in x else f"{x}: T" for x in given],
            attrs=[
                "T: numbertype",
                "Tindices: {int32, int64}",
                *(["Tstep: {int32, int64}"] if ":Tstep" in inputs else []),
                "use_locking: bool = false",
                *attrs,
            ],
        )(type(op_type, (), body))

    given = inputs.split()
    _BY_NAME[name] = make("", given), make("WithCounts", [*given, f"{counts}:int64"])
    return _BY_NAME[name]


def sparse_apply(name: str, *inputs: Any, counts: Any = None, **attrs: Any) -> Any:
    """Adds ``KvResourceSparseApply<name>``, or with counts int64 [n] its twin that takes them."""
    plain, counted = _BY_NAME[name]
    return plain(*inputs, **attrs) if counts is None else counted(*inputs, counts, **attrs)


def _by(rule: str) -> Callable[[_Update], None]:
    return lambda update: update.apply(rule)


kv_resource_sparse_apply_gradient_descent, kv_resource_sparse_apply_gradient_descent_with_counts = _declare(
    "GradientDescent",
    "var",
    f"alpha grad {_INDICES} {_STEP}",
    "``var -= alpha * grad``.",
    _by("GradientDescent"),
    counts="counts",
)

kv_resource_sparse_apply_adagrad, kv_resource_sparse_apply_adagrad_with_counts = _declare(
    "Adagrad",
    "var accum",
    f"lr grad {_INDICES} {_STEP}",
    "``accum += grad * grad; var -= lr * grad / sqrt(accum)``.",
    _by("Adagrad"),
    attrs=(),
)


def _adagrad_decay(update: _Update) -> None:
    values = update.values
    # The quotient is taken of integers, before anything is rounded to float32.
    values["period"] = np.float32(quotient(values["global_step"], values["accum_decay_step"]))
    primary, _, power = update.variables
    short = power.dim == 1 and primary.dim != 1
    update.apply("AdagradDecayV2" if short else "AdagradDecay")


kv_resource_sparse_apply_adagrad_decay, kv_resource_sparse_apply_adagrad_decay_with_counts = _declare(
    "AdagradDecay",
    "var accum accum_decay_power",
    f"lr accum_decay_step:Tstep accum_decay_rate accum_baseline {_STEP} grad {_INDICES}",
    "Adagrad whose ``accum`` decays, not below ``accum_baseline``, once a period of ``accum_decay_step`` steps.",
    _adagrad_decay,
    # Version 2 of the optimizer keeps one number for a key.
    unlike="accum_decay_power",
)

_ADAM: Final = f"lr beta1 beta2 epsilon grad {_INDICES} {_STEP}"

kv_resource_sparse_apply_adam, kv_resource_sparse_apply_adam_with_counts = _declare(
    "Adam",
    "var m v",
    f"beta1_power beta2_power {_ADAM}",
    "One step of Adam; keys that are not among ``indices`` keep their moments.",
    _by("Adam"),
)

kv_resource_sparse_apply_adam_w, kv_resource_sparse_apply_adam_w_with_counts = _declare(
    "AdamW",
    "var m v",
    f"beta1_power beta2_power {_ADAM} weight_decay",
    "One step of Adam that also moves ``var`` towards zero by ``weight_decay`` times the corrected learning rate.",
    _by("AdamW"),
)


def _adam_async(update: _Update) -> None:
    values = update.values
    if update.attrs["apply_sparse_rmsprop"]:
        update.apply("AdamAsyncSparseRmsprop")
        return
    powers = [look_up(update.ctx, values[name]) for name in ("beta1_power", "beta2_power")]
    with locked(powers):
        buffers = [power.writable() for power in powers]
        for name, buffer in zip(("beta1_power", "beta2_power"), buffers, strict=True):
            if buffer.size != 1:
                raise errors.InvalidArgumentError.of(
                    f"{name} must have one element, found {fmt(buffer.shape)}"
                )
            values[name] = buffer.reshape(-1)[0]
        update.apply("AdamAsync")
        if len(values["indices"]):
            for buffer, beta in zip(buffers, (values["beta1"], values["beta2"]), strict=True):
                buffer *= beta


kv_resource_sparse_apply_adam_async, kv_resource_sparse_apply_adam_async_with_counts = _declare(
    "AdamAsync",
    "var m v",
    _ADAM,
    "One step of Adam with powers of its own, which it multiplies; or a step by RMSProp with momentum.",
    _adam_async,
    attrs=("apply_sparse_rmsprop: bool = false", _POINTERS),
    resources="beta1_power beta2_power",
)


def _ftrl(rule: str) -> Callable[[_Update], None]:
    def run(update: _Update) -> None:
        values = update.values
        for name, is_good, what in (
            ("lr", values["lr"] > 0, "lr is not a positive scalar"),
            ("l1", values["l1"] >= 0, "l1 regularization strength is not a non-negative scalar"),
            ("l2", values["l2"] >= 0, "l2 regularization strength is not a non-negative scalar"),
            (
                "l2_shrinkage",
                values.get("l2_shrinkage", 0) >= 0,
                "l2 shrinkage regularization strength is not a non-negative scalar",
            ),
            ("lr_power", values["lr_power"] <= 0, "lr_power is not a non-positive scalar"),
        ):
            if not is_good:
                raise errors.InvalidArgumentError.of(f"{what}: {values[name]}")
        update.apply(rule)

    return run


_FTRL_DOC: Final = "One step of FTRL whose L1 penalty is on the norm of a row; versions stay as they are."

kv_resource_sparse_apply_ftrl, kv_resource_sparse_apply_ftrl_with_counts = _declare(
    "Ftrl",
    "var accum linear",
    f"grad {_INDICES} lr l1 l2 lr_power",
    _FTRL_DOC,
    _ftrl("Ftrl"),
)

kv_resource_sparse_apply_ftrl_v2, kv_resource_sparse_apply_ftrl_v2_with_counts = _declare(
    "FtrlV2",
    "var accum linear",
    f"grad {_INDICES} lr l1 l2 l2_shrinkage lr_power",
    _FTRL_DOC + " The gradient has an L2 shrinkage added.",
    _ftrl("FtrlV2"),
)


def _momentum(update: _Update) -> None:
    update.apply("NesterovMomentum" if update.attrs["use_nesterov"] else "Momentum")


kv_resource_sparse_apply_momentum, kv_resource_sparse_apply_momentum_with_counts = _declare(
    "Momentum",
    "var accum",
    f"lr grad {_INDICES} momentum {_STEP}",
    "``accum = momentum * accum + grad; var -= lr * accum``, or Nesterov's form.",
    _momentum,
    attrs=("use_nesterov: bool = false",),
)

kv_resource_sparse_apply_rms_prop, kv_resource_sparse_apply_rms_prop_with_counts = _declare(
    "RMSProp",
    "var ms mom",
    f"lr rho momentum epsilon grad {_INDICES} {_STEP}",
    "One step of RMSProp.",
    _by("RMSProp"),
    attrs=(),
)

kv_resource_sparse_apply_centered_rms_prop, kv_resource_sparse_apply_centered_rms_prop_with_counts = _declare(
    "CenteredRMSProp",
    "var mg ms mom",
    f"lr rho momentum epsilon grad {_INDICES} {_STEP}",
    "One step of RMSProp by the estimated variance of the gradient.",
    _by("CenteredRMSProp"),
    attrs=(),
)
