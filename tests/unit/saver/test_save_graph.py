"""The nodes that a Saver adds, against those of TensorFlow 1.15.5 (tests/golden/saver)."""

from __future__ import annotations

import importlib.util
import json
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

import kvarn as tf
from kvarn.graph.tensor_util import MakeNdarray
from kvarn.saver.builder import BaseSaverBuilder

GOLDEN = Path(__file__).parents[2] / "golden" / "saver"
RECORDED = json.loads((GOLDEN / "save_graphs.json").read_text())


def _programs():
    spec = importlib.util.spec_from_file_location("save_graph_programs", GOLDEN / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ALL


PROGRAMS = _programs()


class _Names:
    """kvarn under TensorFlow's names, and the one name that has no public place."""

    BaseSaverBuilder = BaseSaverBuilder

    def __getattr__(self, name):
        return getattr(tf, name)


def _attr(value):
    kind = value.WhichOneof("value")
    if kind == "list":
        return {"type": list(value.list.type), "s": [s.decode() for s in value.list.s]}
    if kind == "tensor":
        return [v.decode() if isinstance(v, bytes) else v for v in MakeNdarray(value.tensor).ravel().tolist()]
    if kind == "shape":
        return None if value.shape.unknown_rank else [d.size for d in value.shape.dim]
    found = getattr(value, kind)
    return found.decode() if isinstance(found, bytes) else found


def test_every_program_is_recorded() -> None:
    assert set(PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_save_graph(name: str, monkeypatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: SimpleNamespace(hex="0" * 32))
    with tf.Graph().as_default() as graph:
        make = PROGRAMS[name](_Names())
        before = len(graph.as_graph_def().node)
        saver_def = make().saver_def
        nodes = [
            [n.name, n.op, list(n.input), n.device, {k: _attr(n.attr[k]) for k in sorted(n.attr)}]
            for n in graph.as_graph_def().node[before:]
        ]
    wanted = RECORDED[name]
    assert [n[:2] for n in nodes] == [n[:2] for n in wanted["nodes"]]
    for node, recorded in zip(nodes, wanted["nodes"], strict=True):
        # TensorFlow gives control inputs in no defined order.
        node[2].sort(key=lambda i: i if i.startswith("^") else "")
        recorded[2].sort(key=lambda i: i if i.startswith("^") else "")
        assert node == recorded
    assert [
        saver_def.filename_tensor_name,
        saver_def.save_tensor_name,
        saver_def.restore_op_name,
        saver_def.max_to_keep,
        saver_def.sharded,
        saver_def.keep_checkpoint_every_n_hours,
        saver_def.version,
    ] == wanted["saver_def"]
