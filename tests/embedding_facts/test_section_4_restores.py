"""What a restore makes of embedding variables: sections 4.5 to 4.7, with defects 1 to 4, 6, 11, 14 of section 9."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.engine.options import StorageType
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.testing.goldens import GoldenCase

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
OLDEST = ("-keys", "-values", "-versions")


@pytest.fixture(autouse=True, params=["reference", "native"])
def engine(request, monkeypatch):
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    with tf.Graph().as_default():
        yield request.param


def variable(name="b", dim=2, value=0.5, **arguments):
    option = {key: arguments.pop(key) for key in ("filter_option", "evict_option") if key in arguments}
    initializer = arguments.pop("initializer", tf.constant_initializer(value))
    return tf.get_embedding_variable(
        name, dim, initializer=initializer, ev_option=tf.EmbeddingVariableOption(**option), **arguments
    )


def with_slot(var):
    """Gives a variable the slot of Adagrad, which starts from 0.1; the slot, or slots of all parts."""
    optimizer = tf.train.AdagradOptimizer(0.1)
    rows = tf.nn.embedding_lookup(var, tf.constant([4], tf.int64))
    optimizer.minimize(tf.reduce_sum(rows), var_list=[var])
    if isinstance(var, tf.Variable) or not hasattr(var, "_get_partitions"):
        return optimizer.get_slot(var, "accumulator")
    return [optimizer.get_slot(part, "accumulator") for part in var]


class Table:
    """Rows to put into a file: ``keys``, values that tell their key, what else is given; ``only`` some tensors."""

    def __init__(self, keys, dim=2, scale=1.0, kind=np.int64, only=None, **columns):
        self.only = only
        order, _ = embedding.bucket_order(np.array(keys, kind))
        self.keys = np.array(keys, kind)[order]
        self.values = (self.keys[:, None] * scale + np.arange(dim) / 8).astype(np.float32)
        self.columns = {
            name: np.array(column, np.int64)[order] if "filtered" not in name else column
            for name, column in columns.items()
        }

    def row(self, key):
        return self.values[self.keys.tolist().index(key)].tolist()


def write(path, **tables):
    """A checkpoint of tables and the global step; ``__`` in names is ``/``."""
    prefix = str(path / "m")
    with BundleWriter(prefix) as writer:
        writer.add("global_step", np.int64(77))
        for name, table in tables.items():
            columns = dict(table.columns)
            target = writer if table.only is None else _Some(writer, table.only)
            filtered = columns.pop("keys_filtered", None)
            if filtered is not None:
                filtered = np.array(filtered, table.keys.dtype)
                order, _ = embedding.bucket_order(filtered)
                columns["keys_filtered"] = filtered[order]
                for column in ("freqs_filtered", "versions_filtered"):
                    if column in columns:
                        columns[column] = np.array(columns[column], np.int64)[order]
            stem = name.replace("__", "/")
            dim = table.values.shape[1]
            embedding.write_embedding(target, stem, table.keys, table.values, dim=dim, **columns)
    return prefix


class _Some:
    """A writer that passes on the tensors of some suffixes."""

    def __init__(self, writer, suffixes):
        self._writer = writer
        self._wanted = lambda name: name.endswith(tuple(suffixes))
        self._open = False

    def add(self, name, array, dtype=None):
        if self._wanted(name):
            self._writer.add(name, array, dtype)

    def add_tensor_header(self, name, dtype, shape):
        self._open = self._wanted(name)
        if self._open:
            self._writer.add_tensor_header(name, dtype, shape)

    def append_segment(self, data):
        if self._open:
            self._writer.append_segment(data)

    def end_segment(self):
        if self._open:
            self._writer.end_segment()


class Restored:
    """A session into which a checkpoint was restored, and what its variables hold."""

    def __init__(self, prefix, *, init=False, times=1, var_list=None, saver=None):
        self.saver = saver or tf.train.Saver(var_list)
        self.session = tf.Session()
        if init:
            self.session.run(tf.global_variables_initializer())
        for _ in range(times):
            self.saver.restore(self.session, prefix)

    def rows(self, var):
        keys, values, _, _ = self.session.run(var.export())
        return dict(zip(keys.tolist(), values.tolist(), strict=True))

    def read(self, var, *keys):
        ids = tf.constant(np.array(keys, var._invalid_key_type.as_numpy_dtype))
        return self.session.run(var.sparse_read(ids)).tolist()

    def freqs(self, var, *keys):
        return self.session.run(var.get_frequency(tf.constant(keys, var._invalid_key_type))).tolist()

    def versions(self, var, *keys):
        return self.session.run(var.get_version(tf.constant(keys, var._invalid_key_type))).tolist()

    def size(self, var):
        return int(self.session.run(var.total_count())[0])


@pytest.fixture
def recorded(monkeypatch):
    """Frequencies and versions are recorded."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    monkeypatch.setenv("TF_RECORD_VERSION", "1")


