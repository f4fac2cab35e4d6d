"""What the embedding table promises, for the native table and for its reference alike."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kvarn import errors
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable

Table = EmbeddingTable | ReferenceEmbeddingTable
INT64 = np.iinfo(np.int64)
EDGES = np.array([INT64.min, INT64.max, -1, 0, 1, INT64.min + 1, -1000, 999])


@pytest.fixture(params=[EmbeddingTable, ReferenceEmbeddingTable], ids=["native", "reference"])
def kind(request: pytest.FixtureRequest) -> type[Table]:
    return request.param  # type: ignore[no-any-return]


def f32(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def filled(n_rows: int, dim: int) -> npt.NDArray[np.float32]:
    return np.arange(n_rows * dim, dtype=np.float32).reshape(n_rows, dim)


def test_every_key_can_be_stored_and_starts_from_its_default_row(kind: type[Table]) -> None:
    table = kind(np.int64, 2)
    defaults = filled(7, 2)
    table.set_default(0, defaults)
    rows = [abs(int(key)) % 7 for key in EDGES]
    np.testing.assert_array_equal(table.lookup_or_create(EDGES), defaults[rows])
    assert table.size == len(EDGES)
    assert table.contains(EDGES).all()
    assert sorted(table.export()[0].tolist()) == sorted(EDGES.tolist())
    assert table.remove(EDGES[:3]) == 3
    assert table.contains(EDGES).tolist() == [False] * 3 + [True] * 5


def test_lookup_without_creation(kind: type[Table]) -> None:
    table = kind(np.int64, 3)
    table.set_default(0, filled(5, 3))
    table.import_rows(0, [4], filled(1, 3) - 9)
    np.testing.assert_array_equal(table.lookup([[4, 7]]), [[f32(-9, -8, -7), f32(6, 7, 8)]])
    assert table.size == 1


def test_keys_of_any_shape_and_layout(kind: type[Table]) -> None:
    table = kind(np.int32, 2)
    table.set_default(0, filled(10, 2))
    keys = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2].T
    np.testing.assert_array_equal(table.lookup_or_create(keys), filled(10, 2)[keys % 10])
    assert table.lookup_or_create(np.int32(3)).shape == (2,)
    assert table.lookup_or_create([]).shape == (0, 2)
    out = np.empty((2, 3, 2), np.float32)
    assert table.lookup(keys, out) is out
    np.testing.assert_array_equal(out, table.lookup(keys))


def test_version_is_the_step_of_the_last_update(kind: type[Table]) -> None:
    table = kind(np.int64, 1, record_version=True)
    table.lookup_or_create([1, 2, 3])
    table.apply("GradientDescent", [1, 2], np.ones((2, 1), np.float32), params=[0.1], step=7)
    table.apply("GradientDescent", [2, 4], np.ones((2, 1), np.float32), params=[0.1], step=8)
    table.apply("GradientDescent", [1], np.ones((1, 1), np.float32), params=[0.1])
    assert table.version([1, 2, 3, 4, 5]).tolist() == [7, 8, -1, 8, -1]
    assert table.frequency([1]).tolist() == [0]


def test_adagrad_gives_the_worked_numbers(kind: type[Table]) -> None:
    """Value 0.5, accumulator 0.1, gradient 3, rate 0.05: numbers of DeepRec's formula."""
    table = kind(np.int64, 1)
    table.set_default(0, f32(0.5).reshape(1, 1))
    accum = table.add_slot("Adagrad", 1, f32(0.1).reshape(1, 1))
    for value, a in [(0.45027548, 9.1), (0.41501793, 18.1), (0.38620374, 27.1)]:
        table.apply("Adagrad", [6], f32(3).reshape(1, 1), slots=[accum], params=[0.05])
        np.testing.assert_allclose(table.lookup([6]), [[value]], rtol=1e-6)
        np.testing.assert_allclose(table.lookup([6], slot=accum), [[a]], rtol=1e-6)


@pytest.mark.parametrize("dim", [1, 5, 8, 16, 32, 100])
def test_equal_keys_are_one_update(kind: type[Table], dim: int) -> None:
    table = kind(np.int64, dim)
    accum = table.add_slot("Adagrad", dim, np.full((1, dim), 0.1, np.float32))
    grads = np.random.default_rng(dim).standard_normal((4, dim)).astype(np.float32)
    table.apply("Adagrad", [3, 9, 3, 3], grads, slots=[accum], params=[0.5])
    for key, g in [(3, grads[0] + grads[2] + grads[3]), (9, grads[1])]:
        a = np.float32(0.1) + g * g
        np.testing.assert_array_equal(table.lookup([key], slot=accum), [a])
        np.testing.assert_array_equal(table.lookup([key]), [-(np.float32(0.5) * g / np.sqrt(a))])


