"""Special functions, searches, matrices, files and encodings, against values that do not come from kvarn."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import encoding, files, matrices, reduction, search, special
from kvarn.ops.control import group


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default():
        yield


def run(fetches):
    with Session() as session:
        return session.run(fetches)


# Euler's constant and the values that follow from it by the recurrence and the reflection.
GAMMA = 0.57721566490153286


def test_digamma_at_points_known_in_closed_form():
    x = [1.0, 2.0, 0.5, -0.5, 1.5, 100.0]
    harmonic_99 = sum(1 / k for k in range(1, 100))
    half = -GAMMA - 2 * np.log(2)
    want = [-GAMMA, 1 - GAMMA, half, half + 2, half + 2, harmonic_99 - GAMMA]
    np.testing.assert_allclose(run(special.digamma(constant(x, dtypes.float64))), want, rtol=1e-13)
    assert np.isnan(run(special.digamma(constant([0.0, -3.0])))).all()


def test_zeta_and_polygamma_at_points_known_in_closed_form():
    found = run(special.zeta(constant([2.0, 4.0, 2.0, 1.0, 0.5], dtypes.float64), [1.0, 1.0, 2.0, 1.0, 1.0]))
    np.testing.assert_allclose(found[:3], [np.pi**2 / 6, np.pi**4 / 90, np.pi**2 / 6 - 1], rtol=1e-14)
    assert found[3] == np.inf
    assert np.isnan(found[4])
    found = run(
        special.polygamma(constant([1.0, 1.0, 2.0, 0.0, 0.5], dtypes.float64), [1.0, 0.5, 1.0, 1.0, 1.0])
    )
    apery = 1.2020569031595942
    np.testing.assert_allclose(found[:4], [np.pi**2 / 6, np.pi**2 / 2, -2 * apery, -GAMMA], rtol=1e-13)
    assert np.isnan(found[4])


def test_searchsorted_takes_leading_dimensions():
    rows = constant([[[1, 3, 5], [2, 2, 2]]])
    wanted = constant([[[3, 6], [2, 1]]])
    left, right = run([search.searchsorted(rows, wanted), search.searchsorted(rows, wanted, side="right")])
    assert left.tolist() == [[[1, 3], [0, 0]]]
    assert right.tolist() == [[[2, 3], [3, 0]]]
    with pytest.raises(ValueError, match="side must be either"):
        search.searchsorted(rows, wanted, side="middle")


def test_histogram_counts_outliers_in_the_end_bins():
    values = [-1.0, 0.0, 1.5, 2.0, 5.0, 15.0]
    counts, bins = run(
        [
            search.histogram_fixed_width(values, [0.0, 5.0], nbins=5),
            search.histogram_fixed_width_bins(values, [0.0, 5.0], nbins=5),
        ]
    )
    assert counts.tolist() == [2, 1, 1, 0, 2]
    assert bins.tolist() == [0, 0, 1, 2, 4, 4]
    with pytest.raises(errors.InvalidArgumentError, match="value_range"):
        run(search.histogram_fixed_width(values, [5.0, 0.0]))


def test_buckets_need_sorted_boundaries():
    assert run(search.bucketize([-5, 10, 150], [0.0, 10.0, 100.0])).tolist() == [0, 2, 3]
    with pytest.raises(errors.InvalidArgumentError, match="sorted boundaries"):
        run(search.bucketize([1], [2.0, 1.0]))


def test_inverse_and_determinant_agree_with_their_definitions():
    a = np.array([[[2.0, 1.0], [1.0, 3.0]], [[0.0, 2.0], [4.0, 1.0]]])
    inverse, adjoint, determinant = run(
        [
            matrices.matrix_inverse(a),
            matrices.matrix_inverse(a, adjoint=True),
            matrices.matrix_determinant(a),
        ]
    )
    np.testing.assert_allclose(inverse @ a, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-12)
    np.testing.assert_allclose(adjoint, np.swapaxes(inverse, 1, 2), atol=1e-12)
    np.testing.assert_allclose(determinant, [5.0, -8.0])
    x = constant(a)
    by_hand = np.array([[[3.0, -1.0], [-1.0, 2.0]], [[1.0, -4.0], [-2.0, 0.0]]])
    np.testing.assert_allclose(run(gradients(matrices.matrix_determinant(x), x)[0]), by_hand, atol=1e-12)


def test_a_singular_or_oblong_matrix_has_no_inverse():
    with pytest.raises(errors.InvalidArgumentError, match="not invertible"):
        run(matrices.matrix_inverse([[1.0, 2.0], [2.0, 4.0]]))
    with pytest.raises(ValueError, match="Dimensions must be equal"):
        matrices.matrix_inverse([[1.0, 2.0]])


def test_band_part_of_strings_and_numbers():
    x = np.arange(1, 13).reshape(3, 4)
    assert run(matrices.matrix_band_part(x, 1, 0)).tolist() == [[1, 0, 0, 0], [5, 6, 0, 0], [0, 10, 11, 0]]
    assert run(matrices.matrix_band_part([["a", "b"], ["c", "d"]], 0, -1)).tolist() == [
        [b"a", b"b"],
        [b"", b"d"],
    ]
    with pytest.raises(errors.InvalidArgumentError, match="num_lower must be negative or less"):
        run(matrices.matrix_band_part(x, 4, 0))


@pytest.mark.parametrize(
    ("order", "axis", "numpy_order"),
    [
        ("euclidean", None, 2),
        (1, 0, 1),
        (np.inf, 1, np.inf),
        (3, 1, 3),
        ("fro", [0, 1], "fro"),
        (1, [0, 1], 1),
    ],
)
def test_norms_are_numpys(order, axis, numpy_order):
    x = np.array([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]])
    if axis is None:
        want = np.linalg.norm(x.ravel(), numpy_order)
    else:
        want = np.linalg.norm(x, numpy_order, axis=tuple(axis) if isinstance(axis, list) else axis)
    np.testing.assert_allclose(run(matrices.norm(x, order, axis)), want)


def test_norms_that_are_none():
    with pytest.raises(ValueError, match="'ord' must be a supported vector norm"):
        matrices.norm([1.0], -1)
    with pytest.raises(ValueError, match="'axis' must be"):
        matrices.norm([1.0], axis=[1])


def test_gradient_of_a_norm():
    x = constant([3.0, 4.0])
    np.testing.assert_allclose(run(gradients(matrices.norm(x), x)[0]), [0.6, 0.8], rtol=1e-6)
    assert run(reduction.reduce_sum(matrices.norm([[3.0, 4.0]], axis=1, keepdims=True))) == 5.0


def test_files_are_written_read_and_found(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    written = files.write_file(str(path), b"\x00\xffdata")
    with Session() as session:
        session.run(group(written))
        assert path.read_bytes() == b"\x00\xffdata"
        assert session.run(files.read_file(str(path))) == b"\x00\xffdata"
        (path.parent / "b.bin").write_bytes(b"")
        patterns = [str(path.parent / "*.bin"), str(tmp_path / "none*")]
        assert [n.decode() for n in session.run(files.matching_files(patterns))] == [
            str(path),
            str(path.parent / "b.bin"),
        ]
        assert session.run(files.matching_files(patterns[1])).shape == (0,)
        with pytest.raises(errors.NotFoundError, match=r"absent"):
            session.run(files.read_file(str(tmp_path / "absent")))


def test_base64_is_web_safe_and_padding_optional():
    assert run(encoding.encode_base64(b"\xfb\xff\xfe?")) == b"-__-Pw"
    assert run(encoding.encode_base64(b"\xfb\xff\xfe?", pad=True)) == b"-__-Pw=="
    assert run(encoding.decode_base64(["-__-Pw", "-__-Pw==", ""])).tolist() == [b"\xfb\xff\xfe?"] * 2 + [b""]
    for bad in ("a", "ab+/", "=abc", "ab=c"):
        with pytest.raises(errors.InvalidArgumentError, match=r"Invalid character|1 modulo 4"):
            run(encoding.decode_base64(bad))


def test_raw_bytes_as_numbers_of_either_order():
    text = [b"\x01\x02\x03\x04", b"\x00\x00\x00\x80"]
    assert run(encoding.decode_raw(text, dtypes.int16)).tolist() == [[0x0201, 0x0403], [0, -0x8000]]
    assert run(encoding.decode_raw(text, dtypes.int16, little_endian=False)).tolist() == [
        [0x0102, 0x0304],
        [0, 0x80],
    ]
    with pytest.raises(errors.InvalidArgumentError, match="multiple of 8"):
        run(encoding.decode_raw(text, dtypes.float64))
    with pytest.raises(errors.InvalidArgumentError, match="same size"):
        run(encoding.decode_raw([b"ab", b"a"], dtypes.uint8))