# -- 4.5: sources ---------------------------------------------------------------------------------


def test_files_of_the_oldest_era(tmp_path, recorded):
    """4.1, 4.5: only keys, values and versions; rows need not lie by bucket; a missing frequency is 1."""
    table = Table([5, 3, 2003])
    table.keys, table.values = table.keys[::-1].copy(), table.values[::-1].copy()
    prefix = str(tmp_path / "m")
    with BundleWriter(prefix) as writer:
        writer.add("b-keys", table.keys)
        writer.add("b-values", table.values)
        writer.add("b-versions", np.array([9, 8, 7]))
    b = variable()
    found = Restored(prefix)
    assert found.rows(b) == {key: table.row(key) for key in (5, 3, 2003)}
    assert found.freqs(b, *table.keys.tolist()) == [1, 1, 1]
    assert found.versions(b, *table.keys.tolist()) == [9, 8, 7]


def test_versions_that_were_not_kept(tmp_path, recorded):
    """4.5: empty versions read as -1, empty frequencies as 1."""
    b = variable()
    found = Restored(write(tmp_path, b=Table([5])))
    assert (found.versions(b, 5), found.freqs(b, 5)) == ([-1], [1])


def test_versions_and_frequencies_of_the_file(tmp_path, recorded):
    """4.5: those present are taken."""
    b = variable()
    found = Restored(write(tmp_path, b=Table([5, 6], freqs=[4, 2], versions=[30, -1])))
    assert (found.versions(b, 5, 6), found.freqs(b, 5, 6)) == ([30, -1], [4, 2])


@pytest.mark.parametrize("missing", ["-freqs", "-keys_filtered", "-freqs_filtered", "-partition_offset"])
def test_every_tensor_of_later_eras_is_optional(tmp_path, recorded, missing):
    """4.1, 4.5: a reader must take each of them as optional."""
    only = tuple(suffix for suffix in embedding.SUFFIXES if suffix != missing)
    table = Table([5, -6], freqs=[3, 4], keys_filtered=[7], freqs_filtered=[2], only=only)
    b = variable()
    found = Restored(write(tmp_path, b=table))
    assert found.rows(b) | {7: None} == {5: table.row(5), -6: table.row(-6), 7: None}
    assert found.freqs(b, 5, -6) == ([1, 1] if missing == "-freqs" else [3, 4])
    assert found.size(b) == (2 if missing == "-keys_filtered" else 3)
    if missing == "-freqs_filtered":
        assert found.freqs(b, 7) == [1]


def test_a_column_missing_from_one_part_is_used_from_the_others(tmp_path, recorded):
    """9, defect 14: what one part lacks does not switch it off for later ones."""
    first = Table([4], freqs=[8], only=OLDEST)
    second = Table([5], freqs=[9], keys_filtered=[7], freqs_filtered=[3])
    b = variable()
    found = Restored(write(tmp_path, b__part_0=first, b__part_1=second))
    assert found.freqs(b, 4, 5, 7) == [1, 9, 3]


@pytest.mark.parametrize("kind", [tf.int32, tf.int64])
def test_filtered_rows_of_either_key_type(tmp_path, kind):
    """9, defect 3: frequencies of filtered int32 keys are read, not taken for damage."""
    numpy = kind.as_numpy_dtype
    table = Table([5], kind=numpy, freqs=[9], keys_filtered=[7, 9], freqs_filtered=[2, 1])
    b = variable(key_dtype=kind, filter_option=tf.CounterFilter(4))
    found = Restored(write(tmp_path, b=table))
    assert found.freqs(b, 5, 7, 9) == [4, 2, 1]


