"""No save shows half an update: four writers, an evictor and a saver work on one table at once.

Updates are such that a row tells its own history. Writer w updates all of its keys in its t-th call, with gradients
that are 1 in even columns and t mod 64 in odd ones, by Momentum with momentum 0 and learning rate 1. A row that was
updated u times since it was created, last by call t, therefore has

    value    -u in even columns, minus the sum of the last u gradients in odd ones
    slot      1 in even columns, t mod 64 in odd ones
    freq      u (and what the filter counted before it let the key in)
    version   t

and any mixture of two moments is none of these.
"""

from __future__ import annotations

import itertools
import pathlib
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import kvarn as tf
from kvarn.engine.policies import CounterAdmission, EvictionPolicy
from kvarn.engine.table import EmbeddingTable, Snapshot
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import write_embedding

SAVES = 200
WRITERS = 4
KEYS_OF_A_WRITER = 1500
DIM = 8
PERIOD = 64  # of the gradients: sums stay small enough for float32
NAME, SLOT = "ev", "ev/Momentum"


def grads_of(t: int) -> npt.NDArray[np.float32]:
    row = np.where(np.arange(DIM) % 2, np.float32(t % PERIOD), np.float32(1))
    return np.tile(row, (KEYS_OF_A_WRITER, 1))


GRADS = [grads_of(t) for t in range(PERIOD)]


