"""Sessions that are restored or initialized. Expected texts are those of TensorFlow 1.15.5."""

from __future__ import annotations

import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def manager(**kwargs):
    kwargs.setdefault("ready_op", tf.report_uninitialized_variables())
    return tf.train.SessionManager(recovery_wait_secs=0.01, **kwargs)


def save(folder, value, step=None):
    """A checkpoint in ``folder`` of a graph of one variable."""
    with tf.Graph().as_default(), tf.Session() as sess:
        v = tf.Variable(value, name="v")
        sess.run(v.initializer)
        return tf.train.Saver({"v": v}).save(sess, f"{folder}/model.ckpt", global_step=step)


def test_initialized_by_operation_feeds_and_function(tmp_path):
    p = tf.placeholder(tf.float32, shape=())
    v, w = tf.Variable(p, name="v"), tf.Variable(2.0, name="w")
    with manager().prepare_session(
        "",
        init_op=v.initializer,
        init_feed_dict={p: 3.0},
        init_fn=lambda sess: sess.run(w.initializer),
        saver=tf.train.Saver(),
        checkpoint_dir=str(tmp_path / "none"),
    ) as sess:
        assert sess.run([v, w]) == [3.0, 2.0]


def test_restored_without_being_initialized(tmp_path):
    save(tmp_path, 5.0, step=1)
    newest = save(tmp_path, 6.0, step=2)
    v = tf.Variable(1.0, name="v")
    saver = tf.train.Saver({"v": v})
    with manager().prepare_session("", tf.no_op(), saver, checkpoint_dir=tmp_path) as sess:
        assert sess.run(v) == 6.0
    assert saver.last_checkpoints == [newest]
    saver = tf.train.Saver({"v": v})
    path = str(tmp_path / "model.ckpt-1")
    with manager().prepare_session("", saver=saver, checkpoint_filename_with_path=path) as sess:
        assert sess.run(v) == 5.0
    with pytest.raises(
        ValueError, match=r"^Can not provide both checkpoint_dir and checkpoint_filename_with_path\.$"
    ):
        manager().prepare_session(
            "", saver=saver, checkpoint_dir=str(tmp_path), checkpoint_filename_with_path=path
        )


def test_not_ready_after_initialization():
    v = tf.Variable(1.0, name="v")
    with pytest.raises(
        RuntimeError, match=r"^Model is not initialized and no init_op or init_fn or local_init_op was given$"
    ):
        manager().prepare_session("")
    with pytest.raises(
        RuntimeError,
        match=r"^Init operations did not make model ready\.  Init op: nothing, init fn: None, local_init_op: None, "
        r"error: Variables not initialized: v$",
    ):
        manager().prepare_session("", init_op=tf.no_op(name="nothing"))
    ready = tf.report_uninitialized_variables([v])
    local = manager(ready_for_local_init_op=ready, local_init_op=tf.no_op())
    with pytest.raises(
        RuntimeError,
        match=r"^Init operations did not make model ready for local_init\.  Init op: None, init fn: .*, error: "
        r"Variables not initialized: v$",
    ):
        local.prepare_session("", init_fn=lambda sess: None)
    with pytest.raises(
        ValueError, match="If you pass a ready_for_local_init_op you must also pass a local_init_op"
    ):
        tf.train.SessionManager(ready_for_local_init_op=ready)


def test_reading_what_has_no_value_is_not_ready():
    v = tf.Variable([1.0], name="v")
    with pytest.raises(RuntimeError, match=r"error: .*uninitialized value v"):
        manager(ready_op=tf.identity(v)).prepare_session("", init_op=tf.no_op())
    # A number says nothing.
    assert manager(ready_op=tf.constant(3)).prepare_session("", init_op=tf.no_op())


def test_recovered_or_not(tmp_path):
    v = tf.Variable(1.0, name="v")
    w = tf.Variable(1.0, name="w", collections=[tf.GraphKeys.LOCAL_VARIABLES])
    saver = tf.train.Saver({"v": v})
    here = manager(local_init_op=w.initializer)
    sess, restored = here.recover_session("", saver, checkpoint_dir=str(tmp_path))
    assert not restored
    assert sess.run(w) == 1.0
    save(tmp_path, 7.0)
    sess, restored = here.recover_session("", saver, checkpoint_dir=str(tmp_path))
    assert restored
    assert sess.run([v, w]) == [7.0, 1.0]
    sess, restored = manager().recover_session("", saver, checkpoint_dir=str(tmp_path))
    assert not restored, "w has no value"
    never = manager(ready_for_local_init_op=tf.report_uninitialized_variables([w]), local_init_op=tf.no_op())
    sess, restored = never.recover_session("", saver, checkpoint_dir=str(tmp_path))
    assert not restored


def test_waiting(tmp_path):
    v = tf.Variable(1.0, name="v")
    waiting = manager()
    with pytest.raises(
        tf.errors.DeadlineExceededError, match=r"^Session was not ready after waiting 0 secs\.$"
    ):
        waiting.wait_for_session("", max_wait_secs=0.03)
    sess = manager(local_init_op=v.initializer).wait_for_session("", max_wait_secs=None)
    assert sess.run(v) == 1.0
    saver = tf.train.Saver()
    sess, restored = waiting.recover_session(
        "", saver, checkpoint_dir=str(tmp_path), wait_for_checkpoint=True, max_wait_secs=0.03
    )
    assert not restored
