"""Servers of one task in the process: sessions of one share their variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import protos


@pytest.fixture
def server() -> Any:
    with tf.Graph().as_default():
        yield tf.train.Server.create_local_server()


def test_sessions_of_a_server_share_variables(server: Any) -> None:
    v = tf.get_variable("v", [], initializer=tf.zeros_initializer())
    r = tf.get_variable("r", [2], initializer=tf.zeros_initializer(), use_resource=True)
    table = tf.get_embedding_variable("e", 2, initializer=tf.ones_initializer())
    rows = tf.nn.embedding_lookup(table, tf.constant([3], tf.int64))
    add = tf.group(tf.assign_add(v, 1.0), tf.assign_add(r, [1.0, 2.0]), rows)
    with tf.Session(server.target) as first:
        first.run(tf.global_variables_initializer())
        first.run(add)
        with tf.Session(server.target) as second:
            second.run(add)
    with tf.Session(server.target) as third:
        assert third.run(v) == 2.0
        np.testing.assert_array_equal(third.run(r), [2.0, 4.0])
        assert third.run(table.total_count()).tolist() == [1, 2]
        assert third.list_devices()[0].name == "/job:local/replica:0/task:0/device:CPU:0"
    for other in (tf.train.Server.create_local_server().target, ""):
        with tf.Session(other) as alone, pytest.raises(tf.errors.FailedPreconditionError):
            alone.run(v)


def test_reset_empties_the_containers_of_one_server(server: Any) -> None:
    v = tf.Variable(1)
    with tf.Session(server.target) as session, tf.Session() as local:
        session.run(v.initializer)
        local.run(v.initializer)
        tf.Session.reset(server.target)
        assert local.run(v) == 1
        with pytest.raises(tf.errors.CancelledError):
            session.run(v)
    with tf.Session(server.target) as session, pytest.raises(tf.errors.FailedPreconditionError):
        session.run(v)


def test_what_it_is_made_of() -> None:
    server = tf.train.Server(
        tf.train.ClusterSpec({"worker": ["h:1"]}), config=tf.ConfigProto(device_count={"CPU": 3})
    )
    expected = protos.ServerDef(job_name="worker", task_index=0, protocol="grpc")
    expected.cluster.job.add(name="worker").tasks[0] = "h:1"
    expected.default_session_config.device_count["CPU"] = 3
    assert server.server_def == expected
    assert server.target.startswith("grpc://h:")
    with tf.Session(server.target, graph=tf.Graph()) as session:
        assert len(session.list_devices()) == 3
    again = tf.train.Server(server.server_def, protocol="grpc")
    assert again.server_def == expected
    assert again.target != server.target


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="Could not convert `server_or_cluster_def`"):
        tf.train.Server(3)
    with pytest.raises(ValueError, match="explicit `job_name`"):
        tf.train.Server({"ps": ["a:1"], "worker": ["b:1"]})
    with pytest.raises(ValueError, match="explicit `task_index`"):
        tf.train.Server({"worker": ["a:1", "b:1"]})
    with pytest.raises(tf.errors.UnimplementedError, match="a cluster of 2 tasks: a:1, b:1"):
        tf.train.Server({"worker": ["a:1", "b:1"]}, task_index=0)
    with pytest.raises(tf.errors.NotFoundError, match="No session factory"):
        tf.Session("grpc://localhost:2222", graph=tf.Graph())
