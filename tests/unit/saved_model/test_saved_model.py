"""SavedModels written and loaded here: files, collections, assets, operations, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.saved_model import builder as builder_lib
from kvarn.saved_model import loader, signature_def_utils, utils


def files(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


def load_values(directory: Path, tags: list[str], **kwargs) -> dict[str, np.ndarray]:
    with tf.Session(graph=tf.Graph()) as sess:
        tf.saved_model.load(sess, tags, str(directory), **kwargs)
        return {v.op.name: sess.run(v) for v in tf.global_variables()}


def test_simple_save(tmp_path: Path) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.get_variable("w", initializer=[[1.0], [2.0]], use_resource=True)
        with tf.device("/cpu:0"):
            y = tf.matmul(x, w, name="y")
        sess.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(sess, str(tmp_path / "m"), {"x": x}, {"y": y})
    assert files(tmp_path / "m") == [
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    with tf.Session(graph=tf.Graph()) as sess:
        graph = tf.saved_model.loader.load(sess, ["serve"], str(tmp_path / "m"))
        signature = graph.signature_def["serving_default"]
        got = sess.run(signature.outputs["y"].name, {signature.inputs["x"].name: [[3.0, 4.0]]})
    np.testing.assert_array_equal(got, [[11.0]])
    assert not any(node.device for node in graph.graph_def.node if node.name == "y")
    assert tf.saved_model.is_valid_signature(signature)
    assert signature.inputs["x"].tensor_shape.dim[0].size == -1


def test_graphs_share_the_variables_of_the_first(tmp_path: Path) -> None:
    builder = tf.saved_model.Builder(str(tmp_path / "m"))
    for tag, value in (("a", 1.0), ("b", 2.0)):
        with tf.Session(graph=tf.Graph()) as sess:
            tf.Variable(value, name="v")
            sess.run(tf.global_variables_initializer())
            if tag == "a":
                builder.add_meta_graph_and_variables(sess, [tag])
            else:
                builder.add_meta_graph([tag, "more"])
    assert builder.save() == str(tmp_path / "m" / "saved_model.pb").encode()
    assert load_values(tmp_path / "m", ["a"]) == {"v": 1.0}
    assert load_values(tmp_path / "m", ["more", "b"]) == {"v": 1.0}
    with pytest.raises(RuntimeError, match=r"(?s)tags 'b' could not be found.*available_tags: \[\{'a'\}"):
        load_values(tmp_path / "m", ["b"])


def test_order_of_calls_and_folders(tmp_path: Path) -> None:
    builder = tf.saved_model.Builder(str(tmp_path / "m"))
    with pytest.raises(AssertionError, match="has not been saved yet"):
        builder.add_meta_graph(["a"])
    with tf.Session(graph=tf.Graph()) as sess:
        tf.constant(1)
        builder.add_meta_graph_and_variables(sess, ["a"])
        with pytest.raises(AssertionError, match="already been saved"):
            builder.add_meta_graph_and_variables(sess, ["b"])
    builder.save(as_text=True)
    assert files(tmp_path / "m") == ["saved_model.pbtxt"]
    with pytest.raises(AssertionError, match="isn't empty"):
        tf.saved_model.Builder(str(tmp_path / "m"))
    with tf.Session(graph=tf.Graph()) as sess:
        tf.saved_model.load(sess, ["a"], str(tmp_path / "m"))
        assert sess.run("Const:0") == 1


def test_without_the_message_there_is_no_model(tmp_path: Path) -> None:
    """The variables are there before saved_model.pb; a program that dies in between leaves no SavedModel."""
    with tf.Session(graph=tf.Graph()) as sess:
        tf.Variable(1.0, name="v")
        sess.run(tf.global_variables_initializer())
        tf.saved_model.Builder(str(tmp_path / "m")).add_meta_graph_and_variables(sess, ["a"])
    assert files(tmp_path / "m/variables") == ["variables.data-00000-of-00001", "variables.index"]
    assert not tf.saved_model.contains_saved_model(str(tmp_path / "m"))
    with pytest.raises(OSError, match=r"SavedModel file does not exist at: .*/m/\{saved_model.pbtxt\|"):
        load_values(tmp_path / "m", ["a"])


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_damaged_messages(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("invalid content")
    assert tf.saved_model.maybe_saved_model_directory(str(tmp_path))
    with pytest.raises(OSError, match=f"Cannot parse file .*{name}: "):
        load_values(tmp_path, ["a"])


def asset(path: Path, text: str, name: str) -> tf.Tensor:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    tensor = tf.constant(str(path), name=name)
    tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, tensor)
    return tensor


def test_assets_move_with_the_model(tmp_path: Path) -> None:
    """Equal files share a name, others of that name get a number, as TensorFlow gives it."""
    with tf.Session(graph=tf.Graph()) as sess:
        tensors = [
            asset(tmp_path / directory / "vocab.txt", text, f"f{directory}")
            for directory, text in (("0", "a\nb\n"), ("1", "a\nb\n"), ("2", "c\n"))
        ]
        (tmp_path / "words").mkdir()
        (tmp_path / "words" / "vocab.txt").write_text("b\na\n")
        # It notes its file as an asset itself.
        table = tf.contrib.lookup.index_table_from_file(
            tf.constant(str(tmp_path / "words" / "vocab.txt"), name="words"), num_oov_buckets=0
        )
        tf.identity(table.lookup(tf.constant(["a", "b", "c"])), name="ids")
        tf.saved_model.simple_save(
            sess, str(tmp_path / "m"), {"x": tensors[0]}, {"y": tensors[1]}, tf.tables_initializer()
        )
    assert files(tmp_path / "m") == [
        "assets/vocab.txt", "assets/vocab.txt_1", "assets/vocab.txt_2", "saved_model.pb",
    ]  # fmt: skip
    (tmp_path / "words" / "vocab.txt").unlink()
    (tmp_path / "m").rename(tmp_path / "moved")
    with tf.Session(graph=tf.Graph()) as sess:
        graph = tf.saved_model.load(sess, ["serve"], str(tmp_path / "moved"), import_scope="s")
        assert sess.run("s/ids:0").tolist() == [1, 0, -1]
    found = loader.get_asset_tensors("/m", graph)
    assert {name: Path(p).name for name, p in found.items()} == {
        "f0:0": "vocab.txt", "f1:0": "vocab.txt", "f2:0": "vocab.txt_1", "words:0": "vocab.txt_2",
    }  # fmt: skip


def test_what_is_no_asset(tmp_path: Path) -> None:
    builder = tf.saved_model.Builder(str(tmp_path / "m"))
    with tf.Session(graph=tf.Graph()) as sess:
        for wrong, message in (
            ("path", "must be a Tensor"),
            (tf.placeholder(tf.string), "must be of type constant"),
            (tf.constant(1), "must be of dtype string"),
            (tf.constant(["a", "b"]), "must be a scalar"),
        ):
            with pytest.raises(TypeError, match=message):
                builder.add_meta_graph_and_variables(sess, ["a"], assets_collection=[wrong])
        with pytest.raises(ValueError, match="Invalid asset filepath tensor"):
            builder.add_meta_graph_and_variables(sess, ["a"], assets_collection=[tf.constant("")])


@pytest.mark.parametrize("argument", ["main_op", "legacy_init_op"])
def test_main_operation(tmp_path: Path, argument: str) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        v = tf.Variable(1.0, name="v")
        local = tf.Variable(5.0, name="local", collections=[tf.GraphKeys.LOCAL_VARIABLES])
        sess.run(tf.global_variables_initializer())
        with tf.control_dependencies([tf.local_variables_initializer()]):
            op = tf.group(v.assign_add(local))
        builder = tf.saved_model.builder.SavedModelBuilder(str(tmp_path / "m"))
        with pytest.raises(TypeError, match="main_op needs to be an Operation"):
            builder.add_meta_graph_and_variables(sess, ["a"], main_op=v)
        builder.add_meta_graph_and_variables(sess, ["a"], **{argument: op})
        with pytest.raises(
            ValueError, match="already contains one or more main ops under the collection saved_model"
        ):
            builder.add_meta_graph(["b"], main_op=op)
        builder.save()
    assert load_values(tmp_path / "m", ["a"]) == {"v": 6.0}


def test_main_op_with_restore(tmp_path: Path) -> None:
    """Variables get their initial values, then the given operation runs."""
    with tf.Session(graph=tf.Graph()) as sess:
        v = tf.Variable(3.0, name="v")
        sess.run(v.assign(7.0))
        double = tf.group(v.assign(v * 2.0))
        builder = tf.saved_model.Builder(str(tmp_path / "m"))
        main_op = tf.saved_model.main_op_with_restore(double)
        builder.add_meta_graph_and_variables(sess, ["a"], main_op=main_op)
        builder.save()
    with tf.Session(graph=tf.Graph()) as sess:
        graph = tf.saved_model.load(sess, ["a"], str(tmp_path / "m"))
        assert len(loader.get_init_op(graph).control_inputs) == 2


def test_operations_outside_of_collections(tmp_path: Path) -> None:
    builder = builder_lib._SavedModelBuilder(str(tmp_path / "m"))
    with tf.Session(graph=tf.Graph()) as sess:
        v = tf.Variable(1.0, name="v")
        tensor = asset(tmp_path / "words.txt", "x", "words")
        sess.run(tf.global_variables_initializer())
        signatures: dict = {}
        builder.add_meta_graph_and_variables(
            sess, ["a"], signatures, [tensor], init_op=tf.group(v.assign(9.0)), train_op=v.assign_add(1.0)
        )
        assert not signatures
        builder.add_meta_graph(["b"])
    builder.save()
    with tf.Session(graph=tf.Graph()) as sess:
        graph = tf.saved_model.load(sess, ["a"], str(tmp_path / "m"))
        assert sess.run(loader.get_train_op(graph)) == 10.0
        assert [(f.filename, f.tensor_info.name) for f in graph.asset_file_def] == [("words.txt", "words:0")]
        assert sorted(graph.signature_def) == ["__saved_model_init_op", "__saved_model_train_op"]
    with tf.Session(graph=tf.Graph()) as sess:
        graph = tf.saved_model.load(sess, ["b"], str(tmp_path / "m"))
        assert loader.get_train_op(graph) is None
        assert loader.get_init_op(graph) is None
        assert graph.meta_info_def.stripped_default_attrs


def test_attributes_at_their_defaults(tmp_path: Path) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        tf.complex(1.0, 2.0, name="c")
        builder = tf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["a"], strip_default_attrs=True)
        builder.save()
    stored = loader.parse_saved_model(tmp_path / "m").meta_graphs[0].graph_def
    assert "Tout" not in next(n for n in stored.node if n.name == "c").attr
    with tf.Session(graph=tf.Graph()) as sess:
        loaded = tf.saved_model.load(sess, ["a"], str(tmp_path / "m")).graph_def
        assert sess.run("c:0") == 1 + 2j
    assert next(n for n in loaded.node if n.name == "c").attr["Tout"].type == protos.DT_COMPLEX64


def test_variables_without_a_saver(tmp_path: Path) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        tf.constant(1)
        builder = tf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["a"])
        builder.save()
    model = loader.SavedModelLoader(str(tmp_path / "m"))
    assert model.export_dir == str(tmp_path / "m")
    assert model.variables_path == str(tmp_path / "m/variables/variables")
    with tf.Session(graph=tf.Graph()) as sess:
        model.restore_variables(sess, None)
        tf.Variable(1.0)
        with pytest.raises(ValueError, match="a saver is required"):
            model.restore_variables(sess, None)


def test_embedding_variables_are_in_the_model(tmp_path: Path) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        emb = tf.get_embedding_variable("emb", embedding_dim=2, initializer=tf.ones_initializer())
        ids = tf.placeholder(tf.int64, [None], name="ids")
        rows = tf.nn.embedding_lookup(emb, ids)
        train = tf.train.GradientDescentOptimizer(0.5).minimize(
            tf.reduce_sum(rows), tf.train.create_global_step()
        )
        sess.run(tf.global_variables_initializer())
        sess.run(train, {ids: [4, 9]})
        wanted = sess.run(rows, {ids: [4, 9]})
        tf.saved_model.simple_save(sess, str(tmp_path / "m"), {"ids": ids}, {"rows": rows})
        name = rows.name
    with tf.Session(graph=tf.Graph()) as sess:
        tf.saved_model.load(sess, ["serve"], str(tmp_path / "m"))
        got = sess.run(name, {"ids:0": [4, 9]})
    np.testing.assert_array_equal(wanted, np.full((2, 2), 0.5, np.float32))
    np.testing.assert_array_equal(got, wanted)


def test_signatures_that_say_too_little(tmp_path: Path) -> None:
    builder = tf.saved_model.Builder(str(tmp_path / "m"))
    whole = protos.TensorInfo(name="x:0", dtype=protos.DT_FLOAT)
    composite = protos.TensorInfo()
    composite.composite_tensor.components.add(name="x:0")
    for infos in (
        ({"x": protos.TensorInfo(dtype=protos.DT_FLOAT)}, {}),
        ({}, {"x": protos.TensorInfo(name="x:0")}),
        ({"x": composite}, {"y": whole}),
    ):
        signature = signature_def_utils.build_signature_def(*infos, "m")
        with (
            tf.Session(graph=tf.Graph()) as sess,
            pytest.raises(AssertionError, match="All TensorInfo protos"),
        ):
            builder.add_meta_graph_and_variables(sess, ["a"], {"s": signature})
    for key in ("__saved_model_init_op", "__saved_model_train_op"):
        with tf.Session(graph=tf.Graph()) as sess, pytest.raises(KeyError, match="is reserved for"):
            builder.add_meta_graph_and_variables(
                sess, ["a"], {key: signature_def_utils.build_signature_def({"x": whole})}
            )


def test_tensor_infos() -> None:
    with tf.Graph().as_default():
        dense = tf.placeholder(tf.int32, [None, 3], name="d")
        sparse = tf.sparse_placeholder(tf.float32, [4, 5], name="s")
        info = tf.saved_model.build_tensor_info(dense)
        assert tf.saved_model.get_tensor_from_tensor_info(info) is dense
        info = tf.saved_model.utils.build_tensor_info(sparse)
        assert [d.size for d in info.tensor_shape.dim] == [4, 5]
        assert info.dtype == protos.DT_FLOAT
        assert tf.saved_model.get_tensor_from_tensor_info(info).indices is sparse.indices
        with pytest.raises(errors.UnimplementedError, match="IndexedSlices"):
            tf.saved_model.build_tensor_info(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([0])))
        with pytest.raises(ValueError, match=r"Invalid TensorInfo\.encoding: None"):
            utils.get_tensor_from_tensor_info(protos.TensorInfo())
        with pytest.raises(errors.NotFoundError, match="The k could not be found in the graph"):
            signature_def_utils.load_op_from_signature_def(
                signature_def_utils.op_signature_def(dense.op, "k"), "k", import_scope="elsewhere"
            )


def test_signatures_of_serving() -> None:
    make = tf.saved_model
    with tf.Graph().as_default():
        text, number = tf.constant("a"), tf.constant(1.0)
        for signature in (
            make.classification_signature_def(text, text, None),
            make.classification_signature_def(text, None, number),
            make.regression_signature_def(text, number),
            make.predict_signature_def({"a": number}, {"b": text}),
        ):
            assert make.is_valid_signature(signature)
        for wrong, message in (
            (lambda: make.classification_signature_def(None, text, number), "examples cannot be None"),
            (lambda: make.classification_signature_def(text, None, None), "cannot both be None"),
            (lambda: make.classification_signature_def(text, number, None), "classes must be a string"),
            (lambda: make.classification_signature_def(text, None, text), "scores must be a float"),
            (lambda: make.regression_signature_def(number, number), "examples must be a string Tensor"),
            (lambda: make.regression_signature_def(text, None), "predictions cannot be None"),
            (lambda: make.regression_signature_def(text, text), "output must be a float Tensor"),
            (lambda: make.predict_signature_def({}, {"b": text}), "inputs cannot be None or empty"),
            (lambda: make.predict_signature_def({"b": text}, None), "outputs cannot be None or empty"),
            (lambda: signature_def_utils.supervised_train_signature_def({}, None), "training inputs cannot"),
        ):
            with pytest.raises(ValueError, match=message):
                wrong()
        train = signature_def_utils.supervised_eval_signature_def(
            {"x": text}, {"loss": number}, {"p": number}
        )
        assert sorted(train.outputs) == ["loss", "p"]
        assert not make.is_valid_signature(train)


def test_a_damaged_graph_names_its_folder(tmp_path: Path) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        tf.identity(tf.constant(1.0), name="y")
        builder = tf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["a"])
        builder.save(as_text=True)
    path = tmp_path / "m" / "saved_model.pbtxt"
    path.write_text(path.read_text().replace('input: "Const"', 'input: "Gone"'))
    with pytest.raises(ValueError, match="Unknown input node 'Gone'") as caught:
        load_values(tmp_path / "m", ["a"])
    assert f"while importing the graph in '{tmp_path / 'm'}'" in caught.value.__notes__[0]


def test_what_no_reader_takes_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tf.Session(graph=tf.Graph()) as sess:
        tf.constant(1.0)
        builder = tf.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(sess, ["a"])
    monkeypatch.setattr(builder_lib, "_MAX_BYTES", 100)
    with pytest.raises(ValueError, match="would be larger than 2GB"):
        builder.save()
    assert files(tmp_path / "m") == []
