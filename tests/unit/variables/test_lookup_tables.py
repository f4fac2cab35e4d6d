"""Lookup tables: values, node names, errors and checkpoints, as TensorFlow 1.15.5 gave them."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.variables.lookup_tables import IdTableWithHashBuckets
from kvarn.variables.mutable_tables import DenseHashTable, MutableHashTable

lookup = tf.contrib.lookup
WHOLE_LINE, LINE_NUMBER = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER


def int64(values) -> tf.Tensor:
    return tf.constant(values, tf.int64)


def static(keys, values, **types) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values, **types), -1)


def from_file(path, key_index=WHOLE_LINE, value_index=LINE_NUMBER, **options) -> tf.lookup.StaticHashTable:
    made = tf.lookup.TextFileInitializer(str(path), tf.string, key_index, tf.int64, value_index, **options)
    return tf.lookup.StaticHashTable(made, -1)


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("a\nb\nc\n")
    return path


def run(fetches):
    with tf.Session() as session:
        session.run(tf.tables_initializer())
        return session.run(fetches)


def nodes() -> list[tuple[str, str]]:
    return [(n.name, n.op) for n in tf.get_default_graph().as_graph_def().node]


def test_a_static_table_gives_values_and_the_default() -> None:
    table = static(["a", "b"], [1, 2], value_dtype=tf.int64)
    found, size, exported = table.lookup(tf.constant(["a", "z"])), table.size(), table.export()
    assert nodes() == [
        ("keys", "Const"),
        ("values", "Const"),
        ("Const", "Const"),
        ("hash_table", "HashTableV2"),
        ("key_value_init/LookupTableImportV2", "LookupTableImportV2"),
        ("Const_1", "Const"),
        ("hash_table_Lookup/LookupTableFindV2", "LookupTableFindV2"),
        ("hash_table_Size/LookupTableSizeV2", "LookupTableSizeV2"),
        ("hash_table_Export/LookupTableExportV2", "LookupTableExportV2"),
    ]
    values, count, (keys, all_values) = run([found, size, exported])
    assert (values.tolist(), count) == ([1, -1], 2)
    assert dict(zip(keys, all_values, strict=True)) == {b"a": 1, b"b": 2}
    sparse = table.lookup(tf.SparseTensor(int64([[0, 1]]), tf.constant(["b"]), int64([1, 2])))
    assert run(sparse).values.tolist() == [2]
    with pytest.raises(TypeError, match=r"Signature mismatch. Keys must be dtype <dtype: 'string'>"):
        table.lookup(tf.constant([1]))


def test_ids_after_those_of_a_vocabulary_are_buckets(vocabulary) -> None:
    made = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER)
    table = tf.lookup.StaticVocabularyTable(made, 3)
    found, size = table.lookup(tf.constant(["a", "z", "c"])), table.size()
    assert [name for name, op in nodes() if op != "Const"] == [
        "hash_table",
        "text_file_init/InitializeTableFromTextFileV2",
        "hash_table_Lookup/hash_bucket",
        "hash_table_Lookup/hash_table_Lookup/LookupTableFindV2",
        "hash_table_Lookup/hash_table_Size/LookupTableSizeV2",
        "hash_table_Lookup/Add",
        "hash_table_Lookup/NotEqual",
        "hash_table_Lookup/SelectV2",
        "hash_table_Size/hash_table_Size/LookupTableSizeV2",
        "hash_table_Size/add",
    ]
    assert [x.tolist() for x in run([found, size])] == [[0, 4, 2], 6]
    node = tf.get_default_graph().get_operation_by_name("hash_table")
    assert node.get_attr("shared_name").decode() == f"hash_table_{vocabulary}_-2_-1"
    (asset,) = tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS)
    assert (asset.name, asset.device) == ("asset_path:0", "/device:CPU:*")


def test_tables_of_contrib(vocabulary) -> None:
    ids = lookup.index_table_from_file(str(vocabulary), num_oov_buckets=1)
    strings = lookup.index_to_string_table_from_tensor(["x", "y"])
    positions = lookup.index_table_from_tensor([5, 9], dtype=tf.int32)
    lines = lookup.index_to_string_table_from_file(str(vocabulary), vocab_size=3, default_value="none")
    buckets = IdTableWithHashBuckets(None, 10, hasher_spec=lookup.StrongHashSpec([1, 2]))
    assert ids._table.resource_handle.name == "string_to_index/hash_table/hash_table:0"
    assert strings.resource_handle.name == "index_to_string/hash_table:0"
    found = run(
        [
            ids.lookup(tf.constant(["a", "q"])),
            strings.lookup(int64([0, 5])),
            positions.lookup(int64([9, 5, 1])),
            lines.lookup(int64([2, 7])),
            buckets.size(),
        ]
    )
    expected = [[0, 3], [b"x", b"UNK"], [1, 0, -1], [b"c", b"none"], 10]
    assert [x.tolist() for x in found] == expected
    with pytest.raises(ValueError, match="vocabulary_file must be specified"):
        lookup.index_table_from_file("")
    with pytest.raises(ValueError, match="num_oov_buckets must be greater"):
        lookup.index_table_from_tensor(["a"], num_oov_buckets=-1)
    with pytest.raises(TypeError, match="Only integer and string keys"):
        lookup.index_table_from_tensor([1.0], dtype=tf.float32)
    with pytest.raises(ValueError, match="key must have size 2"):
        lookup.StrongHashSpec([1])


def test_columns_and_types_of_files(tmp_path) -> None:
    path = tmp_path / "columns"
    path.write_bytes(b"7,x y, 1.5\r\n-8,z,2\r\n")

    def table(key_dtype, key_index, value_dtype, value_index, default):
        made = tf.lookup.TextFileInitializer(
            str(path), key_dtype, key_index, value_dtype, value_index, delimiter=","
        )
        return tf.lookup.StaticHashTable(made, default)

    found = run(
        [
            table(tf.int64, 0, tf.string, 1, "").lookup(int64([7, -8, 1])),
            table(tf.string, 1, tf.float32, 2, 0.0).lookup(tf.constant(["x y", "z"])),
            table(tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER, -1).lookup(tf.constant(["-8,z,2"])),
        ]
    )
    assert [x.tolist() for x in found] == [[b"x y", b"z", b""], [1.5, 2.0], [1]]
    with pytest.raises(ValueError, match="Values must be dtype"):
        table(tf.string, 0, tf.int32, LINE_NUMBER, 0)
    with pytest.raises(ValueError, match="Invalid key index -3"):
        table(tf.string, -3, tf.int32, 0, 0)


FAILED, INVALID = tf.errors.FailedPreconditionError, tf.errors.InvalidArgumentError


@pytest.mark.parametrize(
    ("content", "options", "kind", "text"),
    [
        (None, {}, tf.errors.NotFoundError, "; No such file or directory"),
        ("", {}, tf.errors.OutOfRangeError, "Read less bytes than requested"),
        ("a\nb\nc\n", {"vocab_size": 5}, INVALID, "Invalid vocab_size in .*: expected 5 but got 3"),
        (
            "a\n",
            {"key_index": 1},
            INVALID,
            r"Invalid number of columns in .* line 0 \(a\) : expected 1 got 1",
        ),
        (
            "a\n",
            {"key_index": 0, "value_index": 0},
            INVALID,
            "Field a in line 0 is not a valid int64.",
        ),
        ("a\n\nb\n", {}, INVALID, "Invalid content in .*: empty line found at position 3."),
        ("a\n", {"delimiter": "ab"}, INVALID, "delimiter should be only 1 char"),
    ],
)
def test_errors_of_files(tmp_path, content, options, kind, text) -> None:
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_text(content)
    table = from_file(path, **options)
    with pytest.raises(kind, match=text):
        run(table.size())


def test_a_file_is_cut_at_the_size_of_the_vocabulary(vocabulary) -> None:
    with pytest.warns(UserWarning, match="Truncated"):
        keys, values = run(from_file(vocabulary, vocab_size=2).export())
    assert (keys.tolist(), values.tolist()) == ([b"a", b"b"], [0, 1])


def test_errors_of_static_tables() -> None:
    table = static(["a"], [1])
    handle = table.resource_handle
    raw = tf.raw_ops
    find = table.lookup(tf.constant(["a"]))
    other = raw.InitializeTableV2(table_handle=handle, keys=["q", "r"], values=[1, 2])
    insert = raw.LookupTableInsertV2(table_handle=handle, keys=["a"], values=[2])
    wrong = raw.LookupTableFindV2(table_handle=handle, keys=tf.constant([2, 3]), default_value=int64(1))
    exported = table.export()
    with tf.Session() as session:
        session.run(handle)
        with pytest.raises(FAILED, match=r"Table not initialized\."):
            session.run(find)
        with pytest.raises(tf.errors.AbortedError, match=r"HashTable is not initialized\."):
            session.run(exported)
        assert session.run(table.size()) == 0
        session.run(table.initializer)
        session.run(table.initializer)
        with pytest.raises(FAILED, match=r"Table was already initialized with different data\."):
            session.run(other)
        with pytest.raises(tf.errors.UnimplementedError, match="Insert not supported by Initializable"):
            session.run(insert)
        with pytest.raises(
            INVALID,
            match="have: resource, int32, int64->int64 expected: resource, string, int32->int32",
        ):
            session.run(wrong)
    with pytest.raises(FAILED, match="Key a has 1 and trying to add value 2"):
        run(static(["a", "a"], [1, 2]).size())
    with pytest.raises(TypeError, match="Invalid value dtype"):
        tf.lookup.StaticVocabularyTable(tf.lookup.KeyValueTensorInitializer(["a"], ["b"]), 1)


def test_a_shared_table_has_one_type_and_one_content() -> None:
    def handle(dtype):
        return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=dtype, shared_name="x")

    first, second, third = handle(tf.int64), handle(tf.int64), handle(tf.float32)
    fill = tf.raw_ops.LookupTableImportV2(table_handle=first, keys=["a"], values=int64([3]))
    with tf.Session() as session:
        session.run(fill)
        assert session.run(tf.raw_ops.LookupTableSizeV2(table_handle=second)) == 1
        with pytest.raises(
            INVALID, match="Conflicting key/value dtypes string->float with string-int64 for table x"
        ):
            session.run(third)


def test_references_to_tables_of_old_graphs() -> None:
    raw = tf.raw_ops
    handle = raw.HashTable(key_dtype=tf.string, value_dtype=tf.int64, shared_name="old")
    fill = raw.InitializeTable(table_handle=handle, keys=["a"], values=int64([3]))
    found = raw.LookupTableFind(table_handle=handle, keys=["a", "b"], default_value=int64(0))
    with tf.Session() as session:
        assert session.run(handle).tolist() == [b"localhost", b"old"]
        session.run(fill)
        assert session.run(found).tolist() == [3, 0]


def test_a_mutable_table_changes() -> None:
    table = MutableHashTable(tf.string, tf.int64, -1)
    insert = table.insert(["k", "l"], int64([3, 4]))
    found, removed = table.lookup([["k", "n"]]), table.remove(tf.constant(["k", "none"]))
    assert found.shape == (1, 2)
    with tf.Session() as session:
        assert session.run(found).tolist() == [[-1, -1]]
        session.run(insert)
        assert session.run(found).tolist() == [[3, -1]]
        session.run(removed)
        keys, values = session.run(table.export())
        assert (keys.tolist(), values.tolist(), session.run(table.size())) == ([b"l"], [4], 1)
        with pytest.raises(INVALID, match=r"Expected shape \[2\] for value, got \[1\]"):
            session.run(table.insert(["k", "l"], int64([3])))
    with pytest.raises(
        ValueError, match=r"Trying to read value with wrong dtype\. Expected string got int32"
    ):
        tf.raw_ops.LookupTableFindV2(
            table_handle=table.resource_handle, keys=tf.constant([2]), default_value=int64(1)
        )


def test_buckets_are_where_tensorflow_puts_them() -> None:
    scalars = DenseHashTable(tf.int64, tf.float32, [0.0, 0.0], -1, -2, initial_num_buckets=4)
    strings = DenseHashTable(tf.string, tf.int64, 0, "", "-", initial_num_buckets=8)
    vectors = DenseHashTable(tf.int64, tf.int64, 0, [0, 0], [-1, -1], initial_num_buckets=8)
    with tf.Session() as session:
        session.run(
            [
                scalars.insert(int64([7, 3, 11]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
                strings.insert(["a", "b", "c", "dd"], int64([1, 2, 3, 4])),
                vectors.insert(int64([[1, 2], [3, 4], [-5, 6]]), int64([1, 2, 3])),
            ]
        )
        keys, values = session.run(scalars.export())
        assert keys.tolist() == [[3], [-1], [11], [7]]
        assert values.tolist() == [[3.0, 4.0], [0.0, 0.0], [5.0, 6.0], [1.0, 2.0]]
        assert session.run(scalars.lookup(int64([7, 4]))).tolist() == [[1.0, 2.0], [0.0, 0.0]]
        session.run(scalars.remove(int64([7])))
        assert session.run(scalars.export())[0].tolist() == [[3], [-1], [11], [-2]]
        assert session.run(scalars.lookup(int64([3, 11]))).tolist() == [[3.0, 4.0], [5.0, 6.0]]
        session.run(scalars.insert(int64([20, 21, 22]), np.ones((3, 2))))
        assert session.run(scalars.export())[0].shape == (8, 1)
        assert session.run(scalars.size()) == 5
        keys, values = session.run(strings.export())
        assert keys.ravel().tolist() == [b"", b"", b"b", b"", b"a", b"c", b"dd", b""]
        assert values.ravel().tolist() == [0, 0, 2, 0, 1, 3, 4, 0]
        keys, values = session.run(vectors.export())
        assert keys.tolist() == [[0, 0]] * 3 + [[1, 2]] + [[0, 0]] * 2 + [[-5, 6], [3, 4]]
        assert values.ravel().tolist() == [0, 0, 0, 1, 0, 0, 3, 2]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"empty_key": -2}, "Empty and deleted keys cannot be equal"),
        ({"initial_num_buckets": 3}, "Number of buckets must be at least 4 and a power of 2, got: 3"),
        ({"deleted_key": [1, 2]}, r"must have same shape, got shapes: \[\] and \[2\]"),
    ],
)
def test_errors_of_dense_tables(options, text) -> None:
    arguments = {"default_value": 0, "empty_key": -1, "deleted_key": -2, **options}
    table = DenseHashTable(tf.int64, tf.int64, **arguments)
    with pytest.raises(INVALID, match=text):
        run(table.size())


def test_two_keys_of_a_dense_table_are_its_own() -> None:
    table = DenseHashTable(tf.int64, tf.int64, 0, -1, -2)
    with pytest.raises(INVALID, match="Using the empty_key as a table key is not allowed"):
        run(table.lookup(int64([-1])))
    with pytest.raises(INVALID, match="Using the deleted_key as a table key is not allowed"):
        run(table.insert(int64([-2]), int64([1])))


def test_tables_are_saved_and_restored(tmp_path) -> None:
    scalars = MutableHashTable(tf.string, tf.int64, -1)
    vectors = MutableHashTable(tf.int64, tf.float32, [0.0, 1.0], name="mt")
    dense = DenseHashTable(tf.int64, tf.float32, [0.0, 0.0], -1, -2, initial_num_buckets=4)
    MutableHashTable(tf.string, tf.int64, -1, name="not_saved", checkpoint=False)
    fill = [
        scalars.insert(["k"], int64([3])),
        dense.insert(int64([7, 3, 11]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        vectors.insert(int64([5]), [[8.0, 9.0]]),
    ]
    found = [scalars.lookup(["k", "n"]), dense.lookup(int64([7, 4])), vectors.lookup(int64([5]))]
    spoil = [scalars.insert(["n"], int64([9])), dense.remove(int64([7])), vectors.remove(int64([5]))]
    saver = tf.train.Saver()
    names = [name for name, op in nodes() if "Lookup" in op and name.startswith("save/")]
    assert names == [
        "save/MutableDenseHashTable_table_restore/LookupTableImportV2",
        "save/MutableHashTable_table_restore/LookupTableImportV2",
        "save/mt_table_restore/LookupTableImportV2",
    ]
    with tf.Session() as session:
        session.run(fill)
        before = session.run(found)
        path = saver.save(session, str(tmp_path / "ckpt"))
        session.run(spoil)
        saver.restore(session, path)
        after = session.run(found)
    assert [x.tolist() for x in before] == [[3, -1], [[1.0, 2.0], [0.0, 0.0]], [[8.0, 9.0]]]
    assert [x.tolist() for x in after] == [x.tolist() for x in before]
    assert tf.train.list_variables(path) == [
        ("MutableDenseHashTable-keys", [4, 1]),
        ("MutableDenseHashTable-values", [4, 2]),
        ("MutableHashTable-keys", [1]),
        ("MutableHashTable-values", [1]),
        ("mt-keys", [1]),
        ("mt-values", [1, 2]),
    ]


def test_two_tables_of_one_name_are_refused_by_a_saver() -> None:
    MutableHashTable(tf.string, tf.int64, -1)
    MutableHashTable(tf.string, tf.int64, -1)
    with pytest.raises(ValueError, match="At least two variables have the same name: MutableHashTable"):
        tf.train.Saver()


def test_tables_made_in_loops_and_conditionals_are_filled_before_they_run():
    def found(x):
        return static(np.int32([1, 2, 3]), np.int32([5, 10, 15])).lookup(x)

    mapped = tf.map_fn(found, np.array([2, 4, 1], np.int32))
    again = tf.map_fn(found, np.array([3], np.int32))
    chosen = tf.cond(
        tf.placeholder_with_default(False, []), lambda: found(tf.constant(3)), lambda: found(tf.constant(1))
    )
    assert [op for op in nodes() if op[1] in ("HashTableV2", "LookupTableImportV2")][:4] == [
        ("map/while/hash_table", "HashTableV2"),
        ("map/while/key_value_init/LookupTableImportV2", "LookupTableImportV2"),
        ("map_1/while/hash_table", "HashTableV2"),
        ("map_1/while/key_value_init/LookupTableImportV2", "LookupTableImportV2"),
    ]
    results = run([mapped, again, chosen])
    assert [r.tolist() for r in results] == [[10, -1, 5], [15], 5]
