"""Nothing is lost: a restore that does not fit changes nothing, a save that fails leaves what was there."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.train.tracking import load_status


def saved(prefix: pathlib.Path, **values: Any) -> str:
    """The prefix of a checkpoint of variables with these values."""
    with tf.Graph().as_default(), tf.Session() as sess:
        checkpoint = tf.train.Checkpoint(**{name: tf.Variable(value) for name, value in values.items()})
        sess.run(tf.global_variables_initializer())
        return str(checkpoint.save(str(prefix)))


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_value_of_another_shape_changes_no_variable(tmp_path: pathlib.Path, use_resource: bool) -> None:
    prefix = saved(tmp_path / "ck", a=1.0, b=[2.0, 3.0])
    a = tf.Variable(5.0, use_resource=use_resource)
    b = tf.Variable([6.0, 7.0, 8.0], use_resource=use_resource)
    status = tf.train.Checkpoint(a=a, b=b).restore(prefix)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError, match=r"b/\.ATTRIBUTES/VARIABLE_VALUE"):
            status.run_restore_ops()
        assert [v.tolist() for v in sess.run([a, b])] == [5.0, [6.0, 7.0, 8.0]]


def test_damage_is_found_before_a_variable_of_another_device_changes(tmp_path: pathlib.Path) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        with tf.device("/device:CPU:0"):
            first = tf.Variable(np.arange(4.0))
        checkpoint = tf.train.Checkpoint(first=first, second=tf.Variable(np.arange(8.0)))
        sess.run(tf.global_variables_initializer())
        prefix = checkpoint.save(str(tmp_path / "ck"))
    (data,) = [p for p in tmp_path.glob("*.data-*") if np.arange(8.0).tobytes() in p.read_bytes()]
    data.write_bytes(data.read_bytes().replace(np.arange(8.0).tobytes(), np.ones(8).tobytes()))
    with tf.Graph().as_default(), tf.Session() as sess:
        with tf.device("/device:CPU:0"):
            first = tf.Variable(np.zeros(4))
        status = tf.train.Checkpoint(first=first, second=tf.Variable(np.zeros(8))).restore(prefix)
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.DataLossError):
            status.run_restore_ops()
        assert sess.run(first).tolist() == [0.0] * 4


def test_a_save_that_fails_leaves_the_checkpoint_before_and_nothing_else(tmp_path: pathlib.Path) -> None:
    v = tf.Variable(1.0, name="v")
    checkpoint = tf.train.Checkpoint(v=v)
    with tf.Session() as sess:
        sess.run(v.initializer)
        first = checkpoint.save(str(tmp_path / "ck"))
        files = sorted(p.name for p in tmp_path.iterdir())
        checkpoint.late = tf.Variable(2.0, name="late")
        with pytest.raises(errors.FailedPreconditionError, match="late"):
            checkpoint.save(str(tmp_path / "ck"))
        assert sorted(p.name for p in tmp_path.iterdir()) == files
        assert tf.train.latest_checkpoint(str(tmp_path)) == first


def test_there_has_to_be_a_session(tmp_path: pathlib.Path) -> None:
    checkpoint = tf.train.Checkpoint(v=tf.Variable(1.0))
    with pytest.raises(errors.FailedPreconditionError, match="no default session"):
        checkpoint.save(str(tmp_path / "ck"))
    with pytest.raises(errors.FailedPreconditionError, match="no default session"):
        checkpoint.restore(None).initialize_or_restore()


def plain_rows() -> Any:
    return tf.get_embedding_variable("rows", embedding_dim=2, initializer=tf.ones_initializer())


def blocks() -> Any:
    return tf.get_dynamic_dimension_embedding_variable(
        "rows", embedding_block_dimension=2, embedding_block_num=2, initializer=tf.ones_initializer()
    )


def halves() -> Any:
    return tf.get_multihash_variable("rows", [[2, 2], [3, 2]], initializer=tf.ones_initializer())


@pytest.mark.parametrize("make", [plain_rows, blocks, halves])
def test_embedding_variables_are_refused_by_name(tmp_path: pathlib.Path, make: Any) -> None:
    whole = tf.Module()
    whole.rows = make()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.UnimplementedError, match=r"'rows'.*\n.*tf\.train\.Saver"):
            tf.train.Checkpoint(whole=whole).save(str(tmp_path / "ck"))


def test_an_increment_after_an_objects_restore_has_all_rows(tmp_path: pathlib.Path) -> None:
    prefix = saved(tmp_path / "ck", v=[1.0, 2.0])
    v = tf.Variable([0.0, 0.0])
    status = tf.train.Checkpoint(v=v).restore(prefix)
    seen = []
    with tf.Session() as sess, pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_status, "touch_all_rows", seen.append)
        status.initialize_or_restore()
        assert seen == [sess.resources]


def test_sessions_with_hooks_restore_too(tmp_path: pathlib.Path) -> None:
    prefix = saved(tmp_path / "ck", v=[1.0, 2.0])
    v = tf.Variable([0.0, 0.0])
    status = tf.train.Checkpoint(v=v).restore(prefix).expect_partial()
    with tf.train.MonitoredSession() as sess:
        status.run_restore_ops(session=sess)
        assert sess.run(v).tolist() == [1.0, 2.0]


def test_streaming_restores_what_comes_later(tmp_path: pathlib.Path) -> None:
    prefix = saved(tmp_path / "ck", a=1.0, b=2.0)
    checkpoint = tf.train.Checkpoint(a=tf.Variable(0.0))
    status = checkpoint.restore(prefix)
    with tf.Session() as sess:
        load_status.streaming_restore(status)
        assert sess.run(checkpoint.a) == 1.0
        checkpoint.b = tf.Variable(0.0)
        assert sess.run(checkpoint.b) == 2.0
    status.assert_consumed()


def test_what_is_not_used_is_logged_when_nobody_can_use_it_any_more(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = saved(tmp_path / "ck", a=1.0, b=2.0)
    checkpoint = tf.train.Checkpoint(a=tf.Variable(0.0))
    with caplog.at_level("WARNING", "tensorflow"):
        status = checkpoint.restore(prefix)
        assert "Unresolved" not in caplog.text
        del status, checkpoint
        gc.collect()
    assert "Unresolved object in checkpoint: (root).b" in caplog.text
    caplog.clear()
    checkpoint = tf.train.Checkpoint(a=tf.Variable(0.0))
    checkpoint.restore(prefix).expect_partial()
    del checkpoint
    gc.collect()
    assert not caplog.text
