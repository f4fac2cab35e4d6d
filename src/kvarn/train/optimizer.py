"""The base class of optimizers: gradients of a loss, and the operations that apply them.

Source: tensorflow/python/training/optimizer.py (1.15), with DeepRec's treatment of embedding variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.convert import convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import (
    GraphKeys,
    colocate_with,
    control_dependencies,
    get_collection,
    get_collection_ref,
    get_default_graph,
    init_scope,
    name_scope,
)
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, control, resource_variable, segment, state
from kvarn.train import slot_creator
from kvarn.train.occurrences import occurrences
from kvarn.train.trackable_optimizer import TrackableOptimizer, VarKey, var_key
from kvarn.variables import scope as variable_scope
from kvarn.variables import variable as variables
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.multihash_variable import MultiHashVariable
from kvarn.variables.partitioned_variable import PartitionedVariable


def _deduplicate_indexed_slices(values: Any, indices: Any) -> tuple[Any, Any]:
    """Values [n, ...] summed over equal indices [n], and the distinct indices."""
    summed_values, unique_indices, _ = _sum_of_equal(values, indices)
    return summed_values, unique_indices


def _sum_of_equal(values: Any, indices: Any) -> tuple[Any, Any, Any]:
    """`_deduplicate_indexed_slices`, and which of the distinct indices each of ``indices`` is."""
    unique_indices, new_index_positions = array.unique(indices)
    summed_values = segment.unsorted_segment_sum(values, new_index_positions, array.shape(unique_indices)[0])
    return summed_values, unique_indices, new_index_positions


# -- what to do with each kind of variable --------------------------------------------------------


class _RefVariableProcessor:
    """A reference variable: gradients are taken with respect to its buffer."""

    def __init__(self, v: Any) -> None:
        self._v = v

    def target(self) -> Any:
        return self._v._ref()

    def update_op(self, optimizer: Optimizer, g: Any) -> Any:
        v = self._v
        if isinstance(g, Tensor):
            return _constrained(v, optimizer._apply_dense(g, v))
        _no_constraint(v)
        return optimizer._apply_sparse_duplicate_indices(g, v)


class _ResourceVariableProcessor:
    """A resource variable or an embedding variable: gradients are taken with respect to its handle."""

    def __init__(self, v: Any) -> None:
        self._v = v

    def target(self) -> Any:
        return self._v

    def update_op(self, optimizer: Optimizer, g: Any) -> Any:
        v = self._v
        if isinstance(g, IndexedSlices):
            _no_constraint(v)
            return optimizer._resource_apply_sparse_duplicate_indices(g.values, v, g.indices)
        return _constrained(v, optimizer._resource_apply_dense(g, v))


class _TensorProcessor:
    """A plain tensor: it has gradients, but nothing to apply them to."""

    def __init__(self, v: Any) -> None:
        self._v = v

    def target(self) -> Any:
        return self._v

    def update_op(self, optimizer: Optimizer, g: Any) -> Any:
        raise NotImplementedError("Trying to update a Tensor ", self._v)


def _constrained(v: Any, update_op: Any) -> Any:
    if v.constraint is None:
        return update_op
    with control_dependencies([update_op]):
        # A read of its own: the one made with the variable is a value from before the update.
        return v.assign(v.constraint(v.read_value()))


def _no_constraint(v: Any) -> None:
    if v.constraint is not None:
        raise RuntimeError("Cannot use a constraint function on a sparse variable.")


def _get_processor(v: Any) -> Any:
    if isinstance(v, Tensor):
        return _TensorProcessor(v)
    node = getattr(v, "op", None)
    if isinstance(node, Operation) and node.type in ("VarHandleOp", "KvVarHandleOp"):
        return _ResourceVariableProcessor(v)
    if isinstance(v, variables.Variable):
        return _RefVariableProcessor(v)
    raise NotImplementedError("Trying to optimize unsupported type ", v)


class Optimizer(TrackableOptimizer):
    """Adds operations that train variables; a subclass says how one gradient changes one variable.

    A subclass overrides `_prepare`, `_create_slots` and, for each kind of variable it trains, `_apply_dense`,
    `_apply_sparse`, `_resource_apply_dense` and `_resource_apply_sparse`.

    Args:
      use_locking: update under the variables' locks.
      name: scope of the operations and default name of the slots.

    Raises:
      ValueError: the name is empty.
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise ValueError("Must specify the optimizer name")
        super().__init__()
        self._use_locking = use_locking
        self._name = name

    def get_name(self) -> str:
        return self._name

    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Any:
        """The operation of one training step: `compute_gradients`, then `apply_gradients`.

        Raises:
          ValueError: no variable has a gradient.
        """
        grads_and_vars = self.compute_gradients(
            loss,
            var_list=var_list,
            gate_gradients=gate_gradients,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            grad_loss=grad_loss,
        )
        if all(g is None for g, _ in grads_and_vars):
            raise ValueError(
                "No gradients provided for any variable, check your graph for ops that do not support "
                f"gradients, between variables {[str(v) for _, v in grads_and_vars]} and loss {loss}."
            )
        return self.apply_gradients(grads_and_vars, global_step=global_step, name=name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """Pairs (gradient, variable) of ``loss``; a gradient is a Tensor, IndexedSlices or None.

        Args:
          loss: the tensor to minimize, or a function that builds it.
          var_list: variables, or a nest of them; parts of a PartitionedVariable, blocks and halves of
            embeddings count one by one.  By default all trainable variables.
          gate_gradients: `GATE_NONE`, `GATE_OP` (all gradients of an operation before any of them is used) or
            `GATE_GRAPH` (all gradients before any is used).
          grad_loss: gradient of the loss, ones by default.

        Raises:
          TypeError, NotImplementedError: ``var_list`` has something that is no variable.
          ValueError: arguments out of range, or a variable or loss of a type that cannot be trained.
        """
        if callable(loss) and not isinstance(loss, Tensor):
            loss = loss()
        if gate_gradients not in (self.GATE_NONE, self.GATE_OP, self.GATE_GRAPH):
            raise ValueError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, "
                f"Optimizer.GATE_GRAPH.  Not {gate_gradients}"
            )
        self._assert_valid_dtypes([loss])
        if grad_loss is not None:
            self._assert_valid_dtypes([grad_loss])
        if var_list is None:
            var_list = [
                *variables.trainable_variables(),
                *get_collection("trainable_resource_variables"),
            ]
        else:
            var_list = list(flat_variables(var_list))
        var_list += get_collection(GraphKeys._STREAMING_MODEL_PORTS)
        processors = [_get_processor(v) for v in var_list]
        if not var_list:
            raise ValueError("No variables to optimize.")
        grads = gradients(
            loss,
            [p.target() for p in processors],
            grad_ys=grad_loss,
            gate_gradients=gate_gradients == self.GATE_OP,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        if gate_gradients == self.GATE_GRAPH:
            grads = control.tuple(grads)
        pairs = list(zip(grads, var_list, strict=True))
        self._assert_valid_dtypes([v for g, v in pairs if g is not None and v.dtype != dtypes.resource])
        return pairs

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], global_step: Any = None, name: str | None = None
    ) -> Any:
        """The operation that applies gradients, and counts ``global_step`` up after all updates.

        Args:
          grads_and_vars: pairs as `compute_gradients` gives them; those without a gradient are left out.
          global_step: an integer variable.
          name: of the operation, by default the optimizer's.

        Raises:
          TypeError: a gradient is nothing that converts to a tensor.
          ValueError: no variables, or none with a gradient.
        """
        pairs = tuple(grads_and_vars)
        if not pairs:
            raise ValueError("No variables provided.")
        converted = []
        for g, v in pairs:
            if g is not None:
                try:
                    g = convert_to_tensor_or_indexed_slices(g)
                except TypeError:
                    raise TypeError(
                        f"Gradient must be convertible to a Tensor or IndexedSlices, or None: {g}"
                    ) from None
                if not isinstance(g, (Tensor, IndexedSlices)):
                    raise TypeError(f"Gradient must be a Tensor, IndexedSlices, or None: {g}")
            converted.append((g, v, _get_processor(v)))
        var_list = [v for g, v, _ in converted if g is not None]
        if not var_list:
            raise ValueError(f"No gradients provided for any variable: {[str(v) for _, v, _ in converted]}.")
        with init_scope():
            self._create_slots(var_list)
        update_ops = []
        with name_scope(name, self._name) as scope:
            self._prepare()
            for g, v, processor in converted:
                if g is not None:
                    with name_scope("update_" + v.op.name), colocate_with(v):
                        update_ops.append(processor.update_op(self, g))
            if global_step is None:
                apply_updates = self._finish(update_ops, scope)
            else:
                with control_dependencies([self._finish(update_ops, "update")]), colocate_with(global_step):
                    apply_updates = _count_up(global_step, scope)
            if isinstance(apply_updates, Tensor):
                apply_updates = apply_updates.op
            train_op = get_collection_ref(GraphKeys.TRAIN_OP)
            if apply_updates not in train_op:
                train_op.append(apply_updates)
            return apply_updates

    def get_slot(self, var: Any, name: str) -> Any:
        """The slot ``name`` of a variable, None if there is none."""
        return self._slots.get(name, {}).get(var_key(var))

    def get_slot_names(self) -> list[str]:
        """The names of the slots created, sorted."""
        return sorted(self._slots)

    def variables(self) -> list[Any]:
        """All variables the optimizer has created in the default graph, slots included, by name."""
        graph = get_default_graph()
        found = [v for v in self._non_slot_variables() if v.op.graph is graph]
        for slots in self._slots.values():
            found.extend(v for v in slots.values() if v.op.graph is graph)
        return sorted(found, key=lambda v: str(v.name))

    def _create_non_slot_variable(self, initial_value: Any, name: str, colocate_with: Any) -> Any:
        """A variable that belongs to the optimizer and to no single variable; found or made."""
        key = (name, colocate_with.graph)
        v = self._non_slot_dict.get(key)
        if v is None:
            with get_default_graph().colocate_with(colocate_with):
                create: Any = variable_scope.variable
                v = create(
                    initial_value,
                    name=name,
                    trainable=False,
                    use_resource=_is_resource(colocate_with),
                )
            self._handle_deferred_dependencies(name=name, trackable=v)
            self._non_slot_dict[key] = v
        return v

    def _non_slot_variables(self) -> list[Any]:
        return list(self._non_slot_dict.values())

    def _assert_valid_dtypes(self, tensors: Iterable[Any]) -> None:
        valid = self._valid_dtypes()
        for t in tensors:
            dtype = t.dtype.base_dtype
            if dtype not in valid:
                raise ValueError(f"Invalid type {dtype!r} for {t.name}, expected: {list(valid)}.")

    # -- for subclasses to override ---------------------------------------------------------------

    def _valid_dtypes(self) -> set[dtypes.DType]:
        """Types that losses, variables and gradients may have."""
        return {dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64}

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        """Makes the slots of the variables; none by default."""

    def _prepare(self) -> None:
        """Makes the tensors that all updates use, in the scope of the optimizer."""

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        """The update of a reference variable."""
        raise NotImplementedError

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        """The update of a resource variable."""
        raise NotImplementedError

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        """The update of rows of a resource or embedding variable, where indices may be equal.

        By default equal ones are summed and `_resource_apply_sparse` does the rest; of an embedding variable that
        counts its keys it gets ``indices_counts`` as well.
        """
        if isinstance(handle, EmbeddingVariable) and handle.need_counts():
            summed_grad, unique_indices, positions = _sum_of_equal(grad, indices)
            counts = segment.unsorted_segment_sum(
                occurrences(handle, indices), positions, array.shape(unique_indices)[0]
            )
            return self._resource_apply_sparse(summed_grad, handle, unique_indices, indices_counts=counts)
        summed_grad, unique_indices = _deduplicate_indexed_slices(values=grad, indices=indices)
        return self._resource_apply_sparse(summed_grad, handle, unique_indices)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        """The update of rows of a resource or embedding variable, indices being distinct.

        Args:
          indices_counts: of an embedding variable that counts its keys, the occurrences of each, int64 [n].
        """
        raise NotImplementedError

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Any) -> Any:
        """The update of rows of a reference variable, where indices may be equal.

        By default equal ones are summed and `_apply_sparse` does the rest.
        """
        summed_values, unique_indices = _deduplicate_indexed_slices(values=grad.values, indices=grad.indices)
        return self._apply_sparse(
            IndexedSlices(indices=unique_indices, values=summed_values, dense_shape=grad.dense_shape), var
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        """The update of rows of a reference variable, indices being distinct."""
        raise NotImplementedError

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Any:
        """The operation that waits for all updates."""
        return control.group(*update_ops, name=name_scope)

    # -- for subclasses to use --------------------------------------------------------------------

    def _slot_dict(self, slot_name: str) -> dict[VarKey, Any]:
        return self._slots.setdefault(slot_name, {})

    def _slot(self, var: Any, slot_name: str, make: Callable[[], Any]) -> Any:
        slots = self._slot_dict(slot_name)
        key = var_key(var)
        if key not in slots:
            slot = make()
            self._restore_slot_variable(slot_name=slot_name, variable=var, slot_variable=slot)
            slots[key] = slot
        return slots[key]

    def _get_or_make_slot(
        self,
        var: Any,
        val: Any,
        slot_name: str,
        op_name: str,
        slot_config: slot_creator.SlotConfig | None = None,
    ) -> Any:
        """The slot ``slot_name`` of ``var``, created with the value ``val`` and named after ``op_name``."""
        return self._slot(
            var, slot_name, lambda: slot_creator.create_slot(var, val, op_name, slot_config=slot_config)
        )

    def _get_or_make_slot_with_initializer(
        self,
        var: Any,
        initializer: Any,
        shape: Any,
        dtype: Any,
        slot_name: str,
        op_name: str,
        slot_config: slot_creator.SlotConfig | None = None,
    ) -> Any:
        """The slot ``slot_name`` of ``var``, created by an initializer."""
        return self._slot(
            var,
            slot_name,
            lambda: slot_creator.create_slot_with_initializer(
                var, initializer, shape, dtype, op_name, slot_config=slot_config
            ),
        )

    def _zeros_slot(
        self, var: Any, slot_name: str, op_name: str, slot_config: slot_creator.SlotConfig | None = None
    ) -> Any:
        """The slot ``slot_name`` of ``var``, created with zeros."""
        return self._slot(
            var, slot_name, lambda: slot_creator.create_zeros_slot(var, op_name, slot_config=slot_config)
        )

    def _call_if_callable(self, param: Any) -> Any:
        return param() if callable(param) else param

    def _refuse_embedding_variables(self, var_list: Sequence[Any]) -> None:
        """For optimizers whose rule the tables of embedding variables do not have.

        Raises:
          UnimplementedError: there is an embedding variable among ``var_list``.
        """
        for v in var_list:
            if v.op.type == "KvVarHandleOp":
                raise errors.UnimplementedError.of(
                    f"{type(self).__name__} cannot train embedding variable '{v.op.name}' in this version.",
                    name=v.op.name,
                    hint="Train it with Adagrad, AdagradDecay, Adam, AdamAsync, AdamW, Ftrl, GradientDescent, "
                    "Momentum or RMSProp; through var_list the other variables can have an optimizer of their own.",
                )


def flat_variables(nest: Any) -> Iterator[Any]:
    """The single variables of a nest of them."""
    if isinstance(nest, (list, tuple, PartitionedVariable, DynamicEmbeddingVariable, MultiHashVariable)):
        for item in nest:
            yield from flat_variables(item)
    elif isinstance(nest, dict):
        for key in sorted(nest):
            yield from flat_variables(nest[key])
    else:
        yield nest


def _is_resource(v: Any) -> bool:
    return bool(v.op.type in ("VarHandleOp", "KvVarHandleOp"))


def _count_up(global_step: Any, name: str) -> Any:
    if hasattr(global_step, "handle") and _is_resource(global_step):
        one = convert_to_tensor(1, dtype=global_step.dtype.base_dtype)
        return resource_variable.assign_add_variable_op(global_step.handle, one, name=name)
    return state.assign_add(global_step, 1, name=name)
