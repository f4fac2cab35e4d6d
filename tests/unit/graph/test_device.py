"""Device strings, as TensorFlow 1.15 reads and writes them."""

from __future__ import annotations

import types

import pytest

from kvarn.graph import device
from kvarn.graph.convert import constant
from kvarn.graph.device import DeviceSpec
from kvarn.graph.graph import Graph


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("/cpu:0", "/device:CPU:0"),
        ("cpu", "/device:CPU:*"),
        ("/GPU:*", "/device:GPU:*"),
        ("/device:CPU:1", "/device:CPU:1"),
        ("/job:worker/replica:0/task:3/device:GPU:2", "/job:worker/replica:0/task:3/device:GPU:2"),
        ("/task:1/job:ps", "/job:ps/task:1"),
        ("/job:ps", "/job:ps"),
        ("/device:XLA_CPU:0", "/device:XLA_CPU:0"),
    ],
)
def test_canonical_names(text: str, canonical: str) -> None:
    assert device.canonical_name(text) == canonical
    assert DeviceSpec.from_string(text).to_string() == canonical


def test_no_device_is_the_empty_name() -> None:
    assert device.canonical_name(None) == ""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("/job:a/what:3", "Unknown attribute: 'what' in '/job:a/what:3'"),
        ("nonsense", "Unknown attribute: 'nonsense' in 'nonsense'"),
        ("/cpu:0/gpu:0", "Cannot specify multiple device types"),
        ("/device:CPU:0/gpu:1", "Cannot specify multiple device types"),
        ("/task:x", "invalid literal"),
    ],
)
def test_malformed_names_are_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        device.check_valid(text)


def test_parts_can_be_read_and_set() -> None:
    spec = DeviceSpec(job="worker", task=2, device_type="gpu", device_index=1)
    assert (spec.job, spec.replica, spec.task, spec.device_type, spec.device_index) == (
        "worker",
        None,
        2,
        "GPU",
        1,
    )
    spec.job, spec.replica, spec.task, spec.device_type, spec.device_index = "ps", 0, "3", "cpu", None
    assert spec.to_string() == "/job:ps/replica:0/task:3/device:CPU:*"
    assert spec.replace(task=4).to_string() == "/job:ps/replica:0/task:4/device:CPU:*"
    assert spec.parse_from_string("/job:a") is spec
    assert spec == DeviceSpec(job="a")
    assert len({spec, DeviceSpec(job="a"), DeviceSpec(job="b")}) == 2


def test_merging_prefers_what_the_other_says() -> None:
    spec = DeviceSpec.from_string("/job:worker/task:1/device:CPU:0")
    other = DeviceSpec.from_string("/task:7/device:GPU:*")
    assert spec.make_merged_spec(other).to_string() == "/job:worker/task:7/device:GPU:0"
    spec.merge_from(other)
    assert spec.to_string() == "/job:worker/task:7/device:GPU:0"


def test_a_merger_fills_up_what_the_node_asks_for() -> None:
    merge = device.merge_device("/job:ps/device:CPU:0")
    assert merge(types.SimpleNamespace(device="/task:3")) == "/job:ps/task:3/device:CPU:0"
    assert merge(types.SimpleNamespace(device="/device:GPU:1")) == "/job:ps/device:GPU:1"
    assert device.merge_device(merge) is merge
    assert device.merge_device("").is_null_merge
    assert not merge.is_null_merge


def test_a_merger_keeps_what_a_spec_said_when_it_was_made() -> None:
    spec = DeviceSpec(job="a")
    merge = device.merge_device(spec)
    spec.job = "b"
    assert merge(types.SimpleNamespace(device="")) == "/job:a"


def test_scopes_of_a_graph_nest() -> None:
    with Graph().as_default() as graph, graph.device("/job:ps"), graph.device("/task:1/cpu:0"):
        inner = graph.create_op("NoOp", [])
        with graph.device(None):
            free = graph.create_op("NoOp", [])
        with graph.device("/job:worker"):
            other = graph.create_op("NoOp", [])
    assert inner.device == "/job:ps/task:1/device:CPU:0"
    assert free.device == ""
    assert other.device == "/job:worker/task:1/device:CPU:0"


def test_a_value_to_be_near_to_becomes_a_constant() -> None:
    with Graph().as_default() as graph, graph.colocate_with([1.0]):
        constant(2.0, name="beside")
    assert [op.name for op in graph.get_operations()] == ["Const", "beside"]
    assert graph.get_operation_by_name("beside").colocation_groups() == [b"loc:@Const"]
