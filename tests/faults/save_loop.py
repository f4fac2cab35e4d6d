"""A program that saves its model again and again; test_saver_kill.py kills it.

    python save_loop.py DIRECTORY

For every line on stdin it forks a process, prints its id, and waits for it to die.  That process goes on
where `checkpoint` left off, says ``ready`` before its first save, and saves until it is killed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

import kvarn as tf

KEYS = np.arange(-500, 3500, dtype=np.int64)
DIM = 8


class Model:
    """Values that tell the step they are of: dense, partitioned, an embedding variable with a slot.

    At step s the dense values are s, every row has been updated s times with gradient 1, and there are s
    keys above a million.
    """

    def __init__(self) -> None:
        with tf.Graph().as_default() as self.graph:
            zeros = tf.zeros_initializer()
            self.step = tf.get_variable("step", [], tf.int64, zeros)
            self.dense = tf.get_variable("dense", [200, 100], initializer=zeros, use_resource=True)
            self.parts = list(
                tf.get_variable(
                    "parts", [300, 50], initializer=zeros, partitioner=tf.fixed_size_partitioner(3)
                )
            )
            self.ev = tf.get_embedding_variable(
                "ev", embedding_dim=DIM, initializer=tf.constant_initializer(0.0)
            )
            self.fed_step = tf.placeholder(tf.int64, [])
            value = tf.cast(self.fed_step, tf.float32)
            rows = tf.nn.embedding_lookup(self.ev, tf.constant(KEYS))
            optimizer = tf.train.AdagradOptimizer(0.5)
            train = optimizer.apply_gradients(optimizer.compute_gradients(tf.reduce_sum(rows), [self.ev]))
            new_key = tf.nn.embedding_lookup(self.ev, tf.reshape(self.fed_step + 1_000_000, [1]))
            self.advance_op = tf.group(
                self.step.assign(self.fed_step),
                self.dense.assign(tf.fill([200, 100], value)),
                *[part.assign(tf.fill([100, 50], value)) for part in self.parts],
                train,
                new_key,
            )
            self.table = self.ev.export()
            self.slot = optimizer.get_slot(self.ev, "accumulator").export()
            self.init = tf.global_variables_initializer()
            self.saver = tf.train.Saver(max_to_keep=2)

    def restore_newest(self, sess: Any, directory: str) -> int:
        """Restores what `checkpoint` names, or initializes; the step."""
        sess.run(self.init)
        state = tf.train.get_checkpoint_state(directory)
        if state is None:
            return 0
        self.saver.recover_last_checkpoints(list(state.all_model_checkpoint_paths))
        self.saver.restore(sess, state.model_checkpoint_path)
        return int(sess.run(self.step))

    def advance(self, sess: Any, step: int) -> None:
        sess.run(self.advance_op, {self.fed_step: step})

    def check(self, sess: Any) -> int:
        """AssertionError unless everything is of one step, which is returned."""
        step, dense, parts = sess.run([self.step, self.dense, self.parts])
        step = int(step)
        assert (dense == step).all()
        assert all((part == step).all() for part in parts)
        keys, rows, _, _ = sess.run(self.table)
        slot_keys, sums, _, _ = sess.run(self.slot)
        wanted = set(KEYS.tolist()) | {1_000_000 + s for s in range(1, step + 1)}
        assert len(keys) == len(wanted)
        assert set(keys.tolist()) == wanted
        assert set(slot_keys.tolist()) == wanted
        trained = rows[keys < 1_000_000]
        assert (trained == trained[0, 0]).all()
        assert (rows[keys >= 1_000_000] == 0).all()
        accumulated = sums[slot_keys < 1_000_000]
        assert (accumulated == accumulated[0, 0]).all()
        np.testing.assert_allclose(accumulated[0, 0], 0.1 + step, rtol=1e-4)
        total = np.float32(0)
        so_far = np.float32(0.1)
        for _ in range(step):
            so_far += np.float32(1)
            total -= np.float32(0.5) / np.sqrt(so_far)
        np.testing.assert_allclose(trained[0, 0], total, rtol=1e-3)
        return step


def save_until_killed(directory: str) -> None:
    model = Model()
    with tf.Session(graph=model.graph) as sess:
        step = model.restore_newest(sess, directory)
        print("ready", flush=True)
        while True:
            step += 1
            model.advance(sess, step)
            model.saver.save(sess, os.path.join(directory, "m"), global_step=step)


def main(directory: str) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            save_until_killed(directory)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