def test_more_filtered_keys_in_a_bucket_than_are_read_at_once(tmp_path, engine):
    """9, defect 4: those behind the first 2**20 of a bucket are read as well."""
    if engine == "reference":
        pytest.skip("a million keys in plain Python")
    count = (1 << 20) + 5
    filtered = np.arange(count, dtype=np.int64) * 1000
    table = Table([5], keys_filtered=filtered, freqs_filtered=np.arange(count) % 3 + 1, freqs=[9])
    b = variable(filter_option=tf.CounterFilter(4))
    found = Restored(write(tmp_path, b=table))
    assert found.size(b) == count + 1
    last = [int(key) for key in filtered[-5:]]
    assert found.freqs(b, *last) == (np.arange(count)[-5:] % 3 + 1).tolist()


def test_negative_keys_are_restored(tmp_path):
    """9, defect 1: by the floor modulus, into any part."""
    table = Table([-1, -1000, -(2**63)])
    b = variable(partitioner=tf.fixed_size_partitioner(3))
    found = Restored(write(tmp_path, b=table))
    for part, var in enumerate(b):
        assert found.rows(var) == {k: table.row(k) for k in table.keys.tolist() if k % 1000 % 3 == part}


PARTS = [(0, 0), (0, 1), (0, 4), (1, 0), (4, 0), (4, 1), (4, 3), (3, 7), (2, 2)]


@pytest.mark.parametrize(("old", "new"), PARTS)
def test_parts_of_any_number_into_any_other(tmp_path, recorded, old, new):
    """4.5: every part takes its buckets from all old ones; values, slots, counters and versions along."""
    keys = np.unique(np.random.RandomState(old * 8 + new).randint(-5000, 5000, 80))
    values, waiting = keys[:60], keys[60:]
    tables = {}
    for part in range(max(1, old)):
        own, own_waiting = (k[embedding.part_of(k, max(1, old)) == part] for k in (values, waiting))
        for slot, scale in (("", 1.0), ("__Adagrad", 3.0)):
            tables[(f"b__part_{part}" if old else "b") + slot] = Table(
                own,
                scale=scale,
                freqs=np.abs(own) + 5,
                versions=own + 9000,
                keys_filtered=own_waiting,
                freqs_filtered=np.abs(own_waiting) % 3 + 1,
                versions_filtered=own_waiting + 9000,
            )
    prefix = write(tmp_path, **tables)
    partitioner = tf.fixed_size_partitioner(new) if new else None
    b = variable(filter_option=tf.CounterFilter(4), partitioner=partitioner)
    slots = with_slot(b)
    parts, slots = (list(b), slots) if new else ([b], [slots])
    found = Restored(prefix)
    seen = []
    for part, (var, slot) in enumerate(zip(parts, slots, strict=True)):
        own = [k for k in values.tolist() if k % 1000 % len(parts) == part]
        own_waiting = [k for k in waiting.tolist() if k % 1000 % len(parts) == part]
        assert found.size(var) == len(own) + len(own_waiting)
        np.testing.assert_array_equal(
            found.read(var, *own), np.reshape([[k, k + 0.125] for k in own], (-1, 2)).astype(np.float32)
        )
        np.testing.assert_array_equal(
            found.read(slot, *own),
            np.reshape([[3 * k, 3 * k + 0.125] for k in own], (-1, 2)).astype(np.float32),
        )
        assert found.freqs(var, *own, *own_waiting) == [abs(k) + 5 for k in own] + [
            abs(k) % 3 + 1 for k in own_waiting
        ]
        assert found.versions(var, *own, *own_waiting) == [k + 9000 for k in own + own_waiting]
        seen += own + own_waiting
    assert sorted(seen) == sorted(keys.tolist())


@pytest.mark.parametrize("scope", ["my_part_1x", "my_part_0", "part_12/my_part_0"])
def test_part_in_the_name_of_a_scope(tmp_path, scope):
    """4.5: only a whole element of the path that is no scope is a part; DeepRec takes the first `part_`."""
    table = Table([4, 5, 6])
    prefix = write(tmp_path, **{scope.replace("/", "__") + "__b": table})
    with tf.variable_scope(scope):
        b = variable(partitioner=tf.fixed_size_partitioner(2))
    found = Restored(prefix)
    assert [found.rows(part) for part in b] == [{4: table.row(4), 6: table.row(6)}, {5: table.row(5)}]


