"""What a restore operation asks a checkpoint for, and which variables it gives it to: read off the graph.

    operations = RestoreDemands(graph.get_operation_by_name("save/restore_all"))
    operations.demands       what each variable wants
    operations.units         the operations that set them, each with the demands that it needs

The graph is all that is looked at, so that graphs from files have demands as well as those just built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kvarn import errors
from kvarn.formats.embedding_names import full_name
from kvarn.formats.names import decode_name
from kvarn.graph.graph import Graph, GraphKeys
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_util import constant_value
from kvarn.saver.restore_check import NAMES_AT, demanded_shape, embedding_family, embedding_owners

# Operations that read an ordinary tensor.
_READERS = ("RestoreV2", "RestoreSlice", "Restore")


@dataclass(eq=False, slots=True)
class Demand:
    """One tensor, or the rows of one embedding variable, that a variable wants.

    Attributes:
      key: the name that is asked for.
      variable: the name of the variable's operation; of what is no variable, of the operation that takes it.
      dtype: of the values.
      shape: of the tensor, None for any; of an embedding variable, of one row.
      slice: which part of the tensor; empty for all of it.
      reshapes: any shape of as many elements will do.
      tensor: what the reading operation gives out; None for an embedding variable.
      importing: the operation that reads an embedding variable; None for a tensor.
      key_dtype: of an embedding variable.
      owner: the key of the embedding variable that this is a slot of, its own if it is none; None if not known.
    """

    key: str
    variable: str
    dtype: Any
    shape: tuple[int, ...] | None
    slice: str = ""
    reshapes: bool = False
    tensor: Tensor | None = None
    importing: Operation | None = None
    key_dtype: Any = None
    owner: str | None = None

    @property
    def is_part(self) -> bool:
        """Whether the embedding variable is a part of another, by the operation that reads it."""
        from kvarn.ops.kv_restore import is_part

        assert self.importing is not None
        return is_part(self.importing.attrs, self.key, self.owner)

    @property
    def whole_key(self) -> str:
        """The name that is asked for; of an embedding variable without its part."""
        if self.importing is None:
            return self.key
        return full_name(self.key, owner=self.owner, partitioned=self.is_part)

    @property
    def family(self) -> tuple[Any, bool | None]:
        """What is equal for an embedding variable and its slots, and whether this one is the variable."""
        assert self.importing is not None
        return embedding_family(self.importing)


@dataclass(eq=False, slots=True)
class Unit:
    """An operation that sets one variable, or several that can only be set together.

    Attributes:
      operation: to be run.
      demands: what it needs.
    """

    operation: Operation
    demands: list[Demand] = field(default_factory=list)


class RestoreDemands:
    """What the operations below a restore operation ask for.

    Args:
      restore_op: the operation that a Saver runs to restore.

    Raises:
      UnimplementedError: names are only known when the graph runs.
    """

    def __init__(self, restore_op: Operation) -> None:
        self.graph: Graph = restore_op.graph
        self._by_source: dict[Any, Demand] = {}
        self._asked: dict[Operation, list[tuple[str, str]]] = {}
        self.units: list[Unit] = []
        for operation in _leaves(restore_op):
            unit = Unit(operation, list(self._below(operation)))
            if unit.demands:
                self.units.append(unit)
        imports = {d.importing: d for d in self._by_source.values() if d.importing is not None}
        owners = embedding_owners({operation: demand.key for operation, demand in imports.items()})
        for operation, demand in imports.items():
            demand.owner = owners[operation]
        self.demands = sorted(self._by_source.values(), key=lambda demand: (demand.key, demand.variable))

    def _below(self, leaf: Operation) -> Iterator[Demand]:
        """The demands of one operation and all that it waits for; what only feeds the reading is left out."""
        seen: set[Any] = {leaf}
        waiting = [leaf]
        while waiting:
            operation = waiting.pop()
            if operation.type in NAMES_AT and operation.type not in _READERS:
                yield self._embedding(operation)
                continue
            for tensor in operation.inputs:
                if tensor.op.type in _READERS:
                    if tensor not in seen:
                        seen.add(tensor)
                        yield self._tensor(tensor, leaf)
                elif tensor.op not in seen:
                    seen.add(tensor.op)
                    waiting.append(tensor.op)
            for before in operation.control_inputs:
                if before not in seen and before.type not in _READERS:
                    seen.add(before)
                    waiting.append(before)

    def _tensor(self, tensor: Tensor, leaf: Operation) -> Demand:
        if tensor not in self._by_source:
            if tensor.op not in self._asked:
                self._asked[tensor.op] = _asked(tensor.op)
            name, part = self._asked[tensor.op][tensor.value_index]
            targets = list(_targets(tensor))
            variable = _taker(leaf) if not targets else targets[0][0].inputs[0].op.name
            shapes = (
                [_shape(assign, reshaped) for assign, reshaped in targets] if not part else [_known(tensor)]
            )
            shape = next((shape for shape in shapes if shape is not None), None)
            self._by_source[tensor] = Demand(
                key=name,
                variable=variable,
                dtype=tensor.dtype.base_dtype,
                shape=shape,
                slice=part,
                reshapes=any(reshaped for _, reshaped in targets),
                tensor=tensor,
            )
        return self._by_source[tensor]

    def _embedding(self, operation: Operation) -> Demand:
        from kvarn.ops.kv import tensor_name

        if operation not in self._by_source:
            known = constant_value(operation.inputs[NAMES_AT[operation.type]])
            if known is None:
                raise _only_when_run(operation)
            self._by_source[operation] = Demand(
                key=tensor_name(known),
                variable=operation.inputs[1].op.name,
                dtype=operation.attrs["dtype"],
                shape=tuple(operation.attrs["shape"][-1:]),
                importing=operation,
                key_dtype=operation.attrs["Tkeys"],
            )
        return self._by_source[operation]

    # -- variables --------------------------------------------------------------------------------

    @cached_property
    def initializers(self) -> dict[str, Operation]:
        """The operation that gives a variable its initial value, by the name of the variable's operation."""
        found: dict[str, Operation] = {}
        for variable in self._variables():
            if getattr(variable, "initializer", None) is not None:
                found[variable.op.name] = variable.initializer
        return found

    @cached_property
    def trainable(self) -> set[str]:
        """The names of the operations of the variables that optimizers train."""
        return {variable.op.name for variable in self._variables(GraphKeys.TRAINABLE_VARIABLES)}

    def _variables(self, *keys: str) -> Iterator[Any]:
        waiting: list[Any] = [
            item
            for key in keys or (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES)
            for item in self.graph.get_collection(key)
        ]
        while waiting:
            item = waiting.pop()
            if hasattr(item, "initializer") and hasattr(item, "op"):
                yield item
            elif hasattr(item, "__iter__"):
                # A variable in parts, or made of variables.
                waiting.extend(item)


