"""Every damaged checkpoint: the class and the first line that TensorFlow 1.15.5 gives, and then our parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvarn import checkpoint, errors
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.tensor_slice import parse_shape_and_slice

ROOT = Path(__file__).parent / "checkpoints/tf115/corrupt"
VARIANTS = json.loads((ROOT / "variants.json").read_text())["variants"]
# TensorFlow 1.15.5 accepts a broken header; 2.21 refuses it, and so do we, in its words.
REFUSED_BY_2_ONLY = {"v2_header_garbage"}


def says(variant: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Tensor, spec and answer of each restore that TensorFlow was asked for."""
    version = "tensorflow 2.21.0" if variant["name"] in REFUSED_BY_2_ONLY else "tensorflow 1.15.5"
    answers = []
    for question, answer in variant["says"][version].items():
        kind, _, rest = question.partition(" ")
        if kind == "RestoreV2":
            name, _, spec = rest.partition(" ")
            answers.append((name, spec, answer))
    return answers


def restore(prefix: str, name: str, spec: str) -> None:
    with open_checkpoint(prefix) as reader:
        if spec:
            shape, piece, _ = parse_shape_and_slice(spec)
            reader.lookup_slice(name, piece, shape)
        else:
            reader.lookup(name)


def test_the_variants_are_there() -> None:
    assert len(VARIANTS) == 36


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant["name"])
def test_answers(variant: dict[str, Any]) -> None:
    folder = ROOT / variant["name"]
    prefix = str(folder / variant["prefix"])
    for name, spec, answer in says(variant):
        if answer == "ok":
            restore(prefix, name, spec)
            continue
        kind, _, message = answer.partition(": ")
        with pytest.raises(errors.OpError) as caught:
            restore(prefix, name, spec)
        assert type(caught.value).__name__ == kind, (name, caught.value)
        # The recording has <dir> for the folder above.
        first = str(caught.value).splitlines()[0].replace(str(ROOT), "<dir>")
        assert first == message
        assert caught.value.path is not None
        assert caught.value.hint


def test_a_file_that_is_no_checkpoint() -> None:
    with pytest.raises(errors.DataLossError, match="not an sstable"):
        checkpoint.load_checkpoint(ROOT / "v1_text_file/model.ckpt")


def test_a_missing_shard_is_named() -> None:
    with open_checkpoint(ROOT / "v1_missing_shard/model.ckpt-40-?????-of-00003") as reader:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            reader.lookup("emb/rows")
        missing = str(ROOT / "v1_missing_shard/model.ckpt-40-00001-of-00003")
        assert missing in str(caught.value.hint)
        assert (missing, -1) in reader.files()