@pytest.mark.parametrize("partitioned", [False, True])
def test_slots_of_either_layout(tmp_path, partitioned):
    """9, defect 6: a slot of an unpartitioned variable finds those of parts, and the other way round."""
    if partitioned:
        prefix = write(tmp_path, b=Table([4, 5]), b__Adagrad=Table([4, 5], scale=2.0))
        b = variable(partitioner=tf.fixed_size_partitioner(2))
        slots = with_slot(b)
        found = Restored(prefix)
        assert [found.rows(slot) for slot in slots] == [{4: [8.0, 8.125]}, {5: [10.0, 10.125]}]
        return
    tables = {
        f"b__part_{i}{slot}": Table([4 + i], scale=scale)
        for i in (0, 1)
        for slot, scale in (("", 1), ("__Adagrad", 2))
    }
    slot = with_slot(variable())
    found = Restored(write(tmp_path, **tables))
    assert found.rows(slot) == {4: [8.0, 8.125], 5: [10.0, 10.125]}


@pytest.mark.parametrize("missing", OLDEST)
def test_a_tensor_that_must_be_there(tmp_path, missing):
    """9, defect 11 (kvarn): NotFound names it, and nothing is restored; DeepRec only logs."""
    table = Table([4])
    table.only = tuple(suffix for suffix in embedding.SUFFIXES if suffix != missing)
    b, c = variable(), variable("c")
    prefix = write(tmp_path, c=Table([5]), b=table)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(errors.NotFoundError, match="b" + missing):
            saver.restore(session, prefix)
        assert [session.run(var.total_count())[0] for var in (b, c)] == [0, 0]


def test_what_a_checkpoint_lacks_can_be_passed_over(tmp_path, monkeypatch):
    """9, defect 11: KVARN_EV_MISSING=skip asks for DeepRec's way: the variable stays without those rows."""
    monkeypatch.setenv("KVARN_EV_MISSING", "skip")
    b, c = variable(), variable("c", value=7.0)
    found = Restored(write(tmp_path, b=Table([4])))
    assert found.size(b) == 1
    assert found.size(c) == 0
    assert found.read(c, 4) == [[7.0, 7.0]]
    monkeypatch.setenv("KVARN_EV_MISSING", "yes")
    with pytest.raises(errors.InvalidArgumentError, match="KVARN_EV_MISSING is 'yes'"):
        Restored(str(tmp_path / "m"))


