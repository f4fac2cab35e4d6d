"""All definitions as messages."""

from __future__ import annotations

import pytest

from kvarn import protos
from kvarn.graph import op_def_registry as registry
from kvarn.graph.registry import global_registry


def test_every_op_is_in_the_list() -> None:
    ops = registry.get_registered_ops()
    listed = registry.get_op_list()
    assert [op.name for op in listed.op] == sorted(ops)
    assert {op.name: op for op in listed.op} == ops
    assert ops["Add"].input_arg[0].type_attr == "T"
    assert not any(op.name.startswith("_") for op in registry.get_op_list(include_internal=False).op)


def test_lists_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests must not find the op of this one.
    global_registry.get_registered_ops()
    monkeypatch.setattr(global_registry, "_registry", dict(global_registry._registry))
    registry.register_op_list(registry.get_op_list())
    other = protos.OpList()
    other.op.add(name="OpOfAnotherProgram").output_arg.add(name="y", type=protos.DT_FLOAT)
    registry.register_op_list(other)
    assert registry.get_registered_ops()["OpOfAnotherProgram"] == other.op[0]
    other.op[0].is_stateful = True
    with pytest.raises(
        ValueError, match=r"(?s)^Registered op_def for OpOfAnotherProgram .* not equal to op_def"
    ):
        registry.register_op_list(other)
    with pytest.raises(TypeError, match="not an op_def_pb2"):
        registry.register_op_list(other.op[0])
