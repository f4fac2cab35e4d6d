"""Saver on ordinary variables: files, state, order of writes, what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.io import LocalFileSystem
from kvarn.io.local import LocalWriteFile
from kvarn.saver.builder import BaseSaverBuilder


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def model() -> tuple:
    return tf.Variable([1.0, 2.0], name="a"), tf.get_variable(
        "r", initializer=tf.constant([3, 4]), use_resource=True
    )


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_save_and_restore(tmp_path: Path) -> None:
    a, r = model()
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"), global_step=7)
        assert path == str(tmp_path / "m-7")
        sess.run([a.assign([0.0, 0.0]), r.assign([0, 0])])
        saver.restore(sess, path)
        got = sess.run([a, r])
    np.testing.assert_array_equal(got[0], np.float32([1, 2]))
    np.testing.assert_array_equal(got[1], np.int32([3, 4]))
    assert names(tmp_path) == ["checkpoint", "m-7.data-00000-of-00001", "m-7.index", "m-7.meta"]
    assert (tmp_path / "checkpoint").read_text() == (
        f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "{path}"\n'
    )


def test_restore_needs_no_initialization(tmp_path: Path) -> None:
    a, _ = model()
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"))
    with tf.Session() as sess:
        saver.restore(sess, Path(path))
        np.testing.assert_array_equal(sess.run(a), np.float32([1, 2]))


def test_what_was_restored_is_not_the_checkpoints_memory(tmp_path: Path) -> None:
    a, _ = model()
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"))
        saver.restore(sess, path)
        sess.run(a.assign_add([1.0, 1.0]))
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run(a), np.float32([1, 2]))


def test_the_newest_are_kept(tmp_path: Path) -> None:
    model()
    saver = tf.train.Saver(max_to_keep=2)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for step in range(4):
            saver.save(sess, str(tmp_path / "m"), global_step=step)
    assert names(tmp_path) == [
        "checkpoint",
        *(f"m-{step}.{kind}" for step in (2, 3) for kind in ("data-00000-of-00001", "index", "meta")),
    ]
    assert saver.last_checkpoints == [f"{tmp_path}/m-2", f"{tmp_path}/m-3"]
    assert tf.train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/m-3"


def test_a_new_saver_deletes_old_checkpoints_once_it_recovered_them(tmp_path: Path) -> None:
    model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        first = tf.train.Saver()
        paths = [first.save(sess, str(tmp_path / "m"), global_step=step) for step in range(2)]
        second = tf.train.Saver(max_to_keep=2)
        second.recover_last_checkpoints([*paths, str(tmp_path / "gone")])
        assert second.last_checkpoints == paths
        second.save(sess, str(tmp_path / "m"), global_step=2)
    assert not (tmp_path / "m-0.index").exists()
    assert (tmp_path / "m-1.index").exists()


def test_relative_paths_in_the_state(tmp_path: Path, monkeypatch) -> None:
    model()
    monkeypatch.chdir(tmp_path)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert tf.train.Saver().save(sess, "new/m") == "new/m"
        assert (tmp_path / "new" / "checkpoint").read_text().startswith('model_checkpoint_path: "m"\n')
        tf.train.Saver(save_relative_paths=True).save(sess, str(tmp_path / "n"))
        assert (tmp_path / "checkpoint").read_text().startswith('model_checkpoint_path: "n"\n')
        assert tf.train.Saver().save(sess, "plain") == "plain"
        assert tf.train.latest_checkpoint(".") == "./plain"


@pytest.mark.parametrize("kind", ["number", "tensor", "vector", "name"])
def test_kinds_of_global_step(tmp_path: Path, kind: str) -> None:
    model()
    step = tf.constant(12, tf.int64, name="step")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        given = {"number": np.int64(12), "tensor": step, "vector": step[None], "name": "step:0"}[kind]
        path = tf.train.Saver(pad_step_number=True).save(sess, str(tmp_path / "m"), global_step=given)
    assert path == str(tmp_path / "m-00000012")


def test_without_graph_or_state(tmp_path: Path) -> None:
    model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(tmp_path / "m"), write_meta_graph=False, write_state=False)
    assert names(tmp_path) == ["m.data-00000-of-00001", "m.index"]


def test_the_meta_graph_brings_the_saver_back(tmp_path: Path) -> None:
    model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(sess, str(tmp_path / "m"))
    with tf.Graph().as_default(), tf.Session() as sess:
        saver = tf.train.import_meta_graph(path + ".meta")
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run("a:0"), np.float32([1, 2]))
        np.testing.assert_array_equal(sess.run("r/Read/ReadVariableOp:0"), np.int32([3, 4]))
    with tf.Graph().as_default(), tf.Session() as sess:
        saver = tf.train.import_meta_graph(path + ".meta", import_scope="in")
        assert saver.saver_def.restore_op_name == "in/save/restore_all"
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run("in/a:0"), np.float32([1, 2]))


def test_a_saver_in_its_collection_comes_back(tmp_path: Path) -> None:
    model()
    saver = tf.train.Saver()
    tf.add_to_collection(tf.GraphKeys.SAVERS, saver)
    tf.train.export_meta_graph(str(tmp_path / "g.meta"))
    with tf.Graph().as_default():
        tf.train.import_meta_graph(str(tmp_path / "g.meta"))
        (found,) = tf.get_collection(tf.GraphKeys.SAVERS)
        assert found.saver_def == saver.saver_def


def test_sharded_by_device(tmp_path: Path) -> None:
    with tf.device("/job:ps/task:1"):
        a = tf.Variable([1.0], name="a")
    b = tf.Variable([2.0], name="b")
    saver = tf.train.Saver(sharded=True)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"), global_step=1)
        assert path == str(tmp_path / "m-1")
        sess.run([a.assign([0.0]), b.assign([0.0])])
        saver.restore(sess, path)
        assert [v.tolist() for v in sess.run([a, b])] == [[1.0], [2.0]]
    assert names(tmp_path) == [
        "checkpoint",
        "m-1.data-00000-of-00002",
        "m-1.data-00001-of-00002",
        "m-1.index",
        "m-1.meta",
    ]


def test_partitioned_variables_are_one_tensor(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        value = np.arange(30, dtype=np.float32).reshape(10, 3)
        v = tf.get_variable("p", initializer=tf.constant(value), partitioner=tf.fixed_size_partitioner(3))
        sess.run(tf.global_variables_initializer())
        path = tf.train.Saver([v]).save(sess, str(tmp_path / "m"))
    assert tf.train.list_variables(path) == [("p", [10, 3])]
    np.testing.assert_array_equal(tf.train.load_variable(path, "p"), value)
    with tf.Graph().as_default(), tf.Session() as sess:
        v = tf.get_variable("p", [10, 3], partitioner=tf.fixed_size_partitioner(4))
        tf.train.Saver({"p": v}).restore(sess, path)
        np.testing.assert_array_equal(np.concatenate(sess.run(list(v))), value)


class Doubled(BaseSaverBuilder.SaveableObject):
    """Stores twice its variable."""

    def __init__(self, variable):
        self.variable = variable
        super().__init__(variable, [BaseSaverBuilder.SaveSpec(variable * 2.0, "", "twice")], "twice")

    def restore(self, restored_tensors, restored_shapes):
        return self.variable.assign(restored_tensors[0] / 2.0)


def test_a_programs_own_saveable(tmp_path: Path) -> None:
    a = tf.Variable([1.0, 2.0], name="a")
    saver = tf.train.Saver([Doubled(a)])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"))
        np.testing.assert_array_equal(tf.train.load_variable(path, "twice"), np.float32([2, 4]))
        sess.run(a.assign([0.0, 0.0]))
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run(a), np.float32([1, 2]))


# -- order ------------------------------------------------------------------------------------------


def test_what_is_named_exists_before_it_is_named_and_is_synced(tmp_path: Path, monkeypatch) -> None:
    model()
    saver = tf.train.Saver(max_to_keep=1)
    seen: list[tuple[str, str]] = []

    def short(path: str) -> str:
        return Path(path).name.split(".tmp")[0].split(".tempstate")[0]

    def spy(cls, method: str, name_of) -> None:
        real = getattr(cls, method)

        def call(self, *args):
            seen.append((method, short(name_of(self, *args))))
            return real(self, *args)

        monkeypatch.setattr(cls, method, call)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        saver.save(sess, str(tmp_path / "m"), global_step=1)
        spy(LocalFileSystem, "rename", lambda self, source, target: target)
        spy(LocalFileSystem, "remove", lambda self, path: path)
        spy(LocalWriteFile, "sync", lambda self: self.path)
        saver.save(sess, str(tmp_path / "m"), global_step=2)
    data, index, meta = "m-2.data-00000-of-00001", "m-2.index", "m-2.meta"
    order = [
        ("sync", data),
        ("rename", data),
        ("rename", index),
        ("rename", meta),
        ("rename", "checkpoint"),
        ("remove", "m-1.meta"),
        ("remove", "m-1.index"),
        ("remove", "m-1.data-00000-of-00001"),
    ]
    places = [seen.index(step) for step in order]
    assert places == sorted(places), seen
    for name in (index, meta, "checkpoint"):
        assert seen.index(("sync", name)) < seen.index(("rename", name))


# -- what it refuses --------------------------------------------------------------------------------


def test_an_uninitialized_variable_costs_no_file(tmp_path: Path) -> None:
    a, _ = model()
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(a.initializer)
        with pytest.raises(errors.FailedPreconditionError, match="r"):
            saver.save(sess, str(tmp_path / "new" / "m"))
    assert names(tmp_path) == []


def test_the_directory_above_must_exist(tmp_path: Path) -> None:
    model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(ValueError, match=r"Parent directory of .*/x/y/m doesn't exist, can't save\."):
            tf.train.Saver().save(sess, str(tmp_path / "x" / "y" / "m"))


def test_arguments_of_save(tmp_path: Path) -> None:
    model()
    with tf.Session() as sess:
        saver = tf.train.Saver()
        with pytest.raises(ValueError, match="'latest_filename' must not contain path components"):
            saver.save(sess, "m", latest_filename="a/b")
        with pytest.raises(ValueError, match="'latest_filename' collides with 'save_path': 'm' and 'd/m'"):
            saver.save(sess, "d/m", latest_filename="m")
        with pytest.raises(TypeError, match="'sess' must be a Session; 3"):
            saver.save(3, str(tmp_path / "m"))
        with pytest.raises(
            RuntimeError, match=r"`build\(\)` should be called before save if defer_build==True"
        ):
            tf.train.Saver(defer_build=True).save(sess, "m")
        with pytest.raises(ValueError, match="Can't load save_path when it is None"):
            saver.restore(sess, None)
        with pytest.raises(ValueError, match="is not a valid checkpoint: /no/m\n  Check"):
            saver.restore(sess, "/no/m")


def test_arguments_of_the_constructor() -> None:
    with pytest.raises(ValueError, match="No variables to save"):
        tf.train.Saver()
    a = tf.Variable([1.0], name="a")
    b = tf.Variable([1.0], name="b")
    with pytest.raises(ValueError, match="If `var_list` is provided then build cannot be deferred"):
        tf.train.Saver([a], defer_build=True)
    with pytest.raises(TypeError, match="Variables to save should be passed in a dict or a list: "):
        tf.train.Saver(a)
    with pytest.raises(ValueError, match="At least two variables have the same name: a"):
        tf.train.Saver([a, a])
    with pytest.raises(ValueError, match="The same saveable will be restored with two names: y"):
        tf.train.Saver({"x": a, "y": a})
    with pytest.raises(TypeError, match="Name is not a string: 1"):
        tf.train.Saver({1: a})
    with pytest.raises(TypeError, match="Variable to save is not a Variable: "):
        tf.train.Saver([a + b])
    with pytest.raises(TypeError, match="Not a variable: "):
        tf.train.Saver({"x": a + b})
    with pytest.raises(ValueError, match="Slices must all be slices: "):
        tf.train.Saver({"x": [a, b]})
    with pytest.raises(ValueError, match="saver_def must specify the save_tensor_name: "):
        tf.train.Saver(saver_def=protos.SaverDef(restore_op_name="x"))


def test_an_empty_saver_writes_only_the_graph(tmp_path: Path) -> None:
    tf.constant(1.0)
    saver = tf.train.Saver(allow_empty=True)
    with tf.Session() as sess:
        assert saver.save(sess, str(tmp_path / "m")) is None
        saver.restore(sess, "nothing")
    assert names(tmp_path) == ["m.meta"]


# -- restoring what does not fit: class, text, name, file, hint --------------------------------------

_MISSING = (
    "Restoring from checkpoint failed. This is most likely due to a Variable name or other graph key that is "
    "missing from the checkpoint. Please ensure that you have not altered the graph expected based on the "
    "checkpoint. Original error:\n\nKey q not found in checkpoint\n"
)
_MISMATCH = (
    "Restoring from checkpoint failed. This is most likely due to a mismatch between the current graph and "
    "the graph from the checkpoint. Please ensure that you have not altered the graph expected based on the "
    "checkpoint. Original error:\n\n"
)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    with tf.Graph().as_default(), tf.Session() as sess:
        model()
        sess.run(tf.global_variables_initializer())
        return tf.train.Saver().save(sess, str(tmp_path / "m"))


def refused(saver, path: str, cls: type, name: str) -> errors.OpError:
    with tf.Session() as sess, pytest.raises(cls) as info:
        saver.restore(sess, path)
    error = info.value
    assert type(error) is cls
    assert error.name == name
    assert error.path is not None
    assert error.path.startswith(path)
    assert error.hint
    assert str(error).endswith(error.hint)
    return error


def test_a_missing_name(saved: str) -> None:
    tf.get_variable("q", [2])
    error = refused(tf.train.Saver(), saved, errors.NotFoundError, "q")
    assert str(error).startswith(_MISSING)
    assert "kvarn ls" in error.hint


def test_a_wrong_dtype(saved: str) -> None:
    v = tf.get_variable("v", [2], tf.int64)
    error = refused(tf.train.Saver({"a": v}), saved, errors.InvalidArgumentError, "a")
    assert str(error).startswith(
        _MISMATCH + "tensor_name = a; expected dtype int64 does not equal original dtype float\n"
    )


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_wrong_shape_changes_nothing(saved: str, use_resource: bool) -> None:
    good = tf.get_variable("good", [2], initializer=tf.zeros_initializer())
    bad = tf.get_variable("bad", [3], tf.int32, tf.zeros_initializer(), use_resource=use_resource)
    saver = tf.train.Saver({"a": good, "r": bad})
    error = refused(saver, saved, errors.InvalidArgumentError, "r")
    assert str(error).startswith(
        _MISMATCH + "Assign requires shapes of both tensors to match. lhs shape= [3] rhs shape= [2]\n"
    )
    assert f"'r' is [2] in '{saved}', its variable is [3]" in str(error)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError):
            saver.restore(sess, saved)
        np.testing.assert_array_equal(sess.run(good), np.float32([0, 0]))
        np.testing.assert_array_equal(sess.run(bad), np.int32([0, 0, 0]))


def test_reshape_allows_another_shape_of_as_many_elements(saved: str) -> None:
    v = tf.get_variable("a", [1, 2])
    with tf.Session() as sess:
        tf.train.Saver(reshape=True).restore(sess, saved)
        np.testing.assert_array_equal(sess.run(v), np.float32([[1, 2]]))


def test_a_cut_index(saved: str) -> None:
    index = Path(saved + ".index")
    index.write_bytes(index.read_bytes()[:-20])
    tf.get_variable("a", [2])
    with tf.Session() as sess, pytest.raises(errors.DataLossError, match=r"not an sstable|too short") as info:
        tf.train.Saver().restore(sess, saved)
    assert info.value.path == str(index)
    assert info.value.hint


def test_a_cut_data_file(saved: str) -> None:
    data = Path(saved + ".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-3])
    tf.get_variable("r", [2], tf.int32)
    with tf.Session() as sess, pytest.raises((errors.OutOfRangeError, errors.DataLossError)) as info:
        tf.train.Saver().restore(sess, saved)
    assert info.value.path == str(data)
    assert info.value.name == "r"
    assert info.value.hint


@pytest.mark.parametrize("where", [".index", ".data-00000-of-00001"])
def test_one_flipped_bit(saved: str, where: str) -> None:
    file = Path(saved + where)
    content = bytearray(file.read_bytes())
    content[5] ^= 4
    file.write_bytes(content)
    tf.get_variable("a", [2])
    tf.get_variable("r", [2], tf.int32)
    with tf.Session() as sess, pytest.raises(errors.DataLossError) as info:
        tf.train.Saver().restore(sess, saved)
    assert info.value.path == str(file)
    assert info.value.hint


def test_a_missing_data_file(saved: str) -> None:
    Path(saved + ".data-00000-of-00001").unlink()
    tf.get_variable("a", [2])
    with tf.Session() as sess, pytest.raises(errors.NotFoundError) as info:
        tf.train.Saver().restore(sess, saved)
    assert "data-00000-of-00001" in str(info.value)


def test_restoring_is_logged(saved: str, caplog) -> None:
    tf.get_variable("a", [2])
    with caplog.at_level(logging.INFO, logger="tensorflow"), tf.Session() as sess:
        tf.train.Saver().restore(sess, saved)
    assert f"Restoring parameters from {saved}" in caplog.text
