"""warm_start of variables whose rows or columns belong to a vocabulary that has changed."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.train import checkpoint_ops

OLD = [[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]]


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def folder(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("emb", initializer=OLD)
        tf.get_variable("plain", initializer=5.0)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    (tmp_path / "old.txt").write_text("apple\nbanana\ncherry\n")
    (tmp_path / "new.txt").write_text("cherry\napple\nplum\n")
    (tmp_path / "old_classes.txt").write_text("yes\nno\n")
    (tmp_path / "new_classes.txt").write_text("maybe\nno\nyes\n")
    return tmp_path


def rows(folder, **kwargs):
    names = {"new_vocab": str(folder / "new.txt"), "old_vocab": str(folder / "old.txt")}
    return tf.train.VocabInfo(**{"new_vocab_size": 3, "num_oov_buckets": 0, **names, **kwargs})


def initialized(fetches):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


@pytest.mark.parametrize("use_resource", [False, True])
def test_rows(folder, use_resource):
    emb = tf.get_variable("new_emb", [4, 2], use_resource=use_resource, initializer=tf.zeros_initializer())
    plain = tf.get_variable("plain", initializer=0.0)
    info = rows(folder, num_oov_buckets=1, backup_initializer=tf.ones_initializer())
    tf.train.warm_start(
        str(folder), var_name_to_vocab_info={"new_emb": info}, var_name_to_prev_var_name={"new_emb": "emb"}
    )
    got = initialized([emb, plain])
    assert got[0].tolist() == [[3.0, 3.5], [1.0, 1.5], [1.0, 1.0], [1.0, 1.0]]
    assert got[1] == 5.0


def test_rows_in_parts_of_which_one_has_buckets_only(folder):
    emb = tf.get_variable(
        "emb", [6, 2], partitioner=tf.fixed_size_partitioner(3), initializer=tf.zeros_initializer()
    )
    info = rows(folder, num_oov_buckets=3, backup_initializer=tf.ones_initializer())
    tf.train.warm_start(str(folder), var_name_to_vocab_info={"emb": info})
    whole = np.concatenate(initialized(list(emb)))
    assert whole.tolist() == [[3.0, 3.5], [1.0, 1.5], *[[1.0, 1.0]] * 4]


def test_columns(folder):
    emb = tf.get_variable("emb", [3, 4], initializer=tf.zeros_initializer())
    info = tf.train.VocabInfo(
        new_vocab=str(folder / "new_classes.txt"),
        new_vocab_size=3,
        num_oov_buckets=1,
        old_vocab=str(folder / "old_classes.txt"),
        axis=1,
    )
    tf.train.warm_start(str(folder), var_name_to_vocab_info={"emb": info})
    assert initialized(emb).tolist() == [[0.0, no, yes, 0.0] for yes, no in OLD]


def test_only_what_has_a_vocabulary(folder):
    emb = tf.get_variable("emb", [3, 2], initializer=tf.zeros_initializer())
    plain = tf.get_variable("plain", initializer=0.0)
    tf.train.warm_start(
        str(folder), vars_to_warm_start=None, var_name_to_vocab_info={"emb": rows(folder, old_vocab_size=2)}
    )
    with pytest.warns(UserWarning, match="Truncated .*old.txt before its end at 2 records"):
        got = initialized([emb, plain])
    assert got[0].tolist() == [[0.0, 0.0], [1.0, 1.5], [0.0, 0.0]]
    assert got[1] == 0.0


def test_what_is_refused(folder):
    tf.get_variable("emb", [3, 2])
    with pytest.raises(ValueError, match="supported values for the axis argument are 0 and 1"):
        rows(folder, axis=2)
    with pytest.raises(ValueError, match=r"var_name_to_vocab_info that were not used: \{'typo'\}"):
        tf.train.warm_start(str(folder), var_name_to_vocab_info={"typo": rows(folder)})
    with pytest.raises(ValueError, match="Must provide all of"):
        tf.train.warm_start(str(folder), var_name_to_vocab_info={"emb": rows(folder, old_vocab="")})


def test_arguments_of_initializers(folder):
    make = checkpoint_ops._load_and_remap_matrix_initializer
    files = {"old_row_vocab_file": str(folder / "old.txt"), "new_row_vocab_file": str(folder / "new.txt")}
    with pytest.raises(TypeError, match="initializer must be callable"):
        make("a", "emb", 3, 2, initializer=1.0)
    initialize = make(str(folder / "model.ckpt"), "emb", 3, 2, num_row_oov_buckets=1, **files)
    for shape, message in (
        ([2], "Expected 2-dim shape"),
        ([0, 2], "Expected 1st dim of shape to be > 0"),
        ([4, 3], "Expected 2nd dim of shape to be new_col_vocab_size"),
        ([5, 2], "would exceed expected total row count"),
    ):
        with pytest.raises(ValueError, match=message):
            initialize(shape)
    with pytest.raises(TypeError, match="only float32 is supported"):
        initialize([4, 2], tf.float64)
    for arguments, message in (
        ({"num_row_oov_buckets": -1, **files}, "num_row_oov_buckets must be >= 0"),
        ({"num_col_oov_buckets": -1, **files}, "num_col_oov_buckets must be >= 0"),
        ({"old_row_vocab_file": "a"}, "must both be specified or left unspecified"),
        ({"new_col_vocab_file": "a", **files}, "must both be specified or left unspecified"),
        ({}, "Must provide either row or column vocab files"),
    ):
        with pytest.raises(ValueError, match=message):
            checkpoint_ops._load_and_remap_matrix("a", "emb", 0, 3, 2, tf.zeros_initializer(), **arguments)


def test_embeddings_start_new_rows_at_random(folder):
    initialize = checkpoint_ops._load_embedding_initializer(
        str(folder / "model.ckpt"), "emb", 3, 2, str(folder / "old.txt"), str(folder / "new.txt")
    )
    found = initialized(initialize([3, 2]))
    assert found[:2].tolist() == [[3.0, 3.5], [1.0, 1.5]]
    assert 0.0 < np.abs(found[2]).max() <= 2.0 / np.sqrt(2.0)