@pytest.mark.parametrize("lr", [np.float32(0.1), np.float64(0.1), np.array(0.1, np.float32), 0.1])
@pytest.mark.parametrize("step", [7, np.int64(7), np.array(7)])
def test_rate_and_step_may_be_scalars_of_numpy(kind: type[Table], lr: Any, step: Any) -> None:
    table = kind(np.int64, 1, record_version=True)
    table.apply("GradientDescent", [1], f32(3).reshape(1, 1), params=[lr], step=step)
    assert table.lookup([1]) == -(np.float32(0.1) * np.float32(3))
    assert table.version([1]).tolist() == [7]


def test_a_slot_added_late_is_filled_for_old_keys(kind: type[Table]) -> None:
    table = kind(np.int64, 2, record_freq=True)
    table.lookup_or_create(np.arange(100))
    table.import_rows(0, [3], filled(1, 2) + 1)
    slot = table.add_slot("m", 3, filled(4, 3))
    assert table.slots == [("", 2), ("m", 3)]
    np.testing.assert_array_equal(table.lookup(np.arange(100), slot=slot), filled(4, 3)[np.arange(100) % 4])
    np.testing.assert_array_equal(table.lookup([3, 4]), [[1, 2], [0, 0]])


def test_import_keeps_other_slots_and_the_last_of_equal_keys(kind: type[Table]) -> None:
    table = kind(np.int64, 2, record_freq=True, record_version=True)
    slot = table.add_slot("m", 1, f32(5).reshape(1, 1))
    table.import_rows(slot, [1, 2, 1], f32(7, 8, 9).reshape(3, 1), freqs=[3, 4, 5], versions=[1, -1, 2])
    np.testing.assert_array_equal(table.lookup([1, 2], slot=slot), [[9], [8]])
    np.testing.assert_array_equal(table.lookup([1, 2]), np.zeros((2, 2)))
    table.import_rows(0, [1, 3], filled(2, 2))
    np.testing.assert_array_equal(table.lookup([1, 3], slot=slot), [[9], [5]])
    assert table.frequency([1, 2, 3]).tolist() == [5, 4, 0]
    assert table.version([1, 2, 3]).tolist() == [2, -1, -1]


def test_default_matrix_can_be_replaced(kind: type[Table]) -> None:
    table = kind(np.int64, 2)
    matrix = filled(3, 2)
    table.set_default(0, matrix)
    table.lookup_or_create([1])
    matrix[:] = -1  # the table has its own copy
    table.lookup_or_create([2])
    table.set_default(0, matrix)
    np.testing.assert_array_equal(table.lookup_or_create([1, 2, 4]), [[2, 3], [4, 5], [-1, -1]])


def test_export_is_in_bucket_order(kind: type[Table]) -> None:
    table = kind(np.int64, 1)
    keys = [2005, -1, 5, 1005, 999, 0, -1000]
    table.import_rows(0, keys, filled(7, 1))
    cut = table.snapshot()
    assert cut.keys.tolist() == [0, -1000, 2005, 5, 1005, -1, 999]
    assert cut.values().ravel().tolist() == [5, 6, 0, 2, 3, 1, 4]
    assert cut.values(0, 2, 5).ravel().tolist() == [0, 2, 3]
    offsets = cut.partition_offset
    assert offsets.dtype == np.int32
    assert offsets.shape == (1001,)
    assert offsets[[0, 1, 5, 6, 998, 999, 1000]].tolist() == [0, 2, 2, 5, 5, 5, 7]
    assert table.snapshot(buckets=1).partition_offset.tolist() == [0, 7]


def test_empty_table(kind: type[Table]) -> None:
    table = kind(np.int32, 4)
    keys, values, freqs, versions = table.export()
    assert (keys.dtype, keys.shape, values.shape, freqs.shape, versions.shape) == (
        np.int32,
        (0,),
        (0, 4),
        (0,),
        (0,),
    )
    assert not table.snapshot().partition_offset.any()
    table.apply("GradientDescent", [], [], params=[0.1])
    table.import_rows(0, [], [])
    assert table.remove(np.array([1], np.int32)) == 0
    assert table.size == 0


def test_clear_keeps_slots_and_defaults(kind: type[Table]) -> None:
    table = kind(np.int64, 2)
    table.set_default(0, filled(1, 2) + 4)
    table.add_slot("m", 1, f32(5).reshape(1, 1))
    table.import_rows(0, [1], filled(1, 2))
    table.clear()
    assert table.size == 0
    assert len(table.slots) == 2
    np.testing.assert_array_equal(table.lookup_or_create([1]), [[4, 5]])


