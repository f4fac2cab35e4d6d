"""Tiers: sections 1.1, 1.2, 2.2 (rule 3), 3.9 and 4.8 of the facts, through the graph and on tables."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.engine.options import MULTI_TIER, CacheStrategy, StorageType
from kvarn.engine.policies import CounterAdmission, EvictionPolicy, TieredStorage
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable
from kvarn.ops import kv_storage
from kvarn.ops.kv_options import TableOptions
from kvarn.testing.ssd_records import write_ssd_record
from kvarn.variables.embedding_variable import lookup_tier

DIM = 3
# Of a key with one slot of the same dim, both padded to 4 floats.
KEY_BYTES = 32
ON_DISK = [StorageType.SSDHASH, StorageType.DRAM_SSDHASH, StorageType.LEVELDB, StorageType.DRAM_LEVELDB]


@pytest.fixture(params=["reference", "native"])
def engine(request, monkeypatch):
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    with tf.Graph().as_default():
        yield request.param


def storage(
    path: Any, keys: int, storage_type: int = StorageType.DRAM_SSDHASH, cache: int = CacheStrategy.LFU
) -> Any:
    return tf.StorageOption(storage_type, str(path), [keys * KEY_BYTES], cache)


class Model:
    """An embedding variable, trained by Adagrad: each batch adds its rows to the loss once for each id."""

    def __init__(
        self, storage_option: Any = None, name: str = "b", partitions: int = 0, **options: Any
    ) -> None:
        if storage_option is not None:
            options["storage_option"] = storage_option
        self.var = tf.get_embedding_variable(
            name,
            DIM,
            initializer=tf.random_uniform_initializer(0.1, 1.0, seed=3),
            partitioner=tf.fixed_size_partitioner(partitions) if partitions else None,
            ev_option=tf.EmbeddingVariableOption(**options),
        )
        self.ids = tf.placeholder(tf.int64, [None])
        self.rows = tf.nn.embedding_lookup(self.var, self.ids)
        scale = tf.cast(self.ids % 5 + 1, tf.float32)
        loss = tf.reduce_sum(tf.square(self.rows) * tf.expand_dims(scale, 1))
        self.step = tf.train.get_or_create_global_step()
        self.optimizer = tf.train.AdagradOptimizer(0.1)
        self.train = self.optimizer.minimize(loss, global_step=self.step)
        self.tier = lookup_tier(self.var, self.ids)

    def fit(self, sess: Any, batches: Any) -> None:
        for batch in batches:
            sess.run(self.train, {self.ids: batch})

    def state(self, sess: Any) -> dict[int, tuple[Any, ...]]:
        """Of each key: value, accumulator, frequency and version."""
        found: dict[int, tuple[Any, ...]] = {}
        for part in self.var if hasattr(self.var, "_get_partitions") else [self.var]:
            keys, values, versions, freqs = sess.run(part.export())
            slot = self.optimizer.get_slot(part, "accumulator")
            slot_keys, accumulators, *_ = sess.run(slot.export())
            assert slot_keys.tolist() == keys.tolist()
            columns: list[Any] = [keys, values, accumulators]
            columns += [c if len(c) else np.zeros(len(keys)) for c in (freqs, versions)]
            for key, value, accumulator, freq, version in zip(*columns, strict=True):
                found[int(key)] = (value.tobytes(), accumulator.tobytes(), int(freq), int(version))
        return found


def batches(n: int, seed: int = 0, keys: int = 400) -> list[Any]:
    random = np.random.default_rng(seed)
    return [(random.zipf(1.3, 40) % keys - 20).astype(np.int64) for _ in range(n)]


def tables(engine: str) -> Any:
    return ReferenceEmbeddingTable if engine == "reference" else EmbeddingTable


def table_of(engine: str, path: Any, capacity: int, cache: Any = "lfu", **arguments: Any) -> Any:
    """A table whose memory holds `capacity` entries of a value of dim 1 and no slot."""
    return tables(engine)(np.int64, 1, storage=TieredStorage(str(path), 16 * capacity, cache), **arguments)


def update(table: Any, keys: Any, counts: Any = None) -> None:
    table.apply("GradientDescent", keys, np.ones((len(keys), 1), np.float32), params=[0.5], counts=counts)


# -- 1.1, 1.2 options -----------------------------------------------------------------------------


def test_storage_types_and_cache_strategies_have_deeprecs_numbers():
    """1.1: the numbers of StorageType and CacheStrategy."""
    assert {t.name: t.value for t in StorageType} == {
        "DEFAULT": 0, "DRAM": 1, "PMEM_MEMKIND": 2, "PMEM_LIBPMEM": 3, "SSDHASH": 4, "LEVELDB": 5, "HBM": 6,
        "DRAM_PMEM": 11, "DRAM_SSDHASH": 12, "HBM_DRAM": 13, "DRAM_LEVELDB": 14, "DRAM_PMEM_SSDHASH": 101,
        "HBM_DRAM_SSDHASH": 102,
    }  # fmt: skip
    assert {c.name: c.value for c in CacheStrategy} == {"LRU": 0, "LFU": 1}


def test_multi_tier_types_need_counts(tmp_path):
    """1.1: the types with several tiers are these eight, and their variables count ids."""
    names = "LEVELDB SSDHASH DRAM_PMEM DRAM_LEVELDB DRAM_SSDHASH HBM_DRAM DRAM_PMEM_SSDHASH HBM_DRAM_SSDHASH"
    assert {t.name for t in MULTI_TIER} == set(names.split())
    with tf.Graph().as_default():
        for storage_type in StorageType:
            model = Model(storage(tmp_path, 10, storage_type), name=storage_type.name)
            assert model.var.need_counts() is (storage_type in MULTI_TIER)


def test_a_storage_option_is_checked_when_it_is_made(tmp_path):
    """1.2: sizes are a list that is filled up to four, a path needs a type, types on disk a path, which is made."""
    sizes = [5]
    option = tf.StorageOption(StorageType.DRAM_SSDHASH, str(tmp_path / "new"), sizes)
    assert sizes == [5, 1 << 30, 1 << 30, 1 << 30]
    assert option.storage_size is sizes
    assert (tmp_path / "new").is_dir()
    with pytest.raises(ValueError, match="list"):
        tf.StorageOption(StorageType.DRAM, storage_size=(5,))
    with pytest.raises(ValueError, match="storage_type"):
        tf.StorageOption(storage_path=str(tmp_path))
    for storage_type in ON_DISK:
        with pytest.raises(ValueError, match="storage_path"):
            tf.StorageOption(storage_type)


@pytest.mark.parametrize("storage_type", list(StorageType))
def test_types_above_five_record_frequencies_and_versions(storage_type, tmp_path):
    """2.2, rule 3: a declared storage type above 5 forces both."""
    attrs = {"storage_type": int(storage_type), "storage_path": str(tmp_path), "storage_size": [100]}
    options = TableOptions.of("b", attrs)
    assert options.record_freq is options.record_version is (storage_type > 5)
    assert options.is_save_freq is options.is_save_version is (storage_type > 5)


# -- 3.9 which types are tiers --------------------------------------------------------------------


@pytest.mark.parametrize("storage_type", list(StorageType))
def test_types_on_disk_keep_some_rows_in_files_and_the_others_do_not(engine, storage_type, tmp_path):
    """3.9: with two tiers what is beyond the bound of the first is in the second; kvarn has memory and disk."""
    model = Model(storage(tmp_path, 10, storage_type))
    tiered = storage_type in ON_DISK or storage_type.name.endswith("_SSDHASH")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        model.fit(sess, [np.arange(30)])
        tiers = sess.run(model.tier, {model.ids: np.arange(31)}).tolist()
        assert sorted(tiers) == ([-1] + [0] * 10 + [1] * 20 if tiered else [-1] + [0] * 30)
        files = [name for name in os.listdir(tmp_path) if name.endswith(".emb")]
        assert bool(files) is (tiered and engine == "native")
        assert all(name.startswith("ssd_kv_") and name.endswith("_0000.emb") for name in files)


def test_memory_that_the_machine_lacks_is_replaced_with_one_warning(tmp_path, caplog, monkeypatch):
    """1.1: HBM and PMEM types are accepted; a process warns once of each."""
    monkeypatch.setattr(kv_storage, "_warned", set())
    with tf.Graph().as_default(), caplog.at_level(logging.WARNING, "tensorflow"):
        for storage_type in StorageType:
            for i in range(2):
                Model(storage(tmp_path, 10, storage_type), name=f"{storage_type.name}_{i}")
    warned = [record.args[1] for record in caplog.records if "storage type" in record.message]
    assert sorted(warned) == [
        "DRAM_PMEM", "DRAM_PMEM_SSDHASH", "HBM", "HBM_DRAM", "HBM_DRAM_SSDHASH", "PMEM_LIBPMEM", "PMEM_MEMKIND",
    ]  # fmt: skip


# -- 3.9 what is where ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "bytes_", "keys"),
    [([5, 5], 6400, 100), ([4], 160, 10), ([1], 160, 10), ([8, 8, 1], 799, 9), ([3], 5, 1)],
)
def test_the_bound_counts_padded_slots(engine, dims, bytes_, keys, tmp_path):
    """3.9: capacity = bytes / (padded elements of all slots * 4); dim 5 with one slot takes 64 bytes a key."""
    table = tables(engine)(np.int64, dims[0], storage=TieredStorage(str(tmp_path), bytes_))
    for i, dim in enumerate(dims[1:]):
        table.add_slot(f"s{i}", dim, np.zeros((1, dim), np.float32))
    ids = np.arange(keys + 7)
    table.apply("GradientDescent", ids, np.ones((len(ids), dims[0]), np.float32), params=[1.0])
    assert table.tier(ids).tolist().count(0) == keys


def test_least_frequent_keys_leave_first_and_of_those_the_oldest(engine, tmp_path):
    """3.9: LFU evicts the lowest frequency first, within one frequency the one that entered it first."""
    table = table_of(engine, tmp_path, 4)
    update(table, [1, 2, 3, 4])
    update(table, [3, 1])
    update(table, [5])
    assert table.tier([1, 2, 3, 4, 5]).tolist() == [0, 1, 0, 0, 0]
    update(table, [6])
    assert table.tier([1, 2, 3, 4, 5, 6]).tolist() == [0, 1, 0, 1, 0, 0]
    update(table, [5, 6])
    update(table, [7, 8])
    assert table.tier([1, 3, 5, 6, 7, 8]).tolist() == [0, 0, 0, 0, 1, 1]


def test_counts_are_frequencies_of_the_cache_when_they_are_recorded(engine, tmp_path):
    """3.9: the apply op tells the cache the counts of its ids."""
    table = table_of(engine, tmp_path, 2, record_freq=True)
    update(table, [1, 2], counts=[5, 2])
    update(table, [3], counts=[9])
    assert table.tier([1, 2, 3]).tolist() == [0, 1, 0]
    # A key that comes back is as frequent as it was.
    table.lookup([2])
    assert table.tier([1, 2, 3]).tolist() == [1, 0, 0]
    assert table.frequency([1, 2, 3]).tolist() == [5, 2, 9]


def test_least_recently_updated_keys_leave_first(engine, tmp_path):
    """3.9: LRU."""
    table = table_of(engine, tmp_path, 3, "lru")
    update(table, [1, 2, 3])
    update(table, [1, 1, 1])
    update(table, [2])
    update(table, [4])
    assert table.tier([1, 2, 3, 4]).tolist() == [0, 0, 1, 0]
    update(table, [3])
    assert table.tier([1, 2, 3, 4]).tolist() == [1, 0, 0, 0]


def test_the_cache_of_a_variable_is_what_its_option_says(engine, tmp_path):
    """1.2 and 3.9: cache_strategy, LFU by default."""
    for name, cache, left in (("lru", CacheStrategy.LRU, 1), ("lfu", CacheStrategy.LFU, 2)):
        model = Model(storage(tmp_path, 3, cache=cache), name=name)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            model.fit(sess, [[1, 1, 1], [2, 3], [3, 3], [4, 4]])
            tiers = sess.run(model.tier, {model.ids: [1, 2, 3, 4]}).tolist()
        assert tiers == [1 if key == left else 0 for key in (1, 2, 3, 4)]


def test_the_op_of_the_cache_sets_it(engine, tmp_path):
    """2.1: KvResourceInitCacheStrategyOp, which graphs of DeepRec have, says which keys leave."""
    from kvarn.ops import kv

    model = Model(storage(tmp_path, 3))
    lru = kv.kv_resource_init_cache_strategy_op(
        model.var.handle, cache_strategy=0, Tkeys=tf.int64, dtype=tf.float32
    )
    wrong = kv.kv_resource_init_cache_strategy_op(
        model.var.handle, cache_strategy=7, Tkeys=tf.int64, dtype=tf.float32
    )
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(lru)
        model.fit(sess, [[1, 1, 1], [2, 3], [3, 3], [4, 4]])
        assert sess.run(model.tier, {model.ids: [1, 2, 3, 4]}).tolist() == [1, 0, 0, 0]
        with pytest.raises(errors.InvalidArgumentError, match="strategy 7"):
            sess.run(wrong)


def test_reading_an_id_of_the_lower_tier_brings_it_to_memory(engine, tmp_path):
    """3.9: reading copies to DRAM, and the tier is 0 from then on."""
    table = table_of(engine, tmp_path, 2)
    update(table, [1, 2, 3])
    assert table.tier([1, 2, 3]).tolist() == [1, 0, 0]
    assert table.lookup([1]).tolist() == [[-0.5]]
    assert table.tier([1]).tolist() == [0]
    assert table.tier([1, 2, 3]).tolist().count(0) == 2


def test_a_batch_of_more_ids_than_memory_holds_is_served(engine, tmp_path):
    """3.3: DeepRec refuses it; here it is served, and memory is back in its bound after the next."""
    table = table_of(engine, tmp_path, 2)
    update(table, np.arange(50))
    assert (table.lookup(np.arange(50)) == -0.5).all()
    update(table, np.arange(50))
    assert (table.lookup(np.arange(50)) == -1.0).all()
    update(table, [1])
    assert table.tier(np.arange(50)).tolist().count(0) == 2


def test_lookup_tier_tells_absent_and_unadmitted_keys(engine, tmp_path):
    """3.9: -1 for an absent key; a counter record is no row."""
    table = table_of(engine, tmp_path, 1, admission=CounterAdmission(2))
    update(table, [1, 2, 3])
    update(table, [1, 2])
    assert sorted(table.tier([1, 2]).tolist()) == [0, 1]
    assert table.tier([3, 4]).tolist() == [-1, -1]
    assert table.frequency([3]).tolist() == [1]


def test_lookup_tier_of_a_partitioned_variable_goes_by_the_rule_of_its_ids(engine, tmp_path):
    """1.4: partitioned variables use the id rule and stitch; each part has a bound of its own."""
    model = Model(storage(tmp_path, 5), partitions=3)
    ids = np.arange(-30, 30)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        model.fit(sess, [ids])
        tiers = sess.run(model.tier, {model.ids: ids})
        assert tiers.shape == ids.shape
        assert [tiers[ids % 1000 % 3 == part].tolist().count(0) for part in range(3)] == [5, 5, 5]
        assert (tiers >= 0).all()
        assert sess.run(model.tier, {model.ids: [77, 5]}).tolist()[0] == -1


def test_keys_that_deeprec_reserves_can_be_stored(engine, tmp_path):
    """3.9: DeepRec cannot store -1, -2, -111 and -222; here every id has a row, in memory and on disk."""
    table = table_of(engine, tmp_path, 1)
    keys = np.array([-1, -2, -111, -222, 2**63 - 1, -(2**63)])
    update(table, keys)
    assert sorted(table.tier(keys).tolist()) == [0, 1, 1, 1, 1, 1]
    assert (table.lookup(keys) == -0.5).all()
    assert table.remove(keys) == 6


def test_hits_are_counted_by_tier(engine, tmp_path):
    """Beyond DeepRec: how many ids of lookups were in memory, on disk, and nowhere."""
    table = table_of(engine, tmp_path, 2)
    update(table, [1, 2, 3])
    table.lookup([1, 2, 2, 9])
    table.lookup_or_create([8])
    counters = table.counters
    assert [counters[name] for name in ("hits_dram", "hits_disk", "misses")] == [2, 1, 2]
    plain = tables(engine)(np.int64, 1)
    assert "hits_dram" not in plain.counters


def test_evictions_look_at_both_tiers(engine, tmp_path):
    """3.8: DeepRec examines the DRAM part alone; here a policy does the same with and without tiers."""
    found = []
    for keep in (TieredStorage(str(tmp_path), 16 * 5), None):
        table = tables(engine)(np.int64, 1, record_version=True, record_freq=True, storage=keep)
        for step in range(20):
            table.apply(
                "GradientDescent",
                np.arange(step, step + 10),
                np.ones((10, 1), np.float32),
                params=[1.0],
                step=step,
            )
        table.import_rows(0, [500, 501], np.ones((2, 1), np.float32))  # never updated
        report = table.evict(EvictionPolicy(steps_to_live=6), 20, sample=0)
        keys = np.arange(600)
        found.append((report, table.version(keys).tolist(), table.contains(keys).tolist(), table.size))
    assert found[0] == found[1]
    assert found[0][0].by_reason == {"age": 14}
    assert found[0][1][500] == 20


# -- training and saving --------------------------------------------------------------------------


@pytest.mark.parametrize("cache", list(CacheStrategy))
@pytest.mark.parametrize("rule", ["lookup", "apply"])
def test_a_table_four_times_its_memory_trains_to_the_same_numbers(cache, rule, tmp_path, monkeypatch):
    """Issue text: a table four times larger than the DRAM budget given trains to the same numbers, bit for bit."""
    monkeypatch.setenv("KVARN_EV_INSERT", rule)
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    states, rows = [], []
    for option in (storage(tmp_path, 60, cache=cache), None):
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(1)
            model = Model(option)
            sess.run(tf.global_variables_initializer())
            model.fit(sess, batches(60))
            states.append(model.state(sess))
            if option is not None:
                tiers = sess.run(model.tier, {model.ids: np.arange(-30, 400)}).tolist()
                assert len(states[0]) >= 4 * 60
                assert tiers.count(1) >= 3 * 60
                counts = model.var._resource(sess).table.tier_counts
                assert counts["hits_disk"] > 100
                assert counts["dram_capacity"] == 60
            rows.append(sess.run(model.rows, {model.ids: np.arange(-30, 400)}))
    assert states[0] == states[1]
    assert rows[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize("into", ["tiers", "memory"])
@pytest.mark.parametrize("source", ["tiers", "memory"])
def test_saves_have_all_tiers_and_restore_into_any(source, into, tmp_path, monkeypatch):
    """4.1, 4.8: kvarn writes the rows of all tiers into the nine tensors; storage may differ at restore."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    monkeypatch.setenv("TF_RECORD_VERSION", "1")

    def option(kind: str, folder: str) -> Any:
        return storage(tmp_path / folder, 50) if kind == "tiers" else None

    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        model = Model(option(source, "a"))
        sess.run(tf.global_variables_initializer())
        model.fit(sess, batches(40))
        expected = model.state(sess)
        prefix = tf.train.Saver().save(sess, str(tmp_path / "m"))
    assert not [name for name in os.listdir(tmp_path) if "ssd_record" in name or "emb_files" in name]
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(2)
        model = Model(option(into, "b"))
        tf.train.Saver().restore(sess, prefix)
        assert model.state(sess) == expected
        if into == "tiers":
            counts = model.var._resource(sess).table.tier_counts
            assert counts["dram_keys"] == 50
            assert counts["disk_keys"] == len(expected) - 50
        again = tf.train.Saver().save(sess, str(tmp_path / "again"))
    first, second = (tf.train.load_checkpoint(p) for p in (prefix, again))
    for name in ("b-keys", "b-values", "b-versions", "b-freqs", "b/Adagrad-values", "b-partition_offset"):
        assert first.get_tensor(name).shape == second.get_tensor(name).shape
    assert first.get_tensor("b-partition_offset").tolist() == second.get_tensor("b-partition_offset").tolist()


