"""An increment never replaces one that it needs, and is restored only on what it follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvarn as tf
from kvarn import errors
from kvarn.checkpoint.chain import Chain
from kvarn.saver.incremental_saver import IncrementalSaver


class Model:
    """An embedding variable, in a session of its own, whose keys tell what was restored."""

    def __init__(self, folder: Path, cumulative: bool) -> None:
        self.folder = folder
        with tf.Graph().as_default() as graph:
            self.variable = tf.get_embedding_variable("e", 2, initializer=tf.zeros_initializer())
            self.ids = tf.placeholder(tf.int64, [None])
            rows = tf.nn.embedding_lookup(self.variable, self.ids)
            self.train = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(rows))
            self.export = self.variable.export()
            self.saver = tf.train.Saver(incremental_save_restore=True)
            self.increments = IncrementalSaver(
                saver_def=self.saver.saver_def, defer_build=True, cumulative=cumulative
            )
            self.increments.build(self.saver._builder.filename_tensor)
            self.session = tf.Session(graph=graph)
            self.session.run(tf.global_variables_initializer())

    def touch(self, key: int) -> None:
        self.session.run(self.train, {self.ids: [key]})

    def full(self, step: int) -> str:
        return str(self.saver.save(self.session, self.folder / "model.ckpt", step))

    def increment(self, step: int) -> str:
        prefix = self.folder / ".incremental_checkpoint" / "incremental_model.ckpt"
        return str(self.increments.incremental_save(self.session, prefix, step))

    @property
    def keys(self) -> list[int]:
        return sorted(self.session.run(self.export)[0].tolist())


def saved(folder: Path, cumulative: bool, first_key: int = 1) -> list[str]:
    """A full save of one key, and two increments with one more each."""
    model = Model(folder, cumulative)
    model.touch(first_key)
    prefixes = [model.full(1)]
    for step in (2, 3):
        model.touch(first_key + step - 1)
        prefixes.append(model.increment(step))
    return prefixes


def test_two_of_the_same_step(tmp_path: Path) -> None:
    model = Model(tmp_path, cumulative=False)
    model.full(1)
    model.touch(1)
    model.increment(7)
    model.touch(2)
    with pytest.raises(errors.FailedPreconditionError, match="increment 2 of step 7 is needed"):
        model.increment(7)
    model.increment(8)
    again = Model(tmp_path, cumulative=False)
    again.increments.recover(again.session, tmp_path)
    assert again.keys == [1, 2]
    # The one that it was recovered from is needed as well.
    again.touch(3)
    with pytest.raises(errors.FailedPreconditionError, match="increment 3 of step 8 is needed"):
        again.increment(8)
    again.increment(9)
    assert [link.number for link in Chain.open(tmp_path).path()] == [1, 2, 3, 4]


def test_two_of_the_same_step_that_hold_everything(tmp_path: Path) -> None:
    model = Model(tmp_path, cumulative=True)
    model.full(1)
    for key in (1, 2, 3):
        model.touch(key)
        model.increment(7)
    again = Model(tmp_path, cumulative=True)
    again.increments.recover(again.session, tmp_path)
    assert again.keys == [1, 2, 3]


def test_after_another_full_save_its_place_is_free(tmp_path: Path) -> None:
    model = Model(tmp_path, cumulative=False)
    model.full(1)
    model.touch(1)
    model.increment(7)
    model.full(7)
    model.touch(2)
    model.increment(7)
    again = Model(tmp_path, cumulative=False)
    again.increments.recover(again.session, tmp_path)
    assert again.keys == [1, 2]


@pytest.mark.parametrize("cumulative", [True, False])
def test_of_another_chain(tmp_path: Path, cumulative: bool) -> None:
    own = saved(tmp_path / "a", cumulative)
    other = saved(tmp_path / "b", cumulative, first_key=11)
    model = Model(tmp_path, cumulative)
    model.saver.restore(model.session, own[0])
    with pytest.raises(
        errors.FailedPreconditionError, match=r"increment 2 belongs to chain \w+, and full save 1"
    ):
        model.increments.incremental_restore(model.session, own[0], other[1])
    assert model.keys == [1]


def test_with_a_gap_before_it(tmp_path: Path) -> None:
    full, second, third = saved(tmp_path, cumulative=False)
    model = Model(tmp_path, cumulative=False)
    model.saver.restore(model.session, full)
    with pytest.raises(
        errors.FailedPreconditionError, match="increment 3 follows increment 2, which was not"
    ):
        model.increments.incremental_restore(model.session, full, third)
    assert model.keys == [1]
    model.increments.incremental_restore(model.session, full, second)
    model.increments.incremental_restore(model.session, full, third)
    assert model.keys == [1, 2, 3]


def test_on_another_full_save_of_its_chain(tmp_path: Path) -> None:
    model = Model(tmp_path, cumulative=True)
    model.touch(1)
    first = model.full(1)
    model.touch(2)
    model.full(2)
    model.touch(3)
    increment = model.increment(3)
    other: Any = Model(tmp_path, cumulative=True)
    other.saver.restore(other.session, first)
    with pytest.raises(
        errors.FailedPreconditionError, match="increment 3 was made on full save 2, and not on full"
    ):
        other.increments.incremental_restore(other.session, first, increment)
    assert other.keys == [1]


def test_a_restore_of_something_else_comes_between(tmp_path: Path) -> None:
    full, second, third = saved(tmp_path, cumulative=False)
    model = Model(tmp_path, cumulative=False)
    model.saver.restore(model.session, full)
    model.increments.incremental_restore(model.session, full, second)
    model.saver.restore(model.session, full)
    with pytest.raises(errors.FailedPreconditionError, match="which was not restored before it"):
        model.increments.incremental_restore(model.session, full, third)


@pytest.mark.parametrize("cumulative", [True, False])
def test_without_steps_the_manifests_tell_which_is_newer(tmp_path: Path, cumulative: bool) -> None:
    folder = tmp_path / ".incremental_checkpoint"
    model = Model(tmp_path, cumulative)
    full = None
    for first in (1, 11):
        model.touch(first)
        full = model.saver.save(model.session, tmp_path / "model.ckpt")
        if first == 11:
            # The newest increment follows the full save that was replaced.
            other = Model(tmp_path, cumulative)
            other.saver.restore(other.session, full)
            other.increments.recover_incr_checkpoints(other.session, tmp_path)
            assert other.keys == [1, 2, 3, 11]
        for i in (1, 2):
            model.touch(first + i)
            model.increments.incremental_save(model.session, folder / f"incremental_model.ckpt-{first}-x{i}")
    again = Model(tmp_path, cumulative)
    again.saver.restore(again.session, full)
    again.increments.recover_incr_checkpoints(again.session, tmp_path)
    assert again.keys == [1, 2, 3, 11, 12, 13]
