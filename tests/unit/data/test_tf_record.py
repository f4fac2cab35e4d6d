"""Record files: TensorFlow's bytes, compressed or not, and damage."""

from __future__ import annotations

import hashlib
import zlib

import pytest

import kvarn as tf
from kvarn import errors

Options = tf.python_io.TFRecordOptions
_PIECES = [b"", b"a", b"abcdefghij", b"hgfedcba" * 125, b"abcd" * 75_000, bytes(range(251)) * 1_000]


def written(path, options):
    with tf.python_io.TFRecordWriter(str(path), options) as writer:
        for i, piece in enumerate(_PIECES):
            writer.write(piece)
            if i == 3:
                writer.flush()
    return path.read_bytes()


# Size and beginning of the SHA-256 of what TensorFlow 1.15.5 writes of `_PIECES`, with a flush after the fourth.
@pytest.mark.parametrize(
    ("options", "size", "digest"),
    [
        (None, 552_107, "e7e437171ad2456e"),
        ("GZIP", 1_836, "42e80e76b997e6b7"),
        ("ZLIB", 1_824, "f255bf1a71eddb90"),
        (Options("ZLIB", compression_level=1), 3_901, "db1762afdcdb6c5c"),
        (Options("GZIP", flush_mode=2), 1_737, "e69a829b0341e30a"),
        (Options("ZLIB", flush_mode=3, input_buffer_size=100), 1_749, "614888733afc3e42"),
        (Options("ZLIB", mem_level=3, compression_strategy=2, window_bits=12), 346_834, "9569497a830b2767"),
    ],
)
def test_bytes_are_tensorflows(tmp_path, options, size, digest):
    data = written(tmp_path / "f", options)
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == (size, digest)
    assert list(tf.python_io.tf_record_iterator(str(tmp_path / "f"), options)) == _PIECES


def test_a_compressed_file_that_is_cut(tmp_path):
    data = written(tmp_path / "f", "ZLIB")
    (tmp_path / "f").write_bytes(data[: len(data) // 2])
    found = []
    with pytest.raises(errors.DataLossError, match=r"^truncated record at"):
        found.extend(tf.python_io.tf_record_iterator(tmp_path / "f", "ZLIB"))
    assert found == _PIECES[: len(found)]


def test_a_file_of_another_compression(tmp_path):
    written(tmp_path / "f", "GZIP")
    with pytest.raises(errors.DataLossError, match=r"inflate\(\) failed.*incorrect header check"):
        list(tf.python_io.tf_record_iterator(tmp_path / "f", "ZLIB"))
    with pytest.raises(errors.DataLossError, match="corrupted record at 0"):
        list(tf.python_io.tf_record_iterator(tmp_path / "f"))


def test_a_damaged_record_in_a_compressed_file(tmp_path):
    data = bytearray(written(tmp_path / "plain", None))
    data[-1] ^= 1
    (tmp_path / "f").write_bytes(zlib.compress(bytes(data)))
    found = []
    with pytest.raises(errors.DataLossError, match=r"^corrupted record at"):
        found.extend(tf.python_io.tf_record_iterator(tmp_path / "f", "ZLIB"))
    assert found == _PIECES[:-1]


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match='Not a valid compression_type: "LZ4"'):
        Options("LZ4")
    with pytest.raises(errors.NotFoundError):
        list(tf.python_io.tf_record_iterator(str(tmp_path / "absent")))
    writer = tf.python_io.TFRecordWriter(str(tmp_path / "f"))
    with pytest.raises(TypeError):
        writer.write(7)
    writer.close()
    writer.close()
    with pytest.raises(errors.FailedPreconditionError, match="previously closed"):
        writer.write(b"late")


def test_compression_types_have_three_forms():
    kind = tf.python_io.TFRecordCompressionType
    text = Options.get_compression_type_string
    assert [text(x) for x in (None, "", kind.NONE, kind.GZIP, "ZLIB", Options(kind.ZLIB))] == [
        "", "", "", "GZIP", "ZLIB", "ZLIB",
    ]  # fmt: skip


def test_what_is_not_closed_is_written_when_it_goes(tmp_path):
    writer = tf.python_io.TFRecordWriter(str(tmp_path / "f"), "GZIP")
    writer.write(b"one")
    del writer
    assert list(tf.python_io.tf_record_iterator(tmp_path / "f", "GZIP")) == [b"one"]