def test_both_storages_save_the_same_keys_in_the_same_buckets(tmp_path):
    """4.1: rows lie by bucket, wherever they were."""
    found = []
    for option in (storage(tmp_path / "t", 20), storage(tmp_path / "t", 20, StorageType.HBM_DRAM)):
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(1)
            model = Model(option)
            sess.run(tf.global_variables_initializer())
            model.fit(sess, batches(20, keys=4000))
            reader = tf.train.load_checkpoint(tf.train.Saver().save(sess, str(tmp_path / "m")))
            keys, offset = reader.get_tensor("b-keys"), reader.get_tensor("b-partition_offset")
            order = np.lexsort((keys, keys % 1000))
            assert (np.diff(keys % 1000) >= 0).all()
            columns = [
                reader.get_tensor(f"b-{c}")[order].tolist() for c in ("keys", "values", "freqs", "versions")
            ]
            columns.append(reader.get_tensor("b/Adagrad-values")[order].tolist())
            found.append((offset.tolist(), *columns))
    assert found[0] == found[1]


def test_a_save_beside_training_is_one_cut_over_the_tiers(tmp_path):
    """A save takes all tiers at one moment: value and accumulator of a key are of the same update."""
    import threading

    with tf.Graph().as_default(), tf.Session() as sess:
        model = Model(storage(tmp_path / "t", 50))
        sess.run(tf.global_variables_initializer())
        saver = tf.train.Saver(max_to_keep=None)
        model.fit(sess, batches(10))
        stop = threading.Event()

        def go_on() -> None:
            for batch in batches(10_000, seed=5):
                if stop.is_set():
                    return
                sess.run(model.train, {model.ids: batch})

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            prefixes = [saver.save(sess, str(tmp_path / f"m{i}")) for i in range(8)]
        finally:
            stop.set()
            thread.join()
    # Adagrad with these gradients: each key's row follows from its accumulator alone, replayed here one by one.
    for prefix in prefixes:
        reader = tf.train.load_checkpoint(prefix)
        assert reader.get_tensor("b-keys").tolist() == reader.get_tensor("b/Adagrad-keys").tolist()
        assert (reader.get_tensor("b/Adagrad-values") >= np.float32(0.1)).all()
        changed = (reader.get_tensor("b/Adagrad-values") != np.float32(0.1)).all(axis=1)
        versions = reader.get_tensor("b-versions")
        assert ((versions != -1) == changed).all()


