"""tf.train's functions on files: values, names, directories, and their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn import checkpoint, dtypes, errors
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.tensor_slice import TensorSlice

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"


def save(prefix: Path, **tensors: object) -> str:
    with BundleWriter(prefix) as writer:
        for name, value in tensors.items():
            writer.add(name, value)  # type: ignore[arg-type]
    return str(prefix)


def test_values_are_as_tensorflow_hands_them_out(tmp_path: Path) -> None:
    """Scalars come as NumPy scalars and bytes, everything else as arrays."""
    prefix = save(
        tmp_path / "m", f=np.float32(1.5), s=np.array(b"x", object), a=[1.0], n=np.array([b"y"], object)
    )
    reader = checkpoint.load_checkpoint(prefix)
    assert type(reader.get_tensor("f")) is np.float32
    assert reader.get_tensor("s") == b"x"
    assert type(reader.get_tensor("a")) is np.ndarray
    assert reader.get_tensor("n").dtype == object
    assert checkpoint.load_variable(prefix, "f:0") == 1.5


def test_reader_maps(tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    with BundleWriter(prefix) as writer:
        writer.add("a", np.zeros((2, 3), np.float32))
        writer.add_slice("p", (4,), TensorSlice.parse("0,2"), [1.0, 2.0])
        writer.add_slice("p", (4,), TensorSlice.parse("2,2"), [3.0, 4.0])
    reader = checkpoint.NewCheckpointReader(prefix)
    assert reader.get_variable_to_shape_map() == {"a": [2, 3], "p": [4]}
    assert reader.get_variable_to_dtype_map() == {"a": dtypes.float32, "p": dtypes.float64}
    assert [reader.has_tensor(name) for name in ("a", b"p", "b", "")] == [True, True, False, False]
    assert reader.get_tensor("p").tolist() == [1.0, 2.0, 3.0, 4.0]
    lines = reader.debug_string().splitlines()
    assert lines[-1] == b"a (DT_FLOAT) [2,3]"
    assert len(lines) == 3


def test_names_are_sorted(tmp_path: Path) -> None:
    prefix = save(tmp_path / "m", b=[1], a=[[1]], C=1)
    assert checkpoint.list_variables(prefix) == [("C", []), ("a", [1, 1]), ("b", [1])]


def test_a_directory_means_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path / f"m-{step}", w=float(step))
    checkpoint.update_checkpoint_state(tmp_path, str(tmp_path / "m-1"))
    assert checkpoint.load_variable(tmp_path, "w") == 1.0
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file or checkpoints in given directory"):
        checkpoint.load_variable(GOLDEN, "w")


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_file_of_a_checkpoint_means_the_checkpoint(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = save(tmp_path / "m", w=1.0)
    assert checkpoint.load_variable(prefix + suffix, "w") == 1.0
    assert "is a file of the checkpoint" in caplog.text


def test_a_missing_prefix_names_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "m-7", w=1.0)
    with pytest.raises(errors.NotFoundError) as caught:
        checkpoint.load_variable(tmp_path / "m-8", "w")
    text = str(caught.value)
    assert text.splitlines()[0] == (
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        f"{tmp_path / 'm-8'}"
    )
    assert "m-7" in text


def test_a_missing_directory() -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        checkpoint.load_variable("/no/such/m", "w")
    assert str(caught.value).splitlines()[0] == (
        "Unsuccessful TensorSliceReader constructor: Failed to get matching files on /no/such/m: "
        "Not found: /no/such; No such file or directory"
    )


def test_the_bare_name_of_an_embedding_variable_points_to_its_tensors() -> None:
    prefix = GOLDEN / "tf115/ev_deeprec/model.ckpt"
    for name, first in (("a", "a-keys"), ("b", "b/part_0-keys")):
        with pytest.raises(errors.NotFoundError) as caught:
            checkpoint.load_variable(prefix, name)
        assert "embedding variable" in str(caught.value)
        assert f"'{first}'" in str(caught.value)


def test_description() -> None:
    found = checkpoint.describe(GOLDEN / "tf115/ev_deeprec/model.ckpt")
    a, b = found.embeddings
    assert (a.name, a.partitioned, a.num_partitions, a.key_dtype, a.dim) == ("a", False, 1, "int64", 4)
    assert (a.num_keys, a.num_filtered, a.slots) == (150, 40, {"Adagrad": 4})
    assert (b.name, b.partitioned, b.keys_per_partition) == ("b", True, (65, 58, 46, 51))
    assert (b.freqs, b.versions) == ((5, 49), (6, 895))
    assert [tensor.name for tensor in found.variables] == ["dense/kernel", "global_step"]
    data = dict(found.files)[found.prefix + ".data-00000-of-00001"]
    assert sum(tensor.size_bytes for tensor in found.tensors) == data
    assert a.size_bytes + b.size_bytes + 48 + 8 == data
    assert checkpoint.describe(found.prefix, ranges=False).embeddings[0].freqs is None


def test_description_of_slices_and_shards() -> None:
    found = checkpoint.describe(GOLDEN / "tf115/v2_sharded3/model.ckpt-40")
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert tensors["emb/rows"].slices == ("0,4:0,4", "4,3:0,4", "7,3:0,4")
    assert tensors["emb/rows"].size_bytes == 10 * 4 * 4
    assert len(tensors["emb/rows"].shards) > 1
    assert len(found.files) == 4


@pytest.mark.parametrize("writer", ["tf115", "tf2"])
def test_v1_checkpoints_answer_in_their_own_words(writer: str) -> None:
    """Texts as TensorFlow 1.15 gave them for these files; the order of its V1 lines is that of a hash table."""
    v1, v2 = (
        checkpoint.NewCheckpointReader(GOLDEN / writer / f"{kind}_saver/model.ckpt-7")
        for kind in ("v1", "v2")
    )
    lines = [
        b"global_step (DT_INT64) []",
        b"legacy (DT_FLOAT) [2]",
        b"model/dense/bias (DT_FLOAT) [3]",
        b"model/dense/kernel (DT_FLOAT) [4,3]",
        b"model/res (DT_FLOAT) [2,2]",
        b"model/table (DT_INT64) [5]",
    ]
    assert v1.debug_string().splitlines() == v2.debug_string().splitlines() == lines
    assert v1.get_variable_to_shape_map() == v2.get_variable_to_shape_map()
    assert v1.get_variable_to_dtype_map() == v2.get_variable_to_dtype_map()
    for reader, text in ((v1, "nope not found in checkpoint file"), (v2, "Key nope not found in checkpoint")):
        assert not reader.has_tensor("nope")
        with pytest.raises(errors.NotFoundError) as caught:
            reader.get_tensor("nope")
        assert str(caught.value).splitlines()[0] == text
        assert caught.value.name == "nope"


def test_v1_slices_are_counted() -> None:
    reader = checkpoint.NewCheckpointReader(GOLDEN / "tf115/v1_slices/model.ckpt")
    lines = reader.debug_string().splitlines()
    assert b"cut2d/grid (DT_FLOAT) [6,8], 9 slices" in lines
    assert b"explicit/all (DT_FLOAT) [3,4]" in lines
    # TensorFlow refuses these; here they are put together.
    assert reader.get_tensor("cut2d/grid").shape == (6, 8)
