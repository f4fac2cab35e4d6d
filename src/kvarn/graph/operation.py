"""Operations: the nodes of a graph.

Source: tensorflow/python/framework/ops.py.
"""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph.shape_inference import fmt, merge
from kvarn.graph.tensor import Tensor

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph
    from kvarn.graph.op_def import OpDef
    from kvarn.graph.registry import OpRegistrationData

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Frames kept of the stack that built an operation, innermost first.
_MAX_FRAMES = 24


def capture_stack(skip: int) -> list[tuple[CodeType, int]]:
    """The calling stack as (code, instruction) pairs; lines are worked out only when somebody asks."""
    frames = []
    frame = sys._getframe(skip)
    count = 0
    while frame is not None and count < _MAX_FRAMES:
        frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back  # type: ignore[assignment]
        count += 1
    return frames


def _line(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno


class Operation:
    """A node of a `Graph`: an op type, attributes, input tensors and output tensors.

    Made by the op functions of `kvarn.ops` or by `Graph.create_op`.  The constructor adds one that a NodeDef
    describes.

    Args:
      node_def: op type, name, attributes and device; the name is not made unique, and inputs in it do not count.
      g: the graph.
      inputs: the input tensors, flat.
      output_types: element types of the outputs; they follow from the definition and need not be given.
      control_inputs: Operations, or Tensors, to wait for.
      input_types: element types of the inputs; by default those of the tensors.
      original_op: what this one stands for.
      op_def: of no effect: the registered definition of the type counts.

    Raises:
      TypeError: arguments of other types, or inputs of other types than the op type takes.
      ValueError: not a valid name, or one that is there already.
      NotFoundError: the op type is not registered.

    Attributes:
      type: name of the op type, such as ``MatMul``.
      attrs: attribute values by name, in the form that `kvarn.graph.attr_value` describes.
      registration: the `OpRegistrationData` of the type.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_control_flow_context",
        "_control_inputs",
        "_control_outputs",
        "_device",
        "_gradient_op_type",
        "_graph",
        "_id",
        "_inputs",
        "_name",
        "_original_op",
        "_outputs",
        "_stack",
        "attrs",
        "registration",
        "type",
    )

    def __init__(
        self,
        node_def: Any,
        g: Graph,
        inputs: Any = None,
        output_types: Any = None,
        control_inputs: Any = None,
        input_types: Any = None,
        original_op: Operation | None = None,
        op_def: Any = None,
    ) -> None:
        from kvarn.graph import node_operation

        del output_types, op_def
        node_operation.add(self, node_def, g, inputs, control_inputs, input_types, original_op)

    @classmethod
    def _blank(cls) -> Operation:
        """One that `_fill` makes an operation of."""
        return cls.__new__(cls)

    def _fill(
        self,
        graph: Graph,
        registration: OpRegistrationData,
        name: str,
        inputs: list[Tensor],
        output_types: list[DType],
        attrs: dict[str, Any],
        control_inputs: list[Operation],
        device: str,
    ) -> None:
        self._graph = graph
        self.registration = registration
        self.type: str = registration.op_def.name
        self._name = name
        self._inputs = inputs
        self.attrs = attrs
        self._control_inputs = control_inputs
        self._control_outputs: list[Operation] | None = None
        self._device = device
        self._original_op: Operation | None = None
        self._gradient_op_type: str | None = None
        self._control_flow_context: Any = None
        self._stack: list[tuple[CodeType, int]] | None = None
        self._id = 0
        self._outputs = [Tensor(self, i, t) for i, t in enumerate(output_types)]
        for x in inputs:
            consumers = x._consumers
            if consumers is None:
                x._consumers = [self]
            else:
                consumers.append(self)
        for c in control_inputs:
            if c._control_outputs is None:
                c._control_outputs = [self]
            else:
                c._control_outputs.append(self)

    @property
    def name(self) -> str:
        """Its full name in the graph."""
        return self._name

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def inputs(self) -> list[Tensor]:
        """Input tensors, flat; do not change the list."""
        return self._inputs

    @property
    def outputs(self) -> list[Tensor]:
        """Output tensors, flat; do not change the list."""
        return self._outputs

    @property
    def control_inputs(self) -> list[Operation]:
        """Operations that must run before this one."""
        return list(self._control_inputs)

    @property
    def _control_output_list(self) -> list[Operation]:
        return list(self._control_outputs or ())

    @property
    def control_outputs(self) -> list[Operation]:
        """Operations that wait for this one."""
        return list(self._control_outputs or ())

    @property
    def _input_types(self) -> list[DType]:
        return [x.dtype for x in self._inputs]

    @property
    def _output_types(self) -> list[DType]:
        return [x.dtype for x in self._outputs]

    @property
    def device(self) -> str:
        """The device asked for, ``""`` if none was."""
        return self._device

    def _set_device(self, device: Any) -> None:
        from kvarn.graph.device import canonical_name

        self._device = canonical_name(device)
        self._graph._version_bump()

    @property
    def op_def(self) -> Any:
        """The OpDef message of the type."""
        return self.registration.op_def.to_proto()

    @property
    def definition(self) -> OpDef:
        """The parsed definition of the type."""
        return self.registration.op_def

    @property
    def node_def(self) -> Any:
        """The NodeDef message."""
        from kvarn.graph import graph_def

        return graph_def.node_def(self)

    @property
    def traceback(self) -> list[tuple[str, int, str, str]]:
        """The stack that built it, outermost first: (file, line, function, text)."""
        return [frame[:4] for frame in self.traceback_with_start_lines]

    @property
    def traceback_with_start_lines(self) -> list[tuple[str, int, str, str, int]]:
        """`traceback` with the line where each function begins."""
        out = []
        for code, instruction in reversed(self._stack or ()):
            line = _line(code, instruction)
            text = linecache.getline(code.co_filename, line).strip()
            out.append((code.co_filename, line, code.co_name, text, code.co_firstlineno))
        return out

    def user_frame(self) -> tuple[str, int, str] | None:
        """(file, line, text) of the innermost stack frame outside kvarn, or None."""
        for code, instruction in self._stack or ():
            if not code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith("<frozen"):
                line = _line(code, instruction)
                return code.co_filename, line, linecache.getline(code.co_filename, line).strip()
        return None

    def get_attr(self, name: str) -> Any:
        """The value of an attribute in the form TensorFlow gives it: DType for types, messages for shapes
        and tensors, bytes for strings, Python lists.

        Raises:
          ValueError: there is no such attribute.
        """
        try:
            value = self.attrs[name]
        except KeyError:
            raise ValueError(f"Operation '{self._name}' has no attr named '{name}'.") from None
        from kvarn.graph import attr_value

        attr = self.definition.attr_by_name.get(name)
        return attr_value.to_python(value, attr.type if attr is not None else None)

    def _set_attr(self, name: str, attr_value_proto: Any) -> None:
        from kvarn.graph import attr_value

        attr = self.definition.attr_by_name.get(name)
        self.attrs[name] = attr_value.from_attr_value(
            attr_value_proto, attr.type if attr is not None else None
        )
        self._graph._version_bump()

    def _clear_attr(self, name: str) -> None:
        self.attrs.pop(name, None)
        self._graph._version_bump()

    def colocation_groups(self) -> list[bytes]:
        """Its colocation groups; of one's own when none was set."""
        groups: list[bytes] = [g for g in self.attrs.get("_class", ()) if g.startswith(b"loc:@")]
        return groups or [b"loc:@" + self._name.encode()]

    def values(self) -> tuple[Tensor, ...]:
        return tuple(self._outputs)

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Runs it in ``session`` or the default session; ValueError without one."""
        from kvarn.graph import session as session_lib

        session_lib.run_operation(self, feed_dict, session, self._graph)

    def _add_control_input(self, op: Operation) -> None:
        self._add_control_inputs([op])

    def _add_control_inputs(self, ops: list[Operation]) -> None:
        for op in ops:
            if not isinstance(op, Operation):
                raise TypeError(f"op must be an Operation: {op}")
            if op._graph is not self._graph:
                raise ValueError(f"{op.name} must be from the same graph as {self._name}.")
            if op not in self._control_inputs:
                self._control_inputs.append(op)
                if op._control_outputs is None:
                    op._control_outputs = []
                op._control_outputs.append(self)
        self._graph._version_bump()

    def _remove_all_control_inputs(self) -> None:
        for op in self._control_inputs:
            assert op._control_outputs is not None
            op._control_outputs.remove(self)
        self._control_inputs = []
        self._graph._version_bump()

    def _detach(self) -> None:
        """Makes the inputs forget an operation that did not come into the graph."""
        for x in self._inputs:
            assert x._consumers is not None
            x._consumers.remove(self)
        for op in self._control_inputs:
            assert op._control_outputs is not None
            op._control_outputs.remove(self)

    def _add_inputs(self, tensors: list[Tensor]) -> None:
        """Takes further inputs, for an operation whose attributes have been changed to take them."""
        for x in tensors:
            if x.graph is not self._graph:
                raise ValueError(f"{x.name} must be from the same graph as {self._name}.")
            self._inputs.append(x)
            if x._consumers is None:
                x._consumers = []
            x._consumers.append(self)
        self._graph._version_bump()

    def _add_outputs(self, types: list[DType], shapes: list[tuple[int | None, ...] | None]) -> None:
        """Gives further outputs, for an operation whose attributes have been changed to give them."""
        for dtype, shape in zip(types, shapes, strict=True):
            output = Tensor(self, len(self._outputs), dtype)
            output._shape = shape
            self._outputs.append(output)
        self._graph._version_bump()

    def _update_input(self, index: int, tensor: Tensor) -> None:
        """Replaces input ``index``.

        Raises:
          ValueError: a tensor of another graph.
          OutOfRangeError: there is no such input.
          InvalidArgumentError: the shapes contradict each other.
        """
        if tensor.graph is not self._graph:
            raise ValueError(f"{tensor.name} must be from the same graph as {self._name}.")
        if not 0 <= index < len(self._inputs):
            raise errors.OutOfRangeError(
                None,
                self,
                f"Cannot update edge. Input index [{index}] is greater than the number of total inputs "
                f"[{len(self._inputs)}].",
            )
        old = self._inputs[index]
        try:
            merge(tensor._shape, old._shape)
        except ValueError:
            shapes = f"{fmt(tensor._shape)} and {fmt(old._shape)}"
            text = f"Cannot update edge, incompatible shapes: {shapes}"
            raise errors.InvalidArgumentError(None, self, text) from None
        if tensor.dtype.base_dtype is not old.dtype.base_dtype:
            self._graph._mistyped.setdefault((self, index), old.dtype)
        assert old._consumers is not None
        old._consumers.remove(self)
        self._inputs[index] = tensor
        if tensor._consumers is None:
            tensor._consumers = []
        tensor._consumers.append(self)
        self._graph._version_bump()

    def _get_control_flow_context(self) -> Any:
        return self._control_flow_context

    def _set_control_flow_context(self, context: Any) -> None:
        self._control_flow_context = context

    def input_arg(self, name: str) -> Any:
        """The tensor of input argument ``name``; a list of them for a list argument."""
        return _arg(self.definition.inputs, self._inputs, self.attrs, name)

    def output_arg(self, name: str) -> Any:
        """The tensor of output argument ``name``; a list of them for a list argument."""
        return _arg(self.definition.outputs, self._outputs, self.attrs, name)

    def __str__(self) -> str:
        return str(self.node_def)

    def __repr__(self) -> str:
        return f"<tf.Operation '{self._name}' type={self.type}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def arg_length(arg: Any, attrs: dict[str, Any]) -> int:
    """How many tensors argument ``arg`` stands for."""
    if arg.number_attr:
        return int(attrs[arg.number_attr])
    if arg.type_list_attr:
        return len(attrs[arg.type_list_attr])
    return 1


def arg_types(arg: Any, attrs: dict[str, Any]) -> list[DType]:
    """The element types of the tensors of argument ``arg``."""
    if arg.type_list_attr:
        types = [dtypes.as_dtype(t) for t in attrs[arg.type_list_attr]]
    else:
        one = arg.type if arg.type is not None else attrs[arg.type_attr]
        types = [one] * (int(attrs[arg.number_attr]) if arg.number_attr else 1)
    return [t._as_ref for t in types] if arg.is_ref else types


def _arg(args: Any, tensors: list[Tensor], attrs: dict[str, Any], name: str) -> Any:
    start = 0
    for arg in args:
        length = arg_length(arg, attrs)
        if arg.name == name:
            return list(tensors[start : start + length]) if arg.is_list else tensors[start]
        start += length
    raise KeyError(name)
