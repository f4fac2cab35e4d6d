"""Graphs from GraphDef messages.

An import is all or nothing: when a node turns out to be wrong, the graph is as it was before.

Source: tensorflow/python/framework/importer.py and tensorflow/core/graph/graph_constructor.cc (1.15).
"""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from kvarn import errors
from kvarn.graph import device as device_lib
from kvarn.graph import functions, newer_attrs, registry, shape_inference, tensor_shape
from kvarn.graph import op_def as op_def_lib
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GRAPH_DEF_VERSION, Graph, get_default_graph, name_scope
from kvarn.graph.graph_def import OUTPUT_SHAPES, TENSORFLOW_VERSION
from kvarn.graph.node_validation import input_types, node_attrs, type_name
from kvarn.graph.operation import Operation, arg_types, capture_stack
from kvarn.graph.registry import OpRegistrationData
from kvarn.graph.tensor import Tensor

# The output index of a control input, ``^node``.
CONTROL: Final = -1

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./\-]*")
_COLOCATION = b"loc:@"

# Ops whose recorded output shapes may contradict what is inferred: older TensorFlows inferred wrong ones.
_UNRELIABLE_SHAPES: Final = frozenset((
    "RandomShuffleQueue", "PaddingFIFOQueue", "FIFOQueue", "PriorityQueue", "QueueSize", "Stack", "Barrier",
    "BarrierReadySize", "BarrierIncompleteSize", "HashTable", "MutableHashTable", "MutableHashTableOfTensors",
    "Mutex", "CuckooTable", "IndexTable", "WholeFileReader", "TextLineReader", "FixedLengthRecordReader",
    "TFRecordReader", "IdentityReader", "RefSwitch", "RefEnter", "RefNextIteration", "RefMerge",
    "RefIdentity", "LMDBReader", "ConditionalAccumulator", "SparseConditionalAccumulator", "Table",
))  # fmt: skip


@dataclass(slots=True)
class ImportedFunction:
    """A function of a graph's library.

    Attributes:
      definition: the FunctionDef message.
      gradient: the name of its gradient function, or "".
      registration: how nodes that call it are made.
    """

    definition: Any
    gradient: str
    registration: OpRegistrationData


def import_graph_def(
    graph_def: Any,
    input_map: dict[str, Any] | None = None,
    return_elements: Iterable[str] | None = None,
    name: str | None = None,
    op_dict: Any = None,
    producer_op_list: Any = None,
) -> list[Any] | None:
    """Adds the nodes of a GraphDef to the default graph.

    Unlike TensorFlow, it leaves ``graph_def`` as it is, and it refuses constants whose bytes do not fit
    their shape or type at once instead of when they are run.  Attributes of later TensorFlows that say nothing
    (`kvarn.graph.newer_attrs`) are left out.

    Args:
      graph_def: the GraphDef message, kvarn's or TensorFlow's own.
      input_map: tensors to use in place of tensors of ``graph_def``, by name (``op`` or ``op:1``); for
        ``^op``, the operation of the tensor to wait for.  Values that are not tensors are converted.
      return_elements: names of operations and tensors of ``graph_def`` to return.
      name: scope for the new nodes; None for a new ``import``, "" for none.
      op_dict: not used.
      producer_op_list: OpList of the program that wrote the graph.  Attributes that are not known here
        are dropped when they have the default value that they have there.

    Returns:
      The Operations and Tensors of ``return_elements``, or None.

    Raises:
      TypeError: an argument is of the wrong kind.
      ValueError: the graph or the names given do not fit together.
      NotFoundError: a node has an op that is not registered; all such ops are named.
    """
    del op_dict
    graph_def = _own_message(graph_def)
    if input_map is None:
        input_map = {}
    if not isinstance(input_map, dict) or not all(isinstance(k, str | bytes) for k in input_map):
        raise TypeError("input_map must be a dictionary mapping strings to Tensor objects.")
    wanted: list[str] | None = None
    if return_elements is not None:
        elements = list(return_elements)
        if not all(isinstance(x, str | bytes) for x in elements):
            raise TypeError("return_elements must be a list of strings.")
        wanted = [x.decode() if isinstance(x, bytes) else x for x in elements]
    graph = get_default_graph()
    graph._check_not_finalized()
    with name_scope(name, "import", list(input_map.values())) as scope:
        if not all(isinstance(v, Tensor) for v in input_map.values()):
            if name == "":
                raise ValueError(
                    "tf.import_graph_def() requires a non-empty `name` if `input_map` contains non-Tensor "
                    "values. Try calling tf.convert_to_tensor() on `input_map` values before calling "
                    "tf.import_graph_def()."
                )
            with name_scope("_inputs"):
                input_map = {k: convert_to_tensor(v) for k, v in input_map.items()}
    mapped: dict[tuple[str, int], Tensor] = {}
    for key, tensor in input_map.items():
        key = key.decode() if isinstance(key, bytes) else key
        mapped[(key[1:], CONTROL) if key.startswith("^") else parse_tensor_name(key)] = tensor
    returned = [parse_tensor_name(x) if ":" in x else x for x in wanted or ()]
    with graph._lock:
        work = _Import(graph, graph_def, scope, mapped, producer_op_list)
        try:
            work.build()
            result = [work.find(x) for x in returned]
        except BaseException:
            work.undo()
            raise
        work.commit()
    unused = work.unknown_mappings()
    if unused:
        raise ValueError(f"Attempted to map inputs that were not found in graph_def: [{', '.join(unused)}]")
    return None if wanted is None else result


