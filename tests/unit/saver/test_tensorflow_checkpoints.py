"""Checkpoints and meta graphs that real TensorFlow wrote, restored bit for bit (tests/golden/checkpoints)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.ops import checkpoint
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parents[2] / "golden" / "checkpoints"
OWN_GRAPH = [
    c for c in cases(ROOT, "tf115/v?_*") if "variables" in c.facts and Path(c.prefix + ".meta").exists()
]
ALL = cases(ROOT, "*/v?_*", "*/state_v1*")
CORRUPT = ROOT / "tf115" / "corrupt"
DAMAGED = [
    v
    for v in json.loads((CORRUPT / "variants.json").read_text())["variants"]
    if ((CORRUPT / v["name"]).is_dir() or v["name"] == "no_such_file")
]
GOOD = tf.train.NewCheckpointReader(str(CORRUPT / "v2_good" / "model.ckpt"))
TYPES = GOOD.get_variable_to_dtype_map()
SHAPES = GOOD.get_variable_to_shape_map()
# TensorFlow 1.15 reads these in spite of the damage; 2.x does not, nor does kvarn.
STRICTER = ("v2_header_garbage",)


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def expected(case: GoldenCase) -> dict[str, np.ndarray]:
    return {t.name.decode(): t.value for t in case.tensors()}


def test_there_are_cases() -> None:
    assert len(OWN_GRAPH) >= 4
    assert len(ALL) >= 20
    assert len(DAMAGED) >= 15


@pytest.mark.parametrize("case", OWN_GRAPH, ids=repr)
def test_through_its_own_meta_graph_and_back_to_the_same_bytes(case: GoldenCase, tmp_path: Path) -> None:
    saver = tf.train.import_meta_graph(case.prefix + ".meta", clear_devices=True)
    wanted = expected(case)
    with tf.Session() as sess:
        saver.restore(sess, case.prefix)
        variables = tf.global_variables()
        assert len(variables) == len(case.facts["variables"])
        for variable, facts in zip(variables, case.facts["variables"], strict=True):
            value = sess.run(variable)
            info = variable._save_slice_info
            whole = wanted[info.full_name if info else variable.op.name]
            where = tuple(slice(start, start + length) for start, length in facts["slice"] or ())
            assert value.dtype == whole.dtype
            np.testing.assert_array_equal(value, whole[where])
        again = saver.save(sess, str(tmp_path / Path(case.prefix).name))
    for file in sorted(case.folder.glob(Path(case.prefix).name + "*")):
        if file.suffix != ".meta":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    assert again == str(tmp_path / Path(case.prefix).name)


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_every_tensor_into_a_variable(case: GoldenCase) -> None:
    # TensorFlow cannot join slices of some types; the bundle's own tests read these one by one.
    tensors = [
        t for t in case.tensors() if tf.as_dtype(t.dtype) is not tf.variant and not t.name.startswith(b"odd/")
    ]
    variables = {}
    for i, tensor in enumerate(tensors):
        dtype = tf.as_dtype(tensor.dtype)
        initial = np.zeros(tensor.value.shape, dtype.as_numpy_dtype)
        if dtype is tf.string:
            initial[...] = b""
        name = tensor.name.decode("utf-8", "surrogateescape")
        variables[name] = tf.Variable(tf.constant(initial, dtype), name=f"v{i}", use_resource=bool(i % 2))
    with tf.Session() as sess:
        tf.train.Saver(variables).restore(sess, case.prefix)
        for tensor, variable in zip(tensors, variables.values(), strict=True):
            assert tensor.equals(np.asarray(sess.run(variable))), tensor.name


@pytest.mark.parametrize("writer", ["tf115", "tf2"])
def test_embedding_variables(writer: str) -> None:
    case = GoldenCase(ROOT / writer / "ev_deeprec")
    wanted = expected(case)
    zeros = tf.zeros_initializer()
    a = tf.get_embedding_variable("a", embedding_dim=4, initializer=zeros)
    b = tf.get_embedding_variable(
        "b", embedding_dim=8, initializer=zeros, partitioner=tf.fixed_size_partitioner(4)
    )
    rows = sum(tf.reduce_sum(tf.nn.embedding_lookup(v, tf.constant([0], tf.int64))) for v in (a, b))
    optimizer = tf.train.AdagradOptimizer(0.1)
    optimizer.minimize(rows)
    variables = {v._shared_name: v for v in tf.get_collection(tf.GraphKeys.EMBEDDING_VARIABLES)}
    assert sorted(variables) == sorted(
        name for n in ["a", *(f"b/part_{i}" for i in range(4))] for name in (n, n + "/Adagrad")
    )
    with tf.Session() as sess:
        tf.train.Saver(list(variables.values())).restore(sess, case.prefix)
        for name, variable in variables.items():
            keys, values, _, _ = sess.run(variable.export())
            found = dict(zip(keys.tolist(), values, strict=True))
            stored = wanted[name + "-keys"]
            assert len(stored) > 0
            for key, row in zip(stored.tolist(), wanted[name + "-values"], strict=True):
                assert found[key].tobytes() == row.tobytes(), (name, key)


def test_embedding_variables_without_keys() -> None:
    case = GoldenCase(ROOT / "tf115" / "ev_deeprec_empty")
    wanted = expected(case)
    name = next(n for n, v in wanted.items() if n.endswith("-keys") and not len(v)).removesuffix("-keys")
    dim = wanted[name + "-values"].shape[1]
    v = tf.get_embedding_variable(name, embedding_dim=dim, initializer=tf.zeros_initializer())
    with tf.Session() as sess:
        tf.train.Saver([v]).restore(sess, case.prefix)
        keys, values, _, _ = sess.run(v.export())
    # What the writer's filter held back has no row in the file; without a filter it is a key like others.
    np.testing.assert_array_equal(sorted(keys), sorted(wanted[name + "-keys_filtered"]))
    assert not values.any()


@pytest.mark.parametrize("variant", DAMAGED, ids=lambda v: v["name"])
def test_damaged_files_give_the_errors_that_tensorflow_gives(variant: dict) -> None:
    prefix = str(CORRUPT / variant["name"] / variant["prefix"])
    for asked, said in variant["says"]["tensorflow 1.15.5"].items():
        kind, name, spec = [*asked.split(" ", 2), ""][:3]
        if kind != "RestoreV2":
            continue
        node = checkpoint.restore_v2(prefix, [name], [spec], [TYPES.get(name, tf.float32)])
        with tf.Session() as sess:
            if said == "ok" and variant["name"] not in STRICTER:
                sess.run(node)
                continue
            with pytest.raises(errors.OpError) as info:
                sess.run(node)
        error = info.value
        assert error.path is not None
        assert error.path.startswith(prefix)
        assert error.hint
        if said != "ok":
            cls, text = said.replace("<dir>", str(CORRUPT)).split(": ", 1)
            assert type(error).__name__ == cls
            assert str(error).startswith(text)


def test_nothing_is_restored_from_a_damaged_checkpoint() -> None:
    f = tf.get_variable("f", [4, 5], initializer=tf.zeros_initializer())
    i = tf.get_variable("i", SHAPES["i"], tf.int64, tf.zeros_initializer())
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.DataLossError) as info:
            tf.train.Saver().restore(sess, str(CORRUPT / "v2_data_bitflip" / "model.ckpt"))
        assert not sess.run(f).any()
        assert not sess.run(i).any()
    assert info.value.name == "f"