def test_damage_anywhere_is_found_before_a_row_is_written(tmp_path):
    """9, defect 11; section 5: DeepRec's segment reads do not look at checksums, and its errors are only logged."""
    given = {"keys_filtered": [7, -8], "freqs_filtered": [1, 2], "versions_filtered": [3, 4]}
    tables = [Table([4, 5], scale=s, freqs=[9, 9], versions=[1, 2], **given) for s in (1.0, 2.0)]
    prefix = write(tmp_path, a=Table([1]), b=tables[0], b__Adagrad=tables[1])
    a, b = variable("a"), variable(filter_option=tf.CounterFilter(3))
    with_slot(b)
    saver = tf.train.Saver()
    path = tmp_path / "m.data-00000-of-00001"
    content = path.read_bytes()
    reader = BundleReader(prefix)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name in reader.columns.names:
            entry = reader.entry(name)
            if not entry.size:
                continue
            changed = bytearray(content)
            changed[entry.offset + entry.size // 2] ^= 4
            path.write_bytes(changed)
            with pytest.raises(errors.DataLossError, match=name):
                saver.restore(session, prefix)
            assert [session.run(var.total_count())[0] for var in (a, b)] == [0, 0]
        path.write_bytes(content)
        saver.restore(session, prefix)
        assert [session.run(var.total_count())[0] for var in (a, b)] == [1, 4]


# -- 4.5: rows ------------------------------------------------------------------------------------


def test_a_restore_merges(tmp_path):
    """4.5: rows of the same key are overwritten, other keys are kept."""
    b = variable()
    found = Restored(write(tmp_path, b=Table([4, 5])), init=True)
    found.session.run(b.sparse_read(tf.constant([9], tf.int64)))
    folder = tmp_path / "two"
    folder.mkdir()
    found.saver.restore(found.session, write(folder, b=Table([5, 6], scale=10.0)))
    assert found.rows(b) == {4: [4.0, 4.125], 5: [50.0, 50.125], 6: [60.0, 60.125], 9: [0.5, 0.5]}


@pytest.mark.parametrize("init", [False, True])
def test_a_restore_needs_no_initializer_and_may_run_twice(tmp_path, init):
    """4.5: the import makes the variable; after it the variable counts as initialized."""
    b = variable()
    slot = with_slot(b)
    prefix = write(tmp_path, b=Table([4]), b__Adagrad=Table([4], scale=2.0))
    found = Restored(prefix, init=init, times=2, var_list=[b, slot])
    assert found.rows(b) == {4: [4.0, 4.125]}
    assert found.rows(slot) == {4: [8.0, 8.125]}


def test_slots_that_are_not_restored_start_from_their_defaults(tmp_path):
    """4.5 (kvarn): all slots of a new key are filled; DeepRec leaves them unset until their own import."""
    b = variable()
    slot = with_slot(b)
    found = Restored(write(tmp_path, b=Table([4])), init=True, var_list=[b])
    assert found.rows(slot) == {4: [np.float32(0.1)] * 2}


def test_a_slot_alone(tmp_path):
    """A Saver of a slot brings its rows only; the variable's start from their defaults."""
    b = variable()
    slot = with_slot(b)
    prefix = write(tmp_path, b=Table([4]), b__Adagrad=Table([4], scale=2.0))
    found = Restored(prefix, init=True, var_list=[slot])
    assert found.rows(b) == {4: [0.5, 0.5]}
    assert found.rows(slot) == {4: [8.0, 8.125]}


def test_unseen_ids_start_from_the_initializer_of_the_restoring_process(tmp_path):
    """4.5: the default matrix is not in the checkpoint."""
    b = variable(value=3.0)
    found = Restored(write(tmp_path, b=Table([4])))
    assert found.read(b, 4, 99) == [[4.0, 4.125], [3.0, 3.0]]


def test_a_key_on_its_way_is_admitted_by_a_row(tmp_path):
    """4.5 (kvarn): an imported row promotes a counter record; DeepRec loses its values."""
    b = variable(filter_option=tf.CounterFilter(3))
    found = Restored(write(tmp_path, b=Table([], keys_filtered=[4], freqs_filtered=[1])))
    assert found.read(b, 4) == [[0.0, 0.0]]
    folder = tmp_path / "two"
    folder.mkdir()
    found.saver.restore(found.session, write(folder, b=Table([4])))
    assert found.read(b, 4) == [[4.0, 4.125]]
    assert found.freqs(b, 4) == [3]


def test_the_last_of_parts_that_share_a_key_counts(tmp_path):
    """4.5: sources are read one after the other, each overwrites."""
    b = variable()
    found = Restored(write(tmp_path, b__part_0=Table([4]), b__part_1=Table([4], scale=2.0)))
    assert found.rows(b) == {4: [8.0, 8.125]}


@pytest.mark.parametrize("how", ["attribute", "environment"])
def test_versions_can_be_reset(tmp_path, recorded, monkeypatch, how):
    """4.5: the attribute reset_version, or TF_EV_RESET_VERSION: versions become 0."""
    if how == "environment":
        monkeypatch.setenv("TF_EV_RESET_VERSION", "true")
    b = variable(filter_option=tf.CounterFilter(3))
    table = Table(
        [4], versions=[70], freqs=[9], keys_filtered=[5], freqs_filtered=[1], versions_filtered=[80]
    )
    prefix = write(tmp_path, b=table)
    saver = tf.train.Saver()
    if how == "attribute":
        for op in tf.get_default_graph().get_operations():
            if op.type == "KvResourceImportV2":
                op.attrs["reset_version"] = True
    found = Restored(prefix, saver=saver)
    assert found.versions(b, 4, 5) == [0, 0]
    assert found.freqs(b, 4, 5) == [9, 1]


@pytest.mark.parametrize(
    ("name", "value"), [("TF_ENABLE_EV_ASYNC_RESTORE", "false"), ("TF_EV_RESTORE_THREAD_NUM", "2")]
)
def test_how_the_pool_of_a_restore_is_set_changes_no_row(tmp_path, monkeypatch, name, value):
    """4.5, 8: both are accepted."""
    monkeypatch.setenv(name, value)
    b = variable()
    assert Restored(write(tmp_path, b=Table([4]))).rows(b) == {4: [4.0, 4.125]}


@pytest.mark.parametrize(
    ("old", "new"), [("DRAM", "DRAM_SSDHASH"), ("DRAM_SSDHASH", "DRAM"), ("SSDHASH", "DRAM_LEVELDB")]
)
def test_another_storage_type(tmp_path, old, new):
    """4.5, 4.1: the rows of all tiers are in the file, and restore into any; types above 5 record both columns."""
    keys = np.arange(-300, 300, 2)

    def build(kind):
        path = None if kind == "DRAM" else str(tmp_path / kind)
        storage = tf.StorageOption(StorageType[kind], path, [2048] * 4)
        b = tf.get_embedding_variable(
            "b", 2, initializer=numbered(4096), ev_option=tf.EmbeddingVariableOption(storage_option=storage)
        )
        rows = tf.nn.embedding_lookup(b, tf.constant(keys))
        step = tf.train.get_or_create_global_step()
        train = tf.train.AdagradOptimizer(0.5).minimize(tf.reduce_sum(rows), var_list=[b], global_step=step)
        return b, train, rows, tf.train.Saver()

    with tf.Graph().as_default(), tf.Session() as session:
        b, train, rows, saver = build(old)
        session.run(tf.global_variables_initializer())
        session.run(train)
        expected = session.run(rows)
        prefix = saver.save(session, str(tmp_path / "m"))
    reader = BundleReader(prefix)
    assert sorted(reader.lookup("b-keys").tolist()) == keys.tolist()
    np.testing.assert_array_equal(reader.lookup("b/Adagrad-keys"), reader.lookup("b-keys"))
    recorded = old.startswith("DRAM_")
    assert reader.info("b-freqs").shape == reader.info("b-versions").shape == ((300,) if recorded else (0,))
    with tf.Graph().as_default(), tf.Session() as session:
        b, train, rows, saver = build(new)
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(rows), expected)
        assert session.run(b.total_count())[0] == 300
        session.run(train)
        again = saver.save(session, str(tmp_path / "again"))
    sums = BundleReader(again).lookup("b/Adagrad-values")
    np.testing.assert_allclose(sums, np.full((300, 2), 2.1), rtol=1e-6)


