"""SavedModels that TensorFlow 1.15 and 2.x have written are loaded and run to its numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn.saved_model import loader

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoints"
CASES = [GOLDEN / version / "saved_model_v1" for version in ("tf115", "tf2")]


def recorded(case: Path, given: str, got: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    expected = json.loads((case / "expected.json").read_text())
    with np.load(case / "expected.npz") as stored:
        flat = {name: stored[name] for name in stored.files}

    def value(entry: dict) -> np.ndarray:
        count = int(np.prod(entry["shape"], dtype=int))
        return flat[entry["array"]][entry["offset"] :][:count].reshape(entry["shape"])

    run = expected["runs"][0]
    return (
        {name: value(entry) for name, entry in run[given].items()},
        {name: value(entry) for name, entry in run[got].items()},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.parent.name)
@pytest.mark.parametrize("scope", [None, "inner"])
def test_graphs_run_to_the_recorded_numbers(case: Path, scope: str | None) -> None:
    feeds, fetches = recorded(case, "feeds", "fetches")
    prefix = f"{scope}/" if scope else ""
    with tf.Session(graph=tf.Graph()) as sess:
        meta_graph = tf.saved_model.load(
            sess, [tf.saved_model.SERVING], str(case / "model"), import_scope=scope
        )
        got = sess.run({n: prefix + n for n in fetches}, {prefix + n: v for n, v in feeds.items()})
        # The main operation reads the asset from where the model is now.
        text = sess.run(f"{prefix}text/read:0")
    for name, value in fetches.items():
        np.testing.assert_array_equal(got[name], value)
    assert text == (case / "model" / "assets" / "vocab.txt").read_bytes()
    signature = meta_graph.signature_def["serving_default"]
    assert signature.inputs["x"].name == "x:0"
    assert signature.method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.parent.name)
def test_what_was_recorded_is_written_again_by_the_same_names(case: Path) -> None:
    """A graph that is loaded and built again from its message has the collections that were recorded."""
    expected = json.loads((case / "expected.json").read_text())
    found = loader.parse_saved_model(str(case / "model"))
    assert found.saved_model_schema_version == expected["schema_version"]
    for graph, wanted in zip(found.meta_graphs, expected["meta_graphs"], strict=True):
        assert list(graph.meta_info_def.tags) == wanted["tags"]
        assert sorted(graph.collection_def) == sorted(wanted["collections"])
        assert loader.get_asset_tensors("/m", graph) == {"asset_path:0": "/m/assets/vocab.txt"}


def test_the_text_is_read_where_there_is_no_binary_file(tmp_path: Path) -> None:
    shutil.copytree(CASES[0] / "model", tmp_path / "m")
    binary = loader.parse_saved_model(tmp_path / "m")
    (tmp_path / "m" / "saved_model.pb").unlink()
    assert loader.parse_saved_model(tmp_path / "m") == binary


@pytest.mark.parametrize("version", ["tf115", "tf2"])
def test_models_of_objects_run_by_their_signature(version: str) -> None:
    """What `tf.saved_model.save` of 2.x writes has its computation in functions."""
    case = GOLDEN / version / "saved_model_v2"
    feeds, fetches = recorded(case, "inputs", "outputs")
    with tf.Session(graph=tf.Graph()) as sess:
        signature = tf.saved_model.load(sess, ["serve"], str(case / "model")).signature_def["serving_default"]
        got = sess.run(
            {name: signature.outputs[name].name for name in fetches},
            {signature.inputs[name].name: value for name, value in feeds.items()},
        )
    for name, value in fetches.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6)