def _leaves(restore_op: Operation) -> Iterator[Operation]:
    """The operations that a group of groups consists of."""
    seen = {restore_op}
    waiting = [restore_op]
    while waiting:
        operation = waiting.pop()
        if operation.type != "NoOp":
            yield operation
            continue
        for before in reversed(operation.control_inputs):
            if before not in seen:
                seen.add(before)
                waiting.append(before)


def _asked(operation: Operation) -> list[tuple[str, str]]:
    """The names and slices that the outputs of a reading operation are."""
    names = constant_value(operation.inputs[1])
    if names is None:
        raise _only_when_run(operation)
    if operation.type == "Restore":
        return [(decode_name(name), "") for name in names.reshape(-1)]
    slices = constant_value(operation.inputs[2])
    if slices is None:
        raise _only_when_run(operation)
    pairs = zip(names.reshape(-1), slices.reshape(-1), strict=True)
    return [(decode_name(name), decode_name(part)) for name, part in pairs]


def _targets(tensor: Tensor, reshaped: bool = False) -> Iterator[tuple[Operation, bool]]:
    """The operations that assign a tensor, and whether in another shape."""
    for operation in tensor.consumers():
        if operation.type in ("Identity", "Reshape") and operation.inputs[0] is tensor:
            yield from _targets(operation.outputs[0], reshaped or operation.type == "Reshape")
        elif operation.type in ("Assign", "AssignVariableOp") and operation.inputs[1] is tensor:
            yield operation, reshaped


def _shape(assign: Operation, reshaped: bool) -> tuple[int, ...] | None:
    """The shape that an assigned value must have, or has after it was given another one; None for any."""
    return _known(assign.inputs[1]) if reshaped else demanded_shape(assign)


def _known(tensor: Tensor) -> tuple[int, ...] | None:
    sizes = tensor.static_shape
    known = tuple(size for size in sizes or () if size is not None)
    return None if sizes is None or len(known) < len(sizes) else known


def _taker(leaf: Operation) -> str:
    """What to call something that is no variable: by its resource, such as a table's, or by what sets it."""
    resources = [tensor.op.name for tensor in leaf.inputs if tensor.dtype.base_dtype.name == "resource"]
    return resources[0] if resources else leaf.name


def _only_when_run(operation: Operation) -> errors.OpError:
    return errors.UnimplementedError.of(
        f"The names that '{operation.name}' ({operation.type}) reads are only known when it runs.",
        name=operation.name,
        hint="Restore without a plan.",
    )