# -- 4.6 ------------------------------------------------------------------------------------------

NONE, COUNTER, BLOOM = "no filter", "counter", "Bloom"


def filter_of(target, freq):
    if target == NONE:
        return {}
    return {"filter_option": tf.CounterFilter(freq) if target == COUNTER else tf.CBFFilter(freq, 1000, 0.01)}


@pytest.mark.parametrize("target", [NONE, COUNTER, BLOOM])
@pytest.mark.parametrize("needed", [2, 5, 9])
def test_admitted_rows_with_a_frequency(tmp_path, recorded, target, needed):
    """4.6, first line: kept; a counter filter takes the greater of both, a Bloom filter's counters as well."""
    b = variable(**filter_of(target, needed))
    found = Restored(write(tmp_path, b=Table([4], freqs=[5])))
    assert found.read(b, 4) == [[4.0, 4.125]]
    assert found.freqs(b, 4) == [5 if target == NONE else max(5, needed)]


@pytest.mark.parametrize("target", [NONE, COUNTER, BLOOM])
def test_admitted_rows_without_a_frequency(tmp_path, recorded, target):
    """4.6, second line: from a file without a filter: kept, with the frequency that the filter asks for."""
    b = variable(**filter_of(target, 3))
    found = Restored(write(tmp_path, b=Table([4])))
    assert found.read(b, 4) == [[4.0, 4.125]]
    assert found.freqs(b, 4) == [1 if target == NONE else 3]


@pytest.mark.parametrize("target", [NONE, COUNTER, BLOOM])
@pytest.mark.parametrize("needed", [2, 3, 9])
def test_filtered_rows(tmp_path, recorded, target, needed):
    """4.6, third line; 9, defect 2: whoever is admitted starts from the default row, never from other bytes."""
    b = variable(value=0.25, **filter_of(target, needed))
    slot = with_slot(b)
    prefix = write(
        tmp_path,
        b=Table([4], freqs=[5], keys_filtered=[7], freqs_filtered=[3], versions_filtered=[40]),
        b__Adagrad=Table([4], freqs=[5], keys_filtered=[7], freqs_filtered=[3], versions_filtered=[40]),
    )
    found = Restored(prefix, var_list=[b, slot])
    admitted = target == NONE or needed <= 3
    assert found.read(b, 7) == [[0.25, 0.25] if admitted else [0.0, 0.0]]
    assert found.freqs(b, 7) == [3]
    if admitted:
        assert found.read(slot, 7) == [[np.float32(0.1)] * 2]
    if target != BLOOM or admitted:
        assert found.versions(b, 7) == [40]


