"""Event files of monitored sessions, hooks and supervisors. What is expected is what TensorFlow 1.15.5 writes."""

from __future__ import annotations

import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def fresh():
    tf.summary.FileWriterCache.clear()
    with tf.Graph().as_default():
        yield
    tf.summary.FileWriterCache.clear()


def training():
    """An operation that counts steps; beside it are two summaries."""
    tf.summary.scalar("loss", tf.constant(0.5))
    tf.summary.histogram("spread", [1.0, 2.0])
    return tf.train.get_or_create_global_step().assign_add(1)


def told(folder):
    """What all event files of a folder say: of a summary its tags and numbers, of rates only the tag."""
    tf.summary.FileWriterCache.clear()
    out = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.train.summary_iterator(str(path)):
            kind = event.WhichOneof("what")
            if kind == "summary":
                for value in event.summary.value:
                    if value.tag == "global_step/sec":
                        out.append((event.step, value.tag))
                    elif value.HasField("histo"):
                        out.append((event.step, value.tag, value.histo.sum))
                    else:
                        out.append((event.step, value.tag, value.simple_value))
            elif kind == "session_log":
                log = event.session_log
                name = tf.SessionLog.SessionStatus.Name(log.status)
                out.append((event.step, name, log.checkpoint_path.rpartition("/")[2]))
            else:
                out.append((event.step, kind))
    return out


def test_a_monitored_training_session(tmp_path):
    up = training()
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path), save_checkpoint_steps=3, save_summaries_steps=2, log_step_count_steps=2
    ) as session:
        for _ in range(5):
            session.run(up)
    assert told(tmp_path) == [
        (0, "file_version"), (0, "graph_def"), (0, "meta_graph_def"),
        (0, "graph_def"), (0, "meta_graph_def"), (0, "CHECKPOINT", "model.ckpt"),
        (1, "START", ""), (1, "loss", 0.5), (1, "spread", 3.0),
        (3, "global_step/sec"), (3, "loss", 0.5), (3, "spread", 3.0),
        (3, "CHECKPOINT", "model.ckpt"),
        (5, "global_step/sec"), (5, "loss", 0.5), (5, "spread", 3.0),
        (5, "CHECKPOINT", "model.ckpt"),
    ]  # fmt: skip


def test_hooks(tmp_path):
    up = training()
    merged = tf.summary.merge_all()
    hooks = [
        tf.train.SummarySaverHook(save_steps=2, output_dir=str(tmp_path / "s"), summary_op=merged),
        tf.train.StepCounterHook(every_n_steps=2, output_dir=str(tmp_path / "c")),
        tf.train.SummarySaverHook(
            save_steps=3, summary_writer=tf.summary.FileWriter(str(tmp_path / "w")), summary_op=[merged]
        ),
    ]
    with tf.train.SingularMonitoredSession(hooks=hooks) as session:
        for _ in range(5):
            session.run(up)
    graphs = [(0, "file_version"), (0, "graph_def"), (0, "meta_graph_def")]
    rates = [(3, "global_step/sec"), (5, "global_step/sec")]
    summaries = [
        (1, "START", ""), (1, "loss", 0.5), (1, "spread", 3.0), (3, "loss", 0.5), (3, "spread", 3.0),
        (5, "loss", 0.5), (5, "spread", 3.0),
    ]  # fmt: skip
    assert told(tmp_path / "s") == [*graphs, *summaries]
    assert told(tmp_path / "c") == [*graphs, *rates]
    assert told(tmp_path / "w") == [*graphs[:1], *summaries]


def test_a_supervisor(tmp_path):
    up = training()
    supervisor = tf.train.Supervisor(logdir=str(tmp_path), save_summaries_secs=0, save_model_secs=0)
    with supervisor.managed_session() as session:
        for _ in range(2):
            session.run(up)
            supervisor.summary_computed(session, session.run(supervisor.summary_op))
    assert told(tmp_path) == [
        (0, "file_version"), (0, "graph_def"), (0, "meta_graph_def"), (0, "START", ""),
        (1, "loss", 0.5), (1, "spread", 3.0), (2, "loss", 0.5), (2, "spread", 3.0), (0, "STOP", ""),
    ]  # fmt: skip


def test_a_supervisor_without_services(tmp_path):
    up = training()
    supervisor = tf.train.Supervisor(logdir=str(tmp_path), summary_op=None)
    with supervisor.managed_session(start_standard_services=False) as session:
        session.run(up)
    assert told(tmp_path) == [
        (0, "file_version"), (0, "graph_def"), (0, "meta_graph_def"), (0, "STOP", ""),
    ]  # fmt: skip
