"""Matrices of a checkpoint in the order of other vocabularies; the messages are TensorFlow 1.15.5's."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import checkpoint, dtypes, errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops.remapping import generate_vocab_remapping, load_and_remap_matrix

OLD = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("checkpoint") / "model.ckpt")
    checkpoint.write(path, {"m": OLD, "vector": OLD[0], "double": OLD.astype(np.float64)})
    return path


@pytest.fixture
def files(tmp_path):
    def write(name, *lines):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write("old", "knitting", "eminem", "rap"), write("new", "eminem", "metal", "knitting", "rap")


def run(fetches):
    with Session() as session:
        return session.run(fetches)


@pytest.mark.filterwarnings("ignore:Truncated")
@pytest.mark.parametrize(
    ("offset", "count", "size", "remapping"),
    [
        (0, 4, -1, [1, -1, 0, 2]),
        (1, 2, -1, [-1, 0]),
        # Only the first two lines of the old file count.
        (0, 4, 2, [1, -1, 0, -1]),
        (4, 0, -1, []),
    ],
)
def test_the_numbers_of_entries_in_an_older_vocabulary(files, offset, count, size, remapping):
    old, new = files
    found, present = generate_vocab_remapping(
        new, old, new_vocab_offset=offset, num_new_vocab=count, old_vocab_size=size
    )
    assert (found.static_shape, present.static_shape) == ((count,), ())
    values = run([found, present])
    assert values[0].tolist() == remapping
    assert values[0].dtype == np.int64
    assert values[1] == sum(r >= 0 for r in remapping)


def test_vocabularies_that_are_not_there_or_too_short(files, tmp_path):
    old, new = files
    with pytest.raises(errors.InvalidArgumentError, match="must be larger than last new vocab entry's line"):
        run(generate_vocab_remapping(new, old, new_vocab_offset=1, num_new_vocab=4))
    with pytest.raises(errors.InvalidArgumentError, match="new vocab filename cannot be empty"):
        run(generate_vocab_remapping("", old, new_vocab_offset=0, num_new_vocab=4))
    with pytest.raises(errors.NotFoundError, match="nothing"):
        run(generate_vocab_remapping(str(tmp_path / "nothing"), old, new_vocab_offset=0, num_new_vocab=4))


@pytest.mark.parametrize("at_once", [-1, 1, 2, 3, 100])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [([2, -1, 0], []), ([3, 1], [2, -1, 0, 1]), ([-1, -1], []), ([0, 1, 2, 3], [0, 1, 2]), ([-1, 3], [-1])],
)
def test_rows_and_columns_in_another_order(prefix, rows, columns, at_once):
    chosen = columns or [0, 1, 2]
    expected = np.empty([len(rows), len(chosen)], np.float32)
    fill = iter(range(100, 200))
    for i, row in enumerate(rows):
        for j, column in enumerate(chosen):
            expected[i, j] = OLD[row, column] if row >= 0 and column >= 0 else next(fill)
    n_missing = next(fill) - 100
    found = load_and_remap_matrix(
        prefix,
        "m",
        rows,
        np.array(columns, np.int64),
        np.arange(100.0, 100.0 + n_missing).astype(np.float32),
        num_rows=len(rows),
        num_cols=len(chosen),
        max_rows_in_memory=at_once,
    )
    assert found.static_shape == expected.shape
    np.testing.assert_array_equal(run(found), expected)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"row_remapping": [0]},
            "InvalidArgument",
            "Size of row_remapping is 1 instead of being equal to num_rows=2",
        ),
        (
            {"row_remapping": [1, 1]},
            "Unimplemented",
            "Old ID 1 is mapped to both new ID 0 and 1, which is not",
        ),
        ({"col_remapping": [0]}, "InvalidArgument", "its size is 1 instead of being equal to num_cols=3"),
        ({"col_remapping": [0, 2, 0]}, "Unimplemented", "Old ID 0 is mapped to both new ID 0 and 2"),
        (
            {"initializing_values": [1.0]},
            "InvalidArgument",
            "contained 1 elements, but only 0 elements were used",
        ),
        (
            {"row_remapping": [0, -1]},
            "InvalidArgument",
            "contained 0 elements, but more missing values remain",
        ),
        (
            {"old_tensor_name": "double"},
            "InvalidArgument",
            "has invalid type double instead of expected type float",
        ),
        (
            {"old_tensor_name": "vector"},
            "InvalidArgument",
            r"shape \[3\] of invalid rank 1 instead of expected",
        ),
        ({"num_cols": 2}, "InvalidArgument", r"2nd dimension is 3 instead of being equal to num_cols=2"),
        ({"old_tensor_name": "none"}, "NotFound", "none"),
    ],
)
def test_what_does_not_fit(prefix, changed, error, message):
    arguments = {
        "ckpt_path": prefix,
        "old_tensor_name": "m",
        "row_remapping": [0, 1],
        "col_remapping": np.zeros([0], np.int64),
        "initializing_values": np.zeros([0], np.float32),
        "num_rows": 2,
        "num_cols": 3,
    }
    with pytest.raises(getattr(errors, f"{error}Error"), match=message):
        run(load_and_remap_matrix(**{**arguments, **changed}))
    assert load_and_remap_matrix(**arguments).dtype is dtypes.float32