@pytest.mark.parametrize("target", [COUNTER, BLOOM])
def test_counting_goes_on_where_it_was(tmp_path, target):
    """4.6: a key with count 2 of 3 is admitted by its next occurrence."""
    b = variable(**filter_of(target, 3))
    rows = tf.nn.embedding_lookup(b, tf.constant([7], tf.int64))
    train = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(rows), var_list=[b])
    found = Restored(write(tmp_path, b=Table([], keys_filtered=[7], freqs_filtered=[2])), var_list=[b])
    assert found.read(b, 7) == [[0.0, 0.0]]
    found.session.run(tf.variables_initializer([v for v in tf.global_variables() if v is not b]))
    found.session.run(train)
    assert found.read(b, 7) == [[-0.5, -0.5]]


# -- 4.7 ------------------------------------------------------------------------------------------


def numbered(rows):
    """An initializer of rows that tell their number and column."""

    def initializer(shape, dtype=None, partition_info=None):
        return tf.constant(np.arange(rows)[:, None] * 100.0 + np.arange(shape[1]), tf.float32)

    return initializer


def test_a_smaller_dim_keeps_the_first_columns(tmp_path):
    """4.7: old dim >= new; slots too."""
    b = variable(dim=1)
    slot = with_slot(b)
    prefix = write(tmp_path, b=Table([4], dim=3), b__Adagrad=Table([4], dim=3, scale=2.0))
    found = Restored(prefix, init=True)
    assert (found.rows(b), found.rows(slot)) == ({4: [4.0]}, {4: [8.0]})


def test_a_larger_dim_is_filled_from_the_default_row_of_the_key(tmp_path):
    """4.7, and 9, defect 5 (kvarn): columns old..new-1 of default row abs(key) % R; slots from their own."""
    b = tf.get_embedding_variable(
        "b",
        4,
        initializer=numbered(3),
        ev_option=tf.EmbeddingVariableOption(init_option=tf.InitializerOption(default_value_dim=3)),
    )
    slot = with_slot(b)
    keys = [4, -5, 6, -(2**63)]
    prefix = write(tmp_path, b=Table(keys, dim=2), b__Adagrad=Table(keys, dim=2, scale=2.0))
    found = Restored(prefix, init=True)
    rows = found.rows(b)
    for key in keys:
        number = abs(key) % 3 * 100
        assert rows[key] == [np.float32(key), np.float32(key + 0.125), number + 2, number + 3]
    for row in found.rows(slot).values():
        assert row[2:] == [np.float32(0.1)] * 2


def test_values_are_never_read_with_another_width(tmp_path):
    """4.7 (kvarn): the width is the file's; DeepRec reads garbage without TF_EV_RESTORE_CUSTOM_DIM."""
    b = variable(dim=4, value=9.0)
    found = Restored(write(tmp_path, b=Table([4, 5], dim=2)), init=True)
    assert found.rows(b) == {4: [4.0, 4.125, 9.0, 9.0], 5: [5.0, 5.125, 9.0, 9.0]}


# -- recorded files -------------------------------------------------------------------------------


@pytest.fixture(params=["tf115", "tf2"])
def golden(request):
    return GoldenCase(GOLDEN / request.param / "ev_deeprec")


def columns(case):
    return {tensor.name.decode(): tensor.value for tensor in case.tensors()}


