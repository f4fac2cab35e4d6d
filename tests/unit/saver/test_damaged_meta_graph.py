"""A .meta file that is cut or changed: an error that names the file, never another kind of end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import kvarn as tf
from kvarn import errors


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    with tf.Graph().as_default():
        v = tf.get_variable("v", [2, 3], initializer=tf.zeros_initializer())
        table = tf.get_embedding_variable("e", embedding_dim=4, partitioner=tf.fixed_size_partitioner(2))
        rows = tf.nn.embedding_lookup(table, tf.constant([1, 2], tf.int64))
        loss = tf.reduce_sum(rows) + tf.reduce_sum(v)
        tf.train.AdagradOptimizer(0.1).minimize(loss)
        path = tmp_path / "m.meta"
        tf.train.Saver().export_meta_graph(str(path))
    return path


def told(path: Path) -> Exception | None:
    """The error of importing a file, which names it; None if there is none."""
    with tf.Graph().as_default():
        try:
            tf.train.import_meta_graph(str(path))
        except (OSError, errors.OpError, KeyError, TypeError, ValueError) as e:
            error = e
        else:
            return None
    assert str(path) in "\n".join([str(error), *getattr(error, "__notes__", [])])
    return error


def test_whole_it_is_imported(meta: Path) -> None:
    assert told(meta) is None


def test_cut_anywhere(meta: Path) -> None:
    content = meta.read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(40):
        meta.write_bytes(content[: chance.randrange(len(content))])
        refused += told(meta) is not None
    # A cut between two fields of the message cannot be seen; few places are.
    assert refused >= 38


def test_a_flipped_bit_anywhere(meta: Path) -> None:
    content = meta.read_bytes()
    chance = random.Random(2)
    refused = 0
    for _ in range(80):
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        meta.write_bytes(changed)
        refused += told(meta) is not None
    assert refused > 40


def test_a_damaged_collection(meta: Path) -> None:
    proto = tf.MetaGraphDef.FromString(meta.read_bytes())
    proto.collection_def["variables"].bytes_list.value[0] = b"\xff\xff\xff"
    meta.write_bytes(proto.SerializeToString())
    error = told(meta)
    assert isinstance(error, OSError)
    assert str(error).startswith(f"Cannot parse file {meta}: ")
    assert "take another copy" in str(error)


def test_an_op_that_is_not_known(meta: Path) -> None:
    proto = tf.MetaGraphDef.FromString(meta.read_bytes())
    proto.graph_def.node.add(name="strange", op="NoSuchOp")
    meta.write_bytes(proto.SerializeToString())
    error = told(meta)
    assert isinstance(error, errors.NotFoundError)
    assert str(error).startswith("Op type not registered 'NoSuchOp'")
    assert error.name == "strange"
    assert error.path == str(meta)
    assert "extract_sub_graph" in str(error.hint)
