"""Which increments are kept: none that another kept one needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvarn as tf
from kvarn.checkpoint.chain import Chain
from kvarn.saver.incremental_saver import IncrementalSaver


class Run:
    """A model whose step 1, 5, 9 … is saved in full, each other one as an increment."""

    def __init__(self, folder: Path, cumulative: bool, **options: Any) -> None:
        self.folder = folder
        with tf.Graph().as_default() as graph:
            variable = tf.get_embedding_variable("e", 1, initializer=tf.zeros_initializer())
            self.ids = tf.placeholder(tf.int64, [None])
            self.step = tf.train.get_or_create_global_step()
            rows = tf.nn.embedding_lookup(variable, self.ids)
            self.train = tf.train.GradientDescentOptimizer(1.0).minimize(-tf.reduce_sum(rows), self.step)
            self.keys = variable.export()
            self.saver = tf.train.Saver(incremental_save_restore=True, max_to_keep=2)
            self.increments = IncrementalSaver(
                saver_def=self.saver.saver_def, defer_build=True, cumulative=cumulative, **options
            )
            self.increments.build(self.saver._builder.filename_tensor)
            initializer = tf.global_variables_initializer()
        self.session = tf.Session(graph=graph)
        self.session.run(initializer)

    def go_to(self, last: int) -> None:
        while (step := int(self.session.run(self.step)) + 1) <= last:
            self.session.run(self.train, {self.ids: [step]})
            if step % 4 == 1:
                self.saver.save(self.session, self.folder / "model.ckpt", self.step)
            else:
                target = self.folder / ".incremental_checkpoint/incremental_model.ckpt"
                self.increments.incremental_save(self.session, str(target), self.step)

    def kept(self) -> list[int]:
        names = (self.folder / ".incremental_checkpoint").glob("*.index")
        return sorted(int(path.stem.rpartition("-")[2]) for path in names)


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        (8, [2, 3, 4, 6, 7, 8]),
        (11, [6, 7, 8, 10, 11]),
        (12, [6, 7, 8, 10, 11, 12]),
        (15, [10, 11, 12, 14, 15]),
    ],
)
def test_increments_on_one_full_save_leave_together(tmp_path: Path, last: int, kept: list[int]) -> None:
    run = Run(tmp_path, cumulative=False)
    run.go_to(last)
    assert run.kept() == kept
    chain = Chain.open(tmp_path)
    for step in kept:
        if step > 4 and (step - 1) // 4 * 4 + 1 > last - 8:  # its full save is kept, too
            assert chain.path(step)[-1].step == step


def test_a_recovered_run_knows_what_belongs_together(tmp_path: Path) -> None:
    Run(tmp_path, cumulative=False).go_to(11)
    run = Run(tmp_path, cumulative=False)
    run.session.close()
    run.session = tf.Session(graph=run.train.graph)
    run.increments.recover(run.session, tmp_path)
    assert sorted(run.session.run(run.keys)[0].tolist()) == list(range(1, 12))
    run.go_to(12)
    assert run.kept() == [6, 7, 8, 10, 11, 12]
    assert Chain.open(tmp_path).path(8)[-1].step == 8
    run.go_to(15)
    assert run.kept() == [10, 11, 12, 14, 15]


def test_cumulative_increments_leave_one_by_one(tmp_path: Path) -> None:
    run = Run(tmp_path, cumulative=True)
    run.go_to(12)
    assert run.kept() == [7, 8, 10, 11, 12]
    few = Run(tmp_path / "few", cumulative=True, max_to_keep=1)
    few.go_to(8)
    assert few.kept() == [8]


def test_an_increment_that_replaces_another(tmp_path: Path) -> None:
    run = Run(tmp_path, cumulative=True, max_to_keep=2)
    run.go_to(2)
    for _ in range(4):
        target = tmp_path / ".incremental_checkpoint/incremental_model.ckpt"
        run.increments.incremental_save(run.session, str(target), 2)
        assert run.kept() == [2]
    run.go_to(8)
    assert run.kept() == [7, 8]