def parse_tensor_name(name: str) -> tuple[str, int]:
    """(operation, index) of ``operation:index``; the index is 0 when it is left out.

    Raises:
      ValueError: the name has another form.
    """
    parts = name.split(":")
    if len(parts) == 1:
        return name, 0
    if len(parts) == 2 and parts[1].isdecimal():
        return parts[0], int(parts[1])
    raise ValueError(f"Cannot convert {name!r} to a tensor name.")


def _own_message(graph_def: Any) -> Any:
    from kvarn import protos

    if isinstance(graph_def, protos.GraphDef):
        return graph_def
    descriptor = getattr(graph_def, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", None) != "tensorflow.GraphDef":
        raise TypeError("graph_def must be a GraphDef proto.")
    return protos.GraphDef.FromString(graph_def.SerializeToString())


def _split_input(text: str) -> tuple[str, int]:
    """(node, index) of an entry of NodeDef.input."""
    if text.startswith("^"):
        return text[1:], CONTROL
    name, colon, digits = text.rpartition(":")
    if colon and digits.isdecimal():
        return name, int(digits)
    return text, 0


class _Import:
    """One import on its way: `build`, then `commit` or `undo`."""

    def __init__(
        self,
        graph: Graph,
        graph_def: Any,
        scope: str,
        mapped: dict[tuple[str, int], Tensor],
        producer_op_list: Any,
    ) -> None:
        self.graph = graph
        self.graph_def = graph_def
        self.nodes = list(graph_def.node)
        self.scope = scope
        self.mapped = mapped
        self.producer = {} if producer_op_list is None else {op.name: op for op in producer_op_list.op}
        self.used: set[tuple[str, int]] = set()
        self.index: dict[str, int] = {}
        self.inputs: list[list[tuple[str, int]]] = []
        # By name in the GraphDef, in the order in which they were made.
        self.made: dict[str, Operation] = {}
        self.devices: dict[Operation, str] = {}
        self.back_edges: list[tuple[Operation, int, str, int]] = []
        self.functions: dict[str, ImportedFunction] = {}
        self.stack = capture_stack(3)

    def build(self) -> None:
        """Makes all operations, without telling the graph of them."""
        self._check_versions()
        self._check_prefix()
        self._index_nodes()
        self._read_functions()
        self._find_ops()
        existing = self.graph._nodes_by_name
        self.taken = _with_prefixes(existing)
        self.coming = _with_prefixes(self.index)
        for i in self._in_order():
            self._make(i)
        for op, i, source, index in self.back_edges:
            self._connect(op, i, self._output(op.name, source, index))
        # Only now all final names are known.
        for op in self.made.values():
            groups = op.attrs.get("_class")
            if groups:
                op.attrs["_class"] = [self._final_group(g) for g in groups]

    # -- what there is ----------------------------------------------------------------------------

    def _check_versions(self) -> None:
        versions = self.graph_def.versions
        if versions.min_consumer > GRAPH_DEF_VERSION:
            raise ValueError(
                f"GraphDef min consumer version {versions.min_consumer} above current version "
                f"{GRAPH_DEF_VERSION} for TensorFlow {TENSORFLOW_VERSION}.  Please upgrade TensorFlow."
            )
        if GRAPH_DEF_VERSION in versions.bad_consumers:
            raise ValueError(
                f"GraphDef disallows consumer version {GRAPH_DEF_VERSION}.  Please upgrade TensorFlow: this "
                "version is likely buggy."
            )

    def _check_prefix(self) -> None:
        if self.scope and not _NODE_NAME.fullmatch(self.scope[:-1]):
            raise ValueError(f"Imported node name prefix '{self.scope}' would lead to invalid node names")

    def _index_nodes(self) -> None:
        for i, node in enumerate(self.nodes):
            if not _NODE_NAME.fullmatch(node.name):
                raise ValueError(f"Node '{node.name}': Node name contains invalid characters")
            if node.name in self.index:
                raise ValueError(f"Node '{node.name}' is not unique")
            if not node.op:
                raise ValueError(f"Node '{node.name}' does not specify an operation")
            self.index[node.name] = i
            inputs = [_split_input(text) for text in node.input]
            kinds = [index == CONTROL for _, index in inputs]
            if kinds != sorted(kinds):
                raise ValueError(
                    f"Node '{node.name}': Control dependencies must come after regular dependencies"
                )
            self.inputs.append(inputs)

    def _read_functions(self) -> None:
        library = self.graph_def.library
        gradients = {g.function_name: g.gradient_func for g in library.gradient}
        for function in library.function:
            definition = op_def_lib.from_proto(function.signature)
            copy = type(function)()
            copy.CopyFrom(function)
            self.functions[definition.name] = ImportedFunction(
                copy,
                gradients.get(definition.name, ""),
                OpRegistrationData(
                    definition, None, is_function_op=True, kernel=functions.call, grad=functions.call_grad
                ),
            )

    def _find_ops(self) -> None:
        """Looks up every op type once; NotFoundError names all that are not known."""
        self.registrations: dict[str, OpRegistrationData] = {}
        unknown: dict[str, str] = {}
        for node in self.nodes:
            kind = node.op
            if kind in self.registrations or kind in unknown:
                continue
            function = self.functions.get(kind) or self.graph._functions.get(kind)
            data = getattr(function, "registration", None) or registry.global_registry.find(kind)
            if data is None:
                unknown[kind] = node.name
            else:
                self.registrations[kind] = data
        if unknown:
            _raise_unknown_ops(unknown)

    def _in_order(self) -> Iterable[int]:
        """Indices of the nodes, each after its inputs; among those that are ready, the first one first.

        The only cycles allowed are those that a NextIteration closes at a Merge.
        """
        nodes, count = self.nodes, len(self.nodes)
        closing = {n.name for n in nodes if n.op in ("NextIteration", "RefNextIteration")}
        pending = [0] * count
        users: list[list[int]] = [[] for _ in range(count)]
        loops: set[int] = set()
        for i, node in enumerate(nodes):
            waiting = len(self.inputs[i])
            if node.op in ("Merge", "RefMerge"):
                loops.add(i)
                if any(index != CONTROL and name in closing for name, index in self.inputs[i]):
                    # It is ready as soon as the loop is entered.
                    waiting = 1 + sum(index == CONTROL for _, index in self.inputs[i])
            for entry, text in zip(self.inputs[i], node.input, strict=True):
                if entry in self.mapped:
                    waiting -= 1
                    continue
                source = self.index.get(entry[0])
                if source is None:
                    raise ValueError(f"Node '{node.name}': Unknown input node '{text}'")
                users[source].append(i)
            pending[i] = waiting
        ready = [i for i in range(count) if pending[i] <= 0]
        done = 0
        while ready:
            i = heapq.heappop(ready)
            done += 1
            yield i
            for user in users[i]:
                if user in loops and nodes[i].name in closing:
                    continue
                pending[user] -= 1
                if pending[user] == 0:
                    heapq.heappush(ready, user)
        if done < count:
            raise ValueError(f"{count - done} nodes in a cycle")

    # -- one node ---------------------------------------------------------------------------------

    def _make(self, i: int) -> None:
        node = self.nodes[i]
        data = self.registrations[node.op]
        definition = data.op_def
        self._check_colocation(node)
        # None stands for the output of a node that is not made yet.
        inputs: list[Tensor | None] = []
        control_inputs: list[Operation] = []
        late: list[tuple[int, str, int]] = []
        for entry in self.inputs[i]:
            name, index = entry
            tensor = self.mapped.get(entry)
            if tensor is not None:
                self.used.add(entry)
            if index == CONTROL:
                source = tensor.op if tensor is not None else self.made[name]
                if source not in control_inputs:
                    control_inputs.append(source)
            elif tensor is None and name not in self.made:
                if node.op not in ("Merge", "RefMerge"):
                    raise ValueError(
                        f"Node '{node.name}' had a back edge, but only Merge nodes can have back edges."
                    )
                late.append((len(inputs), name, index))
                inputs.append(None)
            else:
                inputs.append(self._output(node.name, name, index) if tensor is None else tensor)
        name = self._unique(self.scope + node.name)
        attrs = node_attrs(self._without_producer_defaults(node, definition), definition, name)
        types = input_types(definition, attrs, len(inputs), name)
        for slot, (x, wanted) in enumerate(zip(inputs, types, strict=True)):
            if x is None:
                # Stands in until the loop is closed: of the right type, and nothing else is known of it.
                known = next(t for t in inputs if t is not None)
                inputs[slot] = Tensor(known.op, known.value_index, wanted)
            else:
                _check_type(name, slot, x, wanted)
        recorded = attrs.pop(OUTPUT_SHAPES, None)
        output_types = [t for arg in definition.outputs for t in arg_types(arg, attrs)]
        op = Operation._blank()
        op._fill(self.graph, data, name, inputs, output_types, attrs, control_inputs, "")  # type: ignore[arg-type]
        op._stack = self.stack
        self.made[node.name] = op
        self.devices[op] = node.device
        self.back_edges.extend((op, slot, source, index) for slot, source, index in late)
        if output_types:
            self.graph._infer_shapes(op)
        if recorded is not None:
            _apply_recorded_shapes(op, recorded)

    def _check_colocation(self, node: Any) -> None:
        if "_class" not in node.attr:
            return
        for group in node.attr["_class"].list.s:
            if group.startswith(_COLOCATION) and group[len(_COLOCATION) :].decode() not in self.index:
                raise ValueError(
                    f"Node '{node.name}' expects to be colocated with unknown node "
                    f"'{group[len(_COLOCATION) :].decode()}'"
                )

    def _output(self, user: str, source: str, index: int) -> Tensor:
        outputs = self.made[source]._outputs
        if index >= len(outputs):
            raise ValueError(
                f"Node '{user}': Connecting to invalid output {index} of source node {source} which has "
                f"{len(outputs)} outputs."
            )
        return outputs[index]

    def _unique(self, name: str) -> str:
        """``name``, or with ``_1``, ``_2`` … when the graph has a node or scope of that name."""
        unique, count = name, 0
        while unique in self.taken or (count and unique in self.coming):
            count += 1
            unique = f"{name}_{count}"
        return unique

    def _without_producer_defaults(self, node: Any, definition: op_def_lib.OpDef) -> Any:
        """The node without attributes that only its producer knows, as far as they say nothing."""
        surplus = [key for key in node.attr if key not in definition.attr_by_name and not key.startswith("_")]
        if not surplus:
            return node
        producer = self.producer.get(node.op)
        known = () if producer is None else producer.attr
        defaults = {a.name: a.default_value for a in known if a.HasField("default_value")}
        surplus = [
            key
            for key in surplus
            if (key in defaults and node.attr[key] == defaults[key])
            or newer_attrs.says_nothing(node.op, key, node.attr[key])
        ]
        if not surplus:
            return node
        copy = type(node)()
        copy.CopyFrom(node)
        for key in surplus:
            del copy.attr[key]
        return copy

    def _connect(self, op: Operation, slot: int, tensor: Tensor) -> None:
        """Closes a loop: puts the tensor that a stand-in was for into its place."""
        _check_type(op.name, slot, tensor, op._inputs[slot].dtype)
        op._inputs[slot] = tensor
        if tensor._consumers is None:
            tensor._consumers = []
        tensor._consumers.append(op)

    def _final_group(self, group: bytes) -> bytes:
        if not group.startswith(_COLOCATION):
            return group
        return _COLOCATION + self.made[group[len(_COLOCATION) :].decode()].name.encode()

    # -- the end ----------------------------------------------------------------------------------

    def find(self, wanted: str | tuple[str, int]) -> Any:
        """The operation of a name, or the tensor of a (name, index) pair."""
        if isinstance(wanted, str):
            if wanted not in self.made:
                raise ValueError(f"Requested return node '{wanted}' not found in graph def")
            return self.made[wanted]
        mapped = self.mapped.get(wanted)
        if mapped is not None:
            self.used.add(wanted)
            return mapped
        name, index = wanted
        if name not in self.made:
            raise ValueError(f"Requested return tensor '{name}:{index}' not found in graph def")
        outputs = self.made[name]._outputs
        if index >= len(outputs):
            raise ValueError(
                f"Invalid return output {index} of node '{name}', which has {len(outputs)} output(s)"
            )
        return outputs[index]

    def unknown_mappings(self) -> list[str]:
        """The keys of the input map that name nothing in the GraphDef."""
        unknown = []
        for name, index in sorted(self.mapped):
            op = self.made.get(name)
            if (name, index) not in self.used and (op is None or index >= len(op._outputs)):
                unknown.append(f"^{name}" if index == CONTROL else f"{name}:{index}")
        return unknown

    def undo(self) -> None:
        """Makes the rest of the graph forget the operations made."""
        new = set(self.made.values())
        for op in new:
            for x in op._inputs:
                if x.op not in new and x._consumers is not None and op in x._consumers:
                    x._consumers.remove(op)
            for c in op._control_inputs:
                if c not in new and c._control_outputs is not None and op in c._control_outputs:
                    c._control_outputs.remove(op)

    def commit(self) -> None:
        """Puts the operations into the graph, under its scopes."""
        graph = self.graph
        for op in self.made.values():
            graph._names_in_use.setdefault(op._name.lower(), 1)
            graph._record(op)
        graph._functions.update(self.functions)
        graph._merge_versions(self.graph_def.versions)
        for op in self.made.values():
            # All before any is looked at: values of a loop come round to operations before them.
            op._control_flow_context = graph._control_flow_context
            graph._record_op_seen_by_control_dependencies(op)
        for op in self.made.values():
            if graph._control_dependencies_stack:
                op._add_control_inputs(graph._control_dependencies_for_inputs([x.op for x in op._inputs]))
            if graph._attr_scope_map or graph._gradient_override_map or graph._op_to_kernel_label_map:
                graph._apply_attr_scopes(op)
            if graph._control_flow_context is not None:
                graph._add_to_context(op)
            if graph._colocation_stack:
                graph._apply_colocation(op)
            if graph._container and op.definition.is_stateful and op.attrs.get("container") == b"":
                op.attrs["container"] = graph._container.encode()
        self._place()

    def _place(self) -> None:
        """Devices: of the op to be colocated with, else its own within the current device scopes."""
        graph = self.graph
        colocated: dict[Operation, list[str]] = {}
        for op, device in self.devices.items():
            own = _COLOCATION + op._name.encode()
            groups = [g for g in op.attrs.get("_class", ()) if g.startswith(_COLOCATION) and g != own]
            if groups:
                colocated[op] = [g[len(_COLOCATION) :].decode() for g in groups]
            elif graph._device_function_stack:
                with graph.device(device_lib.merge_device(device)):
                    graph._apply_device_functions(op)
            elif device:
                op._device = device_lib.canonical_name(device)
        for op, names in colocated.items():
            for name in names:
                other = graph._nodes_by_name.get(name)
                if other is None:
                    raise ValueError(
                        "Specified colocation to an op that does not exist during import: "
                        f"{name} in {op.name}"
                    )
                if other._device:
                    op._device = other._device
                    break


def _with_prefixes(names: Iterable[str]) -> set[str]:
    """The names and all scopes they are in."""
    found: set[str] = set()
    for name in names:
        found.add(name)
        end = name.rfind("/")
        while end > 0 and name[:end] not in found:
            found.add(name[:end])
            end = name.rfind("/", 0, end)
    return found


def _check_type(name: str, slot: int, tensor: Tensor, wanted: Any) -> None:
    found = tensor.dtype
    if found is wanted or (found.base_dtype is wanted and not wanted.is_ref):
        return
    raise ValueError(
        f"Input {slot} of node {name} was passed {type_name(found)} from {tensor.name} incompatible with "
        f"expected {type_name(wanted)}."
    )


def _apply_recorded_shapes(op: Operation, shapes: list[tensor_shape.StaticShape]) -> None:
    if len(shapes) < len(op._outputs):
        raise ValueError(
            f"Node '{op.name}' has {len(op._outputs)} outputs but the {OUTPUT_SHAPES} attribute specifies "
            f"shapes for {len(shapes)} outputs"
        )
    for i, output in enumerate(op._outputs):
        try:
            output._shape = shape_inference.merge(output._shape, shapes[i])
        except ValueError as e:
            if op.type not in _UNRELIABLE_SHAPES:
                raise ValueError(
                    f"Node '{op.name}' has an {OUTPUT_SHAPES} attribute inconsistent with the GraphDef for "
                    f"output #{i}: {e}"
                ) from None


def _raise_unknown_ops(unknown: dict[str, str]) -> None:
    known = [d.name for d in registry.global_registry.get_registered_ops()]
    kind, node = next(iter(unknown.items()))
    text = f"Op type not registered '{kind}' in this build of kvarn, needed by node '{node}'."
    if len(unknown) > 1:
        rest = ", ".join(f"'{k}' (node '{n}')" for k, n in list(unknown.items())[1:6])
        more = len(unknown) - 6
        text += f" Also not registered: {rest}{f' and {more} more' if more > 0 else ''}."
    near = difflib.get_close_matches(kind, known, n=3)
    hint = f"The nearest known ops are {', '.join(near)}. " if near else ""
    hint += (
        "Register the op with kvarn.graph.op.op before importing the graph, or cut the node out, for example "
        "with graph_util.extract_sub_graph."
    )
    raise errors.NotFoundError.of(text, name=node, hint=hint)
