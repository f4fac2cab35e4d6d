"""OpRegistry: deferred registration and the watcher, as TensorFlow's has them."""

from __future__ import annotations

import pytest

from kvarn import errors
from kvarn.graph import op_def
from kvarn.graph.registry import OpRegistrationData, OpRegistry, global_registry


def data(name: str) -> OpRegistrationData:
    return OpRegistrationData(op_def.parse(name, "x: T", "y: T", "T: type"))


def test_registrations_wait_until_the_registry_is_asked() -> None:
    registry, calls = OpRegistry(), []

    def factory() -> OpRegistrationData:
        calls.append("A")
        return data("A")

    registry.register(factory)
    assert calls == []
    assert registry.look_up("A").op_def.name == "A"
    registry.register(lambda: data("B"))
    assert [d.name for d in registry.get_registered_ops()] == ["A", "B"]
    assert calls == ["A"]


def test_deferring_again_and_clearing() -> None:
    registry = OpRegistry()
    registry.process_registrations()
    registry.defer_registrations()
    registry.register(lambda: data("A"))
    registry.clear_deferred_registrations()
    assert registry.find("A") is None


def test_a_name_is_registered_once() -> None:
    registry = OpRegistry()
    registry.process_registrations()
    registry.register(lambda: data("A"))
    with pytest.raises(errors.AlreadyExistsError, match="A is registered twice"):
        registry.register(lambda: data("A"))
    registry.register_unparsed("B", lambda: data("B"))
    with pytest.raises(errors.AlreadyExistsError, match="B is registered twice"):
        registry.register_unparsed("B", lambda: data("B"))


def test_the_watcher_hears_of_each_registration_and_may_swallow_an_error() -> None:
    registry, heard = OpRegistry(), []

    def watcher(problem: Exception | None, definition: op_def.OpDef) -> Exception | None:
        heard.append((definition.name, type(problem)))
        return None

    registry.process_registrations()
    registry.set_watcher(watcher)
    registry.register(lambda: data("A"))
    registry.register(lambda: data("A"))
    assert heard == [("A", type(None)), ("A", errors.AlreadyExistsError)]
    with pytest.raises(errors.AlreadyExistsError, match="watcher"):
        registry.set_watcher(watcher)
    registry.set_watcher(None)


def test_an_unknown_op_names_what_comes_near() -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        global_registry.look_up("MatMull")
    assert "Op type not registered 'MatMull'" in str(caught.value)
    assert "MatMul" in caught.value.hint
    assert caught.value.name == "MatMull"


def test_a_source_of_ops_is_loaded_when_a_name_is_missing() -> None:
    registry = OpRegistry()
    registry.defer(lambda: registry.register_unparsed("Late", lambda: data("Late")))
    assert registry.look_up("Late").op_def.name == "Late"


@pytest.mark.parametrize(
    ("spec", "kind", "default"),
    [
        ("T: type", "type", op_def.REQUIRED),
        ("N: int >= 1", "int", op_def.REQUIRED),
        ("axis: int = -1", "int", -1),
        ("shape: shape = { unknown_rank: true }", "shape", None),
        ("name: string = 'a, b'", "string", b"a, b"),
        ("sizes: list(int) = [1, 2]", "list(int)", [1, 2]),
        ("keep: bool = false", "bool", False),
        ("mode: {'sum', 'mean'} = 'mean'", "string", b"mean"),
    ],
)
def test_attributes_of_the_registration_language(spec: str, kind: str, default: object) -> None:
    attr = op_def.parse_attr(spec)
    assert (attr.type, attr.default) == (kind, default)


def test_what_is_no_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="not an attribute definition"):
        op_def.parse_attr("T type")


def test_a_definition_survives_its_message() -> None:
    first = op_def.parse(
        "A", "xs: N * T, i: Ref(int64)", "ys: Tout", "N: int >= 2, T: {float, int32}, Tout: list(type)"
    )
    second = op_def.from_proto(first.to_proto())
    assert (first.inputs, first.outputs, first.attrs) == (second.inputs, second.outputs, second.attrs)
