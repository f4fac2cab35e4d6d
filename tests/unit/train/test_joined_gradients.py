"""What optimizers put before an update of an embedding variable, to join equal keys, runs only where asked for."""

from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.graph import plan
from kvarn.graph.resources import ResourceManager


def program() -> tuple[Any, Any, Any]:
    """Keys 3, 5, 3, 3, 7 with gradients of 1, 2, 4, 8 and 0.5 by rows: the update, the variable, and the node that
    makes keys distinct."""
    var = tf.get_embedding_variable("b", 2, initializer=tf.zeros_initializer())
    keys = tf.placeholder_with_default(np.array([3, 5, 3, 3, 7]), [5])
    rows = tf.nn.embedding_lookup(var, keys)
    loss = tf.reduce_sum(rows * [[1.0], [2.0], [4.0], [8.0], [0.5]])
    train = tf.train.AdagradOptimizer(0.5, initial_accumulator_value=0.1).minimize(loss)
    nodes = tf.get_default_graph().get_operations()
    return train, var, next(node for node in nodes if node.type == "Unique")


def types_run(fetches: list[Any], targets: list[Any], feeds: list[Any]) -> set[str]:
    steps = plan.build(fetches, targets, feeds, ResourceManager(), None).steps
    return {step[1].op.type for step in steps}


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("asked", ["nothing", "fetch", "feed", "control"])
def test_equal_keys_are_joined_once(counted: bool, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_RECORD_FREQ", "1" if counted else "0")
    with tf.Graph().as_default():
        train, var, unique = program()
        if asked == "control":
            # It waits for something, and the update for it.
            unique._add_control_input(tf.no_op())
        fetches = list(unique.outputs) if asked == "fetch" else []
        feeds = [unique.outputs[1]] if asked == "feed" else []
        ran = types_run(fetches, [train], feeds)
        assert ("Unique" in ran) == (asked in ("fetch", "feed", "control"))
        assert ("UnsortedSegmentSum" in ran) == (asked in ("feed", "control"))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            feed = {unique.outputs[1]: np.array([0, 1, 0, 0, 2], np.int32)} if feeds else {}
            session.run([train, *fetches], feed)
            keys, values, _, freqs = session.run(var.export())
    learnt = dict(zip(keys.tolist(), values[:, 0].tolist(), strict=True))
    for key, gradient in {3: 13.0, 5: 2.0, 7: 0.5}.items():
        assert learnt[key] == pytest.approx(-0.5 * gradient / np.sqrt(0.1 + gradient**2), rel=1e-6)
    if counted:
        assert dict(zip(keys.tolist(), freqs.tolist(), strict=True)) == {3: 3, 5: 1, 7: 1}
