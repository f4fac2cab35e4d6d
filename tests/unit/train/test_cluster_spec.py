"""Clusters: the addresses of tasks by job."""

from __future__ import annotations

import pytest

import kvarn as tf


def test_what_it_is_made_of() -> None:
    spec = tf.train.ClusterSpec({"ps": ["a:1", "b:2"], "worker": {1: "c:3", 3: "d:4"}})
    assert spec.as_dict() == {"ps": ["a:1", "b:2"], "worker": {1: "c:3", 3: "d:4"}}
    assert tf.train.ClusterSpec(spec) == spec
    assert tf.train.ClusterSpec(spec.as_cluster_def()) == spec
    assert spec.jobs == ["ps", "worker"]
    assert (spec.num_tasks("ps"), spec.task_indices("worker")) == (2, [1, 3])
    assert spec.task_address("worker", 3) == "d:4"
    assert spec.job_tasks("worker") == [None, "c:3", None, "d:4"]
    assert not tf.train.ClusterSpec({})


def test_what_it_is_not_made_of() -> None:
    with pytest.raises(TypeError, match="`cluster` must be a dictionary"):
        tf.train.ClusterSpec(["a:1"])
    with pytest.raises(TypeError, match="Task indices in a sparse cluster must be integers"):
        tf.train.ClusterSpec({"ps": {"0": "a:1"}})
    with pytest.raises(TypeError, match="must be a list or a dictionary"):
        tf.train.ClusterSpec({"ps": "a:1"})
    spec = tf.train.ClusterSpec({"ps": ["a:1"]})
    with pytest.raises(ValueError, match="No such job in cluster: 'worker'"):
        spec.num_tasks("worker")
    with pytest.raises(ValueError, match="No task with index 7"):
        spec.task_address("ps", 7)


def test_variables_go_to_its_servers() -> None:
    with tf.Graph().as_default():
        spec = tf.train.ClusterSpec({"ps": ["a:1", "b:2"], "worker": ["c:3"]})
        with tf.device(tf.train.replica_device_setter(cluster=spec)):
            devices = [tf.Variable(0.0).device for _ in range(3)]
    assert devices == ["/job:ps/task:0", "/job:ps/task:1", "/job:ps/task:0"]
