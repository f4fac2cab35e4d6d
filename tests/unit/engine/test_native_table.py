"""What only the native table has: threads, memory, released snapshots."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from kvarn import _native, errors
from kvarn.engine.table import EmbeddingTable


def trained(threads: int) -> EmbeddingTable:
    before = _native.num_threads()
    _native.set_num_threads(threads)
    try:
        random = np.random.default_rng(3)
        table = EmbeddingTable(np.int64, 16, record_freq=True, record_version=True)
        table.set_default(0, random.standard_normal((64, 16)).astype(np.float32))
        accum = table.add_slot("a", 16, np.full((1, 16), 0.1, np.float32))
        for step in range(5):
            keys = random.zipf(1.2, 30_000) % 50_000
            table.lookup_or_create(keys)
            keys[::5] += 60_000  # some keys are created by the update
            table.apply(
                "Adagrad",
                keys,
                random.standard_normal((30_000, 16)).astype(np.float32),
                slots=[accum],
                params=[0.1],
                step=step,
            )
        return table
    finally:
        _native.set_num_threads(before)


def test_the_number_of_threads_changes_no_bit() -> None:
    one, four = trained(1).snapshot(), trained(4).snapshot()
    np.testing.assert_array_equal(one.keys, four.keys)
    np.testing.assert_array_equal(one.freqs, four.freqs)
    np.testing.assert_array_equal(one.versions, four.versions)
    for slot in (0, 1):
        np.testing.assert_array_equal(one.values(slot), four.values(slot))


def test_chunks_are_the_rows_in_order() -> None:
    cut = trained(2).snapshot()
    chunks = list(cut.chunks(1, chunk_bytes=64 * 1000))
    assert {len(c) for c in chunks[:-1]} == {1000}
    np.testing.assert_array_equal(np.concatenate(chunks), cut.values(1))


def test_a_released_snapshot_says_so() -> None:
    table = trained(1)
    with table.snapshot() as cut:
        keys = cut.keys
    gc.collect()
    assert len(keys) == table.size
    with pytest.raises(errors.FailedPreconditionError, match="released"):
        cut.values()


def test_memory_grows_with_entries_and_goes_with_them() -> None:
    table = EmbeddingTable(np.int64, 16)
    small = table.memory_bytes
    table.lookup_or_create(np.arange(200_000))
    grown = table.memory_bytes
    assert grown - small >= 200_000 * (64 + 8 + 4)
    assert grown - small < 200_000 * (64 + 8 + 24)
    table.clear()
    assert table.memory_bytes == small


def test_room_of_removed_keys_is_used_again() -> None:
    table = EmbeddingTable(np.int64, 16)
    for first in range(0, 1_000_000, 10_000):
        keys = np.arange(first, first + 10_000)
        table.lookup_or_create(keys)
        assert table.remove(keys) == 10_000
    assert table.size == 0
    assert table.memory_bytes < 10_000 * 200


def test_python_threads_share_a_table() -> None:
    table = EmbeddingTable(np.int64, 8, record_freq=True)
    keys = np.arange(5000)
    grads = np.ones((5000, 8), np.float32)
    rounds = 30

    def work() -> None:
        for _ in range(rounds):
            table.lookup_or_create(keys)
            table.apply("GradientDescent", keys, grads, params=[1.0])
            table.snapshot().values()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (table.frequency(keys) == 4 * rounds).all()
    assert (table.lookup(keys) == -4.0 * rounds).all()


OUT_OF_MEMORY = """
import resource
import numpy as np
from kvarn import errors
from kvarn.engine.table import EmbeddingTable

table = EmbeddingTable(np.int64, 64)
table.lookup_or_create(np.arange(1000))
with open("/proc/self/statm") as f:
    now = int(f.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (256 << 20), resource.RLIM_INFINITY))
out = np.empty((50_000, 64), np.float32)
try:
    for first in range(0, 100_000_000, 50_000):
        table.lookup_or_create(np.arange(first, first + 50_000), out)
except errors.ResourceExhaustedError as e:
    assert "memory" in str(e), e
    size = table.size
    assert size > 50_000
    assert (table.lookup(np.arange(1000), out[:1000]) == 0).all()
    table.remove(np.arange(1000))
    table.lookup_or_create(np.arange(-100, 0), out[:100])
    assert table.size == size - 900
    print("survived")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its address space as Linux does")
def test_running_out_of_memory_is_an_error_and_the_table_lives_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "survived", done.stderr