def sum_to(t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The sum of s mod PERIOD over s = 1 to t."""
    rest = t % PERIOD
    return t // PERIOD * (PERIOD * (PERIOD - 1) // 2) + rest * (rest + 1) // 2


class Traffic:
    """Threads that change a table until they are told to stop; what they raise is raised again."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[[int], None]) -> None:
        """Calls work(1), work(2), … in a thread."""

        def run() -> None:
            try:
                for t in itertools.count(1):
                    if self.stop.is_set():
                        return
                    work(t)
            except BaseException as error:  # shown by the main thread
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for error in self.errors:
            raise error


def save(prefix: str, cut: Snapshot, slot_cut: Snapshot | None = None) -> None:
    with BundleWriter(prefix, sync=False) as writer:
        for slot, name in enumerate((NAME, SLOT)):
            cut = slot_cut or cut if slot else cut
            write_embedding(
                writer,
                name,
                cut.keys,
                cut.chunks(slot, chunk_bytes=10_000),
                dim=DIM,
                versions=cut.versions,
                freqs=cut.freqs,
                keys_filtered=cut.filtered_keys,
                versions_filtered=cut.filtered_versions,
                freqs_filtered=cut.filtered_freqs,
            )


def check(prefix: str, filter_freq: int) -> int:
    """Every row of a save is of one moment; returns how many there are."""
    with BundleReader(prefix) as reader:
        saved = reader.read()
    keys = saved[f"{NAME}-keys"]
    assert len(np.unique(keys)) == len(keys)
    for column in ("keys", "freqs", "versions", "keys_filtered", "freqs_filtered", "versions_filtered"):
        np.testing.assert_array_equal(saved[f"{NAME}-{column}"], saved[f"{SLOT}-{column}"])
    values, slots = saved[f"{NAME}-values"], saved[f"{SLOT}-values"]
    freqs, versions = saved[f"{NAME}-freqs"], saved[f"{NAME}-versions"]
    updates = freqs - max(0, filter_freq - 1)
    assert (updates >= 1).all()
    sums = sum_to(versions) - sum_to(versions - updates)
    for d in range(DIM):
        np.testing.assert_array_equal(values[:, d], -(sums if d % 2 else updates))
        np.testing.assert_array_equal(slots[:, d], versions % PERIOD if d % 2 else np.ones(len(keys)))
    filtered, counted = saved[f"{NAME}-keys_filtered"], saved[f"{NAME}-freqs_filtered"]
    assert not np.isin(filtered, keys).any()
    assert ((counted >= 1) & (counted < filter_freq)).all()
    return len(keys)


@pytest.mark.parametrize("filter_freq", [0, 3])
def test_every_save_is_one_moment(tmp_path: pathlib.Path, filter_freq: int) -> None:
    admission = CounterAdmission(filter_freq) if filter_freq else None
    table = EmbeddingTable(np.int64, DIM, record_freq=True, record_version=True, admission=admission)
    slot = table.add_slot("Momentum", DIM, np.zeros((1, DIM), np.float32))
    everything = np.arange(WRITERS * KEYS_OF_A_WRITER) - 100
    random = np.random.default_rng(4)
    sizes = set()

    def writer(own: npt.NDArray[np.int64]) -> Callable[[int], None]:
        return lambda t: table.apply(
            "Momentum", own, GRADS[t % PERIOD], slots=[slot], params=[1.0, 0.0], step=t
        )

    def evict(t: int) -> None:
        if t % 2:
            table.evict(EvictionPolicy(max_keys=len(everything) // 2), t)
        else:
            table.remove(random.choice(everything, 300))

    with Traffic() as traffic:
        for w in range(WRITERS):
            traffic.start(writer(everything[w::WRITERS]))
        traffic.start(evict)
        for number in range(SAVES):
            prefix = str(tmp_path / str(number % 3))
            with table.snapshot() as cut:
                assert cut.counters["admitted"] == cut.size
                assert cut.counters["filtered"] == len(cut.filtered_keys)
                save(prefix, cut)
            sizes.add(check(prefix, filter_freq))
            if traffic.errors:
                break
    assert len(sizes) > 5, "nothing changed between the saves"


@pytest.mark.parametrize("earlier", ["value", "slot"])
def test_a_save_of_two_moments_is_noticed(tmp_path: pathlib.Path, earlier: str) -> None:
    table = EmbeddingTable(np.int64, DIM, record_freq=True, record_version=True)
    slot = table.add_slot("Momentum", DIM, np.zeros((1, DIM), np.float32))
    cuts = []
    for t in (1, 2):
        keys = np.arange(KEYS_OF_A_WRITER)
        table.apply("Momentum", keys, GRADS[t], slots=[slot], params=[1.0, 0.0], step=t)
        cuts.append(table.snapshot())
    for t, cut in enumerate(cuts):
        save(str(tmp_path / f"whole{t}"), cut)
        assert check(str(tmp_path / f"whole{t}"), 0) == KEYS_OF_A_WRITER
    save(str(tmp_path / "torn"), *(cuts if earlier == "value" else reversed(cuts)))
    with pytest.raises(AssertionError):
        check(str(tmp_path / "torn"), 0)


def test_saver_beside_training(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through sess.run and tf.train.Saver: no save waits for training, none shows half a step."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    with tf.Graph().as_default():
        variable = tf.get_embedding_variable(NAME, embedding_dim=DIM, initializer=tf.zeros_initializer())
        ids = tf.placeholder(tf.int64, [None])
        grads = tf.placeholder(tf.float32, [None, DIM])
        loss = tf.reduce_sum(tf.nn.embedding_lookup(variable, ids) * grads)
        train = tf.train.MomentumOptimizer(1.0, 0.0).minimize(loss)
        saver = tf.train.Saver(max_to_keep=2)
        with tf.Session() as sess, Traffic() as traffic:
            sess.run(tf.global_variables_initializer())
            for w in range(WRITERS):
                own = np.arange(KEYS_OF_A_WRITER) * WRITERS + w
                traffic.start(lambda t, own=own: sess.run(train, {ids: own, grads: GRADS[t % PERIOD]}))
            most = EvictionPolicy(max_keys=WRITERS * KEYS_OF_A_WRITER // 2)
            traffic.start(lambda t: variable.evict(t, policy=most, session=sess))
            sizes = set()
            for number in range(SAVES):
                prefix = saver.save(sess, str(tmp_path / "model"), global_step=number)
                with BundleReader(prefix) as reader:
                    saved = reader.read()
                keys, freqs = saved[f"{NAME}-keys"], saved[f"{NAME}-freqs"]
                np.testing.assert_array_equal(keys, saved[f"{SLOT}-keys"])
                sizes.add(len(keys))
                # A lookup creates a key before its first update.
                values, slots = (saved[f"{name}-values"] for name in (NAME, SLOT))
                last = (
                    slots[:, 1].astype(np.int64) + PERIOD * freqs
                )  # sums go by the last call mod PERIOD alone
                sums = sum_to(last) - sum_to(last - freqs)
                for d in range(DIM):
                    np.testing.assert_array_equal(values[:, d], -(sums if d % 2 else freqs))
                    np.testing.assert_array_equal(slots[:, d], slots[:, 1] if d % 2 else np.minimum(freqs, 1))
                if traffic.errors:
                    break
    assert min(sizes) < max(sizes), "nothing was evicted between the saves"