def test_a_snapshot_does_not_move(kind: type[Table]) -> None:
    table = kind(np.int64, 2, record_freq=True, record_version=True)
    accum = table.add_slot("a", 2, np.full((1, 2), 0.1, np.float32))
    keys = np.arange(-3000, 3000)
    grads = np.ones((len(keys), 2), np.float32)
    table.lookup_or_create(keys)
    table.apply("Adagrad", keys, grads, slots=[accum], params=[0.1], step=4)
    before = [table.snapshot() for _ in range(2)]
    seen = [np.array(before[0].values(s)) for s in (0, accum)]
    table.apply("Adagrad", keys, grads, slots=[accum], params=[0.1], step=5)
    table.lookup_or_create(keys)
    table.remove(keys[::2])
    table.lookup_or_create(keys + 100_000)
    table.import_rows(0, keys, grads * 77)
    between = table.snapshot()
    table.add_slot("late", 5, np.zeros((1, 5), np.float32))
    table.clear()
    del table
    for cut in before:
        np.testing.assert_array_equal(np.sort(cut.keys), keys)
        np.testing.assert_array_equal(cut.values(0), seen[0])
        np.testing.assert_array_equal(cut.values(accum), seen[1])
        assert (cut.freqs == 1).all()
        assert (cut.versions == 4).all()
    assert between.size == 12_000
    assert (between.values(0)[np.isin(between.keys, keys)] == 77).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint64, np.int16, np.str_, np.object_])
def test_key_dtypes_refused(kind: type[Table], dtype: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="expected int64 or int32"):
        kind(dtype, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.lookup(np.array([1], np.int32)), "keys of dtype int32: the table's key dtype is int64"),
        (lambda t: t.lookup([1.5]), "keys of dtype float64"),
        (lambda t: t.lookup([1], slot=2), "slot 2: the table has slots 0 to 1"),
        (lambda t: t.lookup([1], slot=-1), "slot -1"),
        (
            lambda t: t.lookup([1], np.empty((1, 3), np.float32)),
            r"out is float32 \[1, 3\]: .* \[1, 2\]",
        ),
        (lambda t: t.lookup([1], np.empty((1, 2), np.float64)), "out is float64"),
        (lambda t: t.lookup([1, 2], np.empty((2, 4), np.float32)[:, ::2]), "C-contiguous"),
        (
            lambda t: t.apply("GradientDescent", [1, 2], np.ones((2, 3), np.float32), params=[0.1]),
            r"grads of shape \[2, 3\]: expected \[2, 2\]",
        ),
        (
            lambda t: t.apply("GradientDescent", [1, 2], np.ones((2, 2)), params=[0.1]),
            "grads of dtype float64",
        ),
        (
            lambda t: t.apply("Adagrad", [1], np.ones((1, 2), np.float32), slots=[0], params=[0.1]),
            "slot 0 .*no accumulator|slots .0.*none of them 0",
        ),
        (
            lambda t: t.apply("Adagrad", [1], np.ones((1, 2), np.float32), slots=[1], params=[0.1]),
            "slot 1 .*(no accumulator|expected 2)",
        ),
        (lambda t: t.import_rows(0, [1], np.ones((2, 2), np.float32)), r"values of shape \[2, 2\]"),
        (lambda t: t.import_rows(0, [1], np.ones((1, 2), np.float32), freqs=[1, 2]), r"freqs .* shape \[2\]"),
        (
            lambda t: t.import_rows(0, [1], np.ones((1, 2), np.float32), None, [0.5]),
            "versions of dtype float64",
        ),
        (lambda t: t.set_default(0, np.ones((1, 3), np.float32)), r"shape \[1, 3\]: expected \[R, 2\]"),
        (lambda t: t.set_default(0, np.ones((0, 2), np.float32)), "R >= 1"),
        (lambda t: t.set_default(0, np.ones((1, 2))), "dtype float64"),
        (lambda t: t.add_slot("x", 0, np.ones((1, 0), np.float32)), "dim is 0"),
        (lambda t: t.snapshot(buckets=0), "0 buckets"),
    ],
)
def test_bad_arguments_change_nothing(kind: type[Table], call: Any, message: str) -> None:
    table = kind(np.int64, 2)
    table.add_slot("m", 3, np.ones((1, 3), np.float32))
    with pytest.raises(errors.InvalidArgumentError, match=message):
        call(table)
    assert table.size == 0
    assert len(table.slots) == 2