@pytest.mark.parametrize("parts", [0, 1, 3, 4])
def test_deeprecs_layout_restores(golden, recorded, parts):
    """Must show: every row, slot, frequency, version and counter of the recorded files, into any parts."""
    expected = columns(golden)
    partitioner = tf.fixed_size_partitioner(parts) if parts else None
    freqs = np.concatenate([v for k, v in expected.items() if k.endswith("-freqs_filtered")])
    needed = int(freqs.max()) + 1
    for name, dim, sources in (("a", 4, ["a"]), ("b", 8, [f"b/part_{i}" for i in range(4)])):
        with tf.Graph().as_default():
            var = variable(name, dim, filter_option=tf.CounterFilter(needed), partitioner=partitioner)
            slots = with_slot(var)
            parts_of, slots = (list(var), slots) if parts else ([var], [slots])
            found = Restored(golden.prefix, var_list=[*parts_of, *slots])
            stored = {s: np.concatenate([expected[x + s] for x in sources]) for s in embedding.SUFFIXES[:7]}
            sums = np.concatenate([expected[x + "/Adagrad-values"] for x in sources])
            for part, (own, slot) in enumerate(zip(parts_of, slots, strict=True)):
                mine = embedding.part_of(stored["-keys"], len(parts_of)) == part
                keys = stored["-keys"][mine].tolist()
                np.testing.assert_array_equal(found.read(own, *keys), stored["-values"][mine])
                np.testing.assert_array_equal(found.read(slot, *keys), sums[mine])
                np.testing.assert_array_equal(
                    found.freqs(own, *keys), np.maximum(stored["-freqs"][mine], needed)
                )
                np.testing.assert_array_equal(found.versions(own, *keys), stored["-versions"][mine])
                mine = embedding.part_of(stored["-keys_filtered"], len(parts_of)) == part
                waiting = stored["-keys_filtered"][mine].tolist()
                np.testing.assert_array_equal(found.freqs(own, *waiting), stored["-freqs_filtered"][mine])
                np.testing.assert_array_equal(
                    found.versions(own, *waiting), stored["-versions_filtered"][mine]
                )
                assert found.size(own) == len(keys) + len(waiting)


def test_what_is_saved_again_is_deeprecs_name_by_name(golden, recorded, tmp_path):
    """Must show: names, types, shapes, order in the file and grouping by key % 1000 of what kvarn writes."""
    expected = columns(golden)
    names = [f"a{slot}" for slot in ("", "/Adagrad")]
    names += [f"b/part_{i}{slot}" for i in range(4) for slot in ("", "/Adagrad")]
    freqs = [v for k, v in expected.items() if k.endswith("-freqs")]
    option = {"filter_option": tf.CounterFilter(max(1, int(min(f.min() for f in freqs))))}
    stay = max(int(v.max()) for k, v in expected.items() if k.endswith("-freqs_filtered"))
    if option["filter_option"].filter_freq <= stay:
        option = {"filter_option": tf.CounterFilter(stay + 1)}
    a = variable("a", 4, **option)
    b = variable("b", 8, partitioner=tf.fixed_size_partitioner(4), **option)
    all_of = [a, with_slot(a), *b, *with_slot(b)]
    found = Restored(golden.prefix, init=True, var_list=all_of)
    reader, theirs = (
        BundleReader(found.saver.save(found.session, str(tmp_path / "m"))),
        BundleReader(golden.prefix),
    )
    assert sorted(reader.columns.names) == sorted(n for n in expected if n.startswith(("a", "b")))
    assert set(reader.columns.names) == {name + suffix for name in names for suffix in embedding.SUFFIXES}
    for name in names:
        offsets = [reader.entry(name + suffix).offset for suffix in embedding.SUFFIXES]
        assert offsets == sorted(offsets)
        for suffix in embedding.SUFFIXES:
            assert reader.lookup_dtype_and_shape(name + suffix) == theirs.lookup_dtype_and_shape(
                name + suffix
            ), name + suffix
        for keys, offset, others in (
            ("-keys", "-partition_offset", ("-values", "-versions")),
            ("-keys_filtered", "-partition_filter_offset", ("-freqs_filtered", "-versions_filtered")),
        ):
            # Inside a bucket the order means nothing.
            np.testing.assert_array_equal(reader.lookup(name + offset), expected[name + offset])
            own, other = reader.lookup(name + keys), expected[name + keys]
            np.testing.assert_array_equal(own % 1000, np.sort(own % 1000))
            np.testing.assert_array_equal(np.sort(own), np.sort(other))
            for column in others:
                np.testing.assert_array_equal(
                    reader.lookup(name + column)[np.argsort(own)], expected[name + column][np.argsort(other)]
                )


@pytest.mark.parametrize("writer", ["tf115", "tf2"])
def test_recorded_files_without_records_or_rows_restore(writer):
    """4.1: versions and frequencies of length 0, and variables without any key."""
    case = GoldenCase(GOLDEN / writer / "ev_deeprec_empty")
    expected = columns(case)
    plain, empty = variable("no_records"), variable("empty", 3)
    filtered = variable("none_filtered")
    found = Restored(case.prefix)
    for var in (plain, filtered):
        keys = expected[var.op.name + "-keys"].tolist()
        np.testing.assert_array_equal(found.read(var, *keys), expected[var.op.name + "-values"])
        assert found.size(var) == len(keys)
    assert found.size(empty) == 0