# -- processes ------------------------------------------------------------------------------------

TRAINS = """
    import sys
    import numpy as np
    import kvarn as tf
    sys.path.insert(0, {tests!r})
    from test_section_4_tiers import Model, batches, storage
    model = Model(storage({path!r}, 20))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i, batch in enumerate(batches(100_000)):
            model.fit(sess, [batch])
            if i == 20:
                print("trains", flush=True)
"""


def test_a_killed_process_leaves_files_that_the_next_one_removes(tmp_path):
    """3.9: files go with their table; those of a process that was killed, with the next table of the folder."""
    foreign = tmp_path / "ssd_kv_1_0000.emb"
    foreign.write_bytes(b"of somebody else")
    script = textwrap.dedent(TRAINS).format(tests=str(Path(__file__).parent), path=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    while_it_lives = {p.name for p in tmp_path.glob("*.emb")} - {foreign.name}
    assert while_it_lives
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        model = Model(storage(tmp_path, 20))
        sess.run(tf.global_variables_initializer())
        assert while_it_lives <= {p.name for p in tmp_path.glob("*.emb")}
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        model = Model(storage(tmp_path, 20))
        sess.run(tf.global_variables_initializer())
        assert not while_it_lives & {p.name for p in tmp_path.glob("*.emb")}
        model.fit(sess, batches(20))
        state = model.state(sess)
    assert foreign.exists()
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        model = Model(storage(tmp_path, 10_000))
        sess.run(tf.global_variables_initializer())
        model.fit(sess, batches(20))
        assert model.state(sess) == state


# -- 4.8 files of DeepRec's tier ------------------------------------------------------------------


def saved_by_deeprec(
    prefix: str, *, partitions: int = 0, leading: bool = False
) -> dict[int, tuple[Any, Any, int, int]]:
    """A checkpoint with some keys in the tensors and others beside them; what each key has."""
    from kvarn.formats import embedding
    from kvarn.formats.bundle import BundleWriter

    keys = np.array([4, 1005, 7, 12, 2007, 999, 3, 31, 8], np.int64)
    expected = {
        int(key): (
            (key + np.arange(DIM) / 8).astype(np.float32),
            (key + 0.5 + np.arange(DIM)).astype(np.float32),
            int(key) % 6 + 1,
            int(key) % 50,
        )
        for key in keys
    }

    def columns(some: Any) -> tuple[Any, Any, Any, Any]:
        rows = [expected[int(key)] for key in some]
        shaped = [np.array([row[i] for row in rows], np.float32).reshape(-1, DIM) for i in (0, 1)]
        return shaped[0], shaped[1], *(np.array([row[i] for row in rows], np.int64) for i in (2, 3))

    with BundleWriter(prefix) as writer:
        for part in range(max(1, partitions)):
            own = keys[keys % 1000 % partitions == part] if partitions else keys
            name = f"b/part_{part}" if partitions else "b"
            hot, cold = own[::2], own[1::2]
            hot = hot[embedding.bucket_order(hot)[0]]
            values, accumulators, freqs, versions = columns(hot)
            for tensor, rows in ((name, values), (f"{name}/Adagrad", accumulators)):
                embedding.write_embedding(writer, tensor, hot, rows, dim=DIM, freqs=freqs, versions=versions)
            values, accumulators, freqs, versions = columns(cold)
            write_ssd_record(
                prefix,
                name,
                cold,
                [values, accumulators],
                freqs=freqs,
                versions=versions,
                per_file=2,
                stale=1,
                leading=leading,
            )
        writer.add("global_step", np.int64(9))
    return expected


@pytest.mark.parametrize("parts", [0, 2, 5])
@pytest.mark.parametrize("saved_parts", [0, 3])
@pytest.mark.parametrize("tiered", [True, False])
def test_rows_of_deeprecs_ssd_tier_are_restored(engine, tiered, saved_parts, parts, tmp_path):
    """4.8 and 4.5, step 1: the rows of the tier, slots with them, into any storage and any partitioning."""
    prefix = str(tmp_path / "m")
    expected = saved_by_deeprec(prefix, partitions=saved_parts, leading=tiered)
    option = storage(tmp_path / "t", 2) if tiered else storage(tmp_path / "t", 2, StorageType.HBM)
    model = Model(option, partitions=parts)
    with tf.Session() as sess:
        tf.train.Saver().restore(sess, prefix)
        assert model.state(sess) == {
            key: (value.tobytes(), slot.tobytes(), freq, version)
            for key, (value, slot, freq, version) in expected.items()
        }
        assert sess.run(model.step) == 9


def test_rows_beside_a_checkpoint_go_through_reset_versions_and_filters(engine, tmp_path, monkeypatch):
    """4.5: the row rules hold for rows of the tier: versions reset to 0, frequencies at least the filter's."""
    monkeypatch.setenv("TF_EV_RESET_VERSION", "true")
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    prefix = str(tmp_path / "m")
    expected = saved_by_deeprec(prefix)
    model = Model(filter_option=tf.CounterFilter(4))
    with tf.Session() as sess:
        tf.train.Saver().restore(sess, prefix)
        keys = sorted(expected)
        assert sess.run(model.var.get_version(keys)).tolist() == [0] * len(keys)
        assert (sess.run(model.rows, {model.ids: keys}) == np.array([expected[key][0] for key in keys])).all()


def test_damage_beside_a_checkpoint_is_found_before_anything_is_restored(engine, tmp_path):
    """A restore that fails changes nothing: the tier's files are looked at first."""
    prefix = str(tmp_path / "m")
    saved_by_deeprec(prefix)
    path = Path(f"{prefix}-b-emb_files/1.emb")
    path.write_bytes(path.read_bytes()[:-5])
    model = Model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.DataLossError, match="ssd_record"):
            tf.train.Saver().restore(sess, prefix)
        assert model.state(sess) == {}
        assert sess.run(model.step) == 0


def test_slots_that_the_records_have_no_room_for_are_refused(engine, tmp_path):
    """The records do not name their slots: a variable with more of them is not restored from what is not there."""
    prefix = str(tmp_path / "m")
    keys = np.arange(4)
    from kvarn.formats import embedding
    from kvarn.formats.bundle import BundleWriter

    rows = np.ones((4, DIM), np.float32)
    with BundleWriter(prefix) as writer:
        for name in ("b", "b/Adagrad"):
            embedding.write_embedding(writer, name, keys, rows, dim=DIM)
        writer.add("global_step", np.int64(9))
    write_ssd_record(prefix, "b", keys + 10, [rows], freqs=keys, versions=keys)
    model = Model()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError, match="hold 4 elements"):
            tf.train.Saver().restore(sess, prefix)
        assert model.state(sess) == {}
