"""The ops that write and read checkpoints, on plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.formats.bundle import BundleReader
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import checkpoint


@pytest.fixture(autouse=True)
def _graph():
    with Graph().as_default():
        yield


def run(node):
    with Session() as sess:
        return sess.run(node)


def save(prefix, names, slices, values):
    return run(checkpoint.save_v2(str(prefix), names, slices, [constant(v) for v in values]))


def restore(prefix, names, slices, types):
    return run(checkpoint.restore_v2(str(prefix), names, slices, types))


ROWS = np.arange(9, dtype=np.float32).reshape(3, 3)


def test_whole_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    values = {
        "f": np.array([[1.5, -2.0]], np.float32),
        "i": np.array(7, np.int64),
        "s": np.array([b"a\x00", b""], object),
        "b": np.array([True, False]),
        "e": np.zeros((0, 3), np.float64),
    }
    save(tmp_path / "m", list(values), [""] * 5, list(values.values()))
    names = sorted(values, reverse=True)
    got = restore(tmp_path / "m", names, [""] * 5, [dtypes.as_dtype(values[n].dtype) for n in names])
    for name, value in zip(names, got, strict=True):
        np.testing.assert_array_equal(value, values[name])
        assert np.asarray(value).shape == values[name].shape


def test_tensors_lie_in_the_data_file_in_the_order_they_were_given(tmp_path: Path) -> None:
    save(tmp_path / "m", ["z", "a"], ["", ""], [np.float32([1, 2]), np.int32([3])])
    data = (tmp_path / "m.data-00000-of-00001").read_bytes()
    assert data == np.float32([1, 2]).tobytes() + np.int32([3]).tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.data-00000-of-00001", "m.index"]


def test_slices_are_joined_and_cut(tmp_path: Path) -> None:
    save(tmp_path / "m", ["t", "t"], ["3 3 0,1:0,3", "3 3 1,2:0,3"], [ROWS[:1], ROWS[1:]])
    whole, part, column = restore(
        tmp_path / "m", ["t"] * 3, ["", "3 3 1,2:0,3", "3 3 -:1,1"], [dtypes.float32] * 3
    )
    np.testing.assert_array_equal(whole, ROWS)
    np.testing.assert_array_equal(part, ROWS[1:])
    np.testing.assert_array_equal(column, ROWS[:, 1:2])


def test_static_shapes_come_from_the_slices() -> None:
    out = checkpoint.restore_v2("m", ["t", "u"], ["10 4 4,3:0,4", ""], [dtypes.float32] * 2)
    assert [t.static_shape for t in out] == [(3, 4), None]
    with pytest.raises(ValueError, match="Non numerical dimension"):
        checkpoint.restore_v2("m", ["t"], ["x 4 4,3:0,4"], [dtypes.float32])


def test_a_graph_without_embedding_variables_is_tensorflows() -> None:
    op = checkpoint.save_v2("m", ["t"], [""], [constant(1.0)])
    assert sorted(op.node_def.attr) == ["dtypes"]
    assert [a.name for a in op.op_def.attr] == ["dtypes"]


@pytest.mark.parametrize(
    ("names", "slices", "types", "error", "text"),
    [
        (["zzz"], [""], [dtypes.float32], errors.NotFoundError, "Key zzz not found in checkpoint"),
        (
            ["t"],
            [""],
            [dtypes.int32],
            errors.InvalidArgumentError,
            "tensor_name = t; expected dtype int32 does not equal original dtype float",
        ),
        (
            ["t"],
            ["2 3 0,1:0,3"],
            [dtypes.float32],
            errors.InvalidArgumentError,
            r"tensor_name = t; shape in shape_and_slice spec \[2,3\] does not match the shape stored in "
            r"checkpoint: \[3,3\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, names, slices, types, error, text) -> None:
    save(tmp_path / "m", ["t"], [""], [ROWS])
    with pytest.raises(error, match=text) as info:
        restore(tmp_path / "m", names, slices, types)
    assert info.value.name in names
    assert info.value.path is not None
    assert info.value.path.startswith(str(tmp_path / "m"))


def test_all_wrong_types_are_in_one_message_and_a_missing_name_goes_first(tmp_path: Path) -> None:
    save(tmp_path / "m", ["a", "b"], ["", ""], [1.0, 2])
    with pytest.raises(errors.InvalidArgumentError) as info:
        restore(tmp_path / "m", ["b", "a"], ["", ""], [dtypes.float64, dtypes.int64])
    first, second = str(info.value).splitlines()[:2]
    assert first == "tensor_name = a; expected dtype int64 does not equal original dtype float"
    assert second == "tensor_name = b; expected dtype double does not equal original dtype int32"
    with pytest.raises(errors.NotFoundError, match="Key c not found"):
        restore(tmp_path / "m", ["a", "c"], ["", ""], [dtypes.int64, dtypes.int64])


def test_a_missing_checkpoint_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError) as info:
        restore(tmp_path / "none", ["a"], [""], [dtypes.float32])
    assert str(info.value).startswith(
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        f"{tmp_path / 'none'}"
    )
    assert info.value.path == str(tmp_path / "none")
    assert info.value.hint == f"There is no checkpoint in '{tmp_path}'."


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("4 3 0,1:-", errors.InvalidArgumentError),
        ("2 x 0,1:-", errors.InvalidArgumentError),
        ("3 3", errors.InvalidArgumentError),
        ("3 3 0,4:-", errors.InternalError),
    ],
)
def test_a_bad_slice_leaves_the_older_checkpoint_and_no_file(tmp_path: Path, text, error) -> None:
    save(tmp_path / "m", ["t"], [""], [ROWS])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(error):
        save(tmp_path / "m", ["u", "t"], ["", text], [1.0, ROWS])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_name_twice_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Adding duplicate key: t"):
        save(tmp_path / "m", ["t", "t"], ["", ""], [1.0, 2.0])
    assert list(tmp_path.iterdir()) == []


def test_one_level_of_directories_is_made(tmp_path: Path) -> None:
    save(tmp_path / "new" / "m", ["t"], [""], [1.0])
    assert restore(tmp_path / "new" / "m", ["t"], [""], [dtypes.float32])[0] == 1.0
    with pytest.raises(errors.NotFoundError, match="No such file or directory"):
        save(tmp_path / "x" / "y" / "m", ["t"], [""], [1.0])


def test_numbers_of_names_and_tensors_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Dimensions must be equal, but are 2 and 1 for 'SaveV2"):
        save(tmp_path / "m", ["a", "b"], ["", ""], [1.0])
    with pytest.raises(ValueError, match=r"Dimensions must be equal, but are 2 and 1 for 'SaveV2_1"):
        save(tmp_path / "m", ["a"], ["", ""], [1.0])
    assert list(tmp_path.iterdir()) == []


def test_merge_joins_parts_and_their_slices(tmp_path: Path) -> None:
    parts = [str(tmp_path / "tmp" / f"part-0000{i}-of-00002") for i in range(2)]
    save(parts[0], ["t", "a"], ["3 3 0,1:0,3", ""], [ROWS[:1], 1.0])
    save(parts[1], ["t"], ["3 3 1,2:0,3"], [ROWS[1:]])
    run(checkpoint.merge_v2_checkpoints(parts, str(tmp_path / "m")))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.data-00000-of-00002",
        "m.data-00001-of-00002",
        "m.index",
    ]
    whole, one = restore(tmp_path / "m", ["t", "a"], ["", ""], [dtypes.float32] * 2)
    np.testing.assert_array_equal(whole, ROWS)
    assert one == 1.0


def test_merge_refuses_a_missing_part_and_keeps_the_others(tmp_path: Path) -> None:
    save(tmp_path / "p0", ["a"], [""], [1.0])
    with pytest.raises(errors.NotFoundError):
        run(
            checkpoint.merge_v2_checkpoints([str(tmp_path / "p0"), str(tmp_path / "p1")], str(tmp_path / "m"))
        )
    with BundleReader(tmp_path / "p0") as reader:
        assert reader.lookup("a") == 1.0


def test_names_of_shards() -> None:
    assert run(checkpoint.sharded_filename("./m", 2, 7)) == b"./m-00002-of-00007"
    assert run(checkpoint.sharded_filespec("./m", 7)) == b"./m-?????-of-00007"


def test_v1_tensors_and_slices_come_back(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    run(
        checkpoint.save_slices(path, ["w", "v"], ["3 3 1,2:0,3", ""], [constant(ROWS[1:]), constant(ROWS[0])])
    )
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    got = run(checkpoint.restore_slice(path, "w", "3 3 2,1:1,2", dtypes.float32))
    np.testing.assert_array_equal(got, ROWS[2:, 1:])
    np.testing.assert_array_equal(run(checkpoint.restore(path, "v", dtypes.float32)), ROWS[0])
    whole, part = restore(path, ["v", "w"], ["", "3 3 1,2:0,1"], [dtypes.float32] * 2)
    np.testing.assert_array_equal(whole, ROWS[0])
    np.testing.assert_array_equal(part, ROWS[1:, :1])


def test_v1_looks_in_the_preferred_shard_first(tmp_path: Path) -> None:
    for shard, value in enumerate((1.0, 2.0)):
        name = checkpoint.sharded_filename(str(tmp_path / "m"), shard, 2)
        run(checkpoint.save(name, ["a" if shard else "b"], [constant(value)]))
    pattern = checkpoint.sharded_filespec(str(tmp_path / "m"), 2)
    for name, value in (("a", 2.0), ("b", 1.0)):
        for shard in (-1, 0, 1, 5):
            assert run(checkpoint.restore(pattern, name, dtypes.float32, preferred_shard=shard)) == value


def test_v1_says_what_does_not_fit_in_its_own_words(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    with pytest.raises(errors.UnimplementedError, match=r"^Saving data type uint32 not yet supported"):
        run(checkpoint.save(path, ["a"], [constant(np.uint32([1]))]))
    assert list(tmp_path.iterdir()) == []
    run(checkpoint.save(path, ["a", "b"], [constant(ROWS), constant(1.0)]))
    with pytest.raises(errors.InvalidArgumentError) as info:
        restore(path, ["a", "b"], ["", ""], [dtypes.int32, dtypes.int64])
    assert str(info.value).startswith(
        "Expected to restore a tensor of type int32, got a tensor of type float instead: tensor_name = a"
    )
    with pytest.raises(errors.NotFoundError, match=r'^Tensor name "zz" not found in checkpoint files '):
        restore(path, ["zz"], [""], [dtypes.float32])
    with pytest.raises(
        errors.InvalidArgumentError, match=r"in the save file: \[4\], save file shape: \[3,3\]"
    ):
        restore(path, ["a"], ["4 0,2"], [dtypes.float32])
