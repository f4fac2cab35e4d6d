"""Which tensors are the parts and slots of which embedding variable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn.checkpoint.embeddings.stored_table import EmbeddingGroup, embedding_groups
from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.checkpoint.verbs.verify import verify
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import SUFFIXES, bucket_order, write_embedding
from kvarn.io import MemoryFileSystem

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"


def groups(keys_of: dict[str, list[int]]) -> dict[str, EmbeddingGroup]:
    """What is found where each stem has these keys."""
    fs = MemoryFileSystem()
    write(fs, keys_of)
    with BundleReader("m", fs) as reader:
        return {group.name: group for group in embedding_groups(reader)}


def write(fs: MemoryFileSystem, keys_of: dict[str, list[int]]) -> None:
    with BundleWriter("m", fs) as writer:
        for stem, given in keys_of.items():
            keys = np.array(given, np.int64)
            keys = keys[bucket_order(keys)[0]]
            write_embedding(writer, stem, keys, np.stack([keys, keys], 1).astype(np.float32), dim=2)


def test_groups_of_a_recorded_checkpoint() -> None:
    with BundleReader(GOLDEN / "tf115/ev_deeprec/model.ckpt") as reader:
        a, b = embedding_groups(reader)
    assert (a.name, a.parts, a.slots) == ("a", ("a",), ("Adagrad",))
    assert (b.name, b.parts, b.slots) == ("b", tuple(f"b/part_{i}" for i in range(4)), ("Adagrad",))


def test_eleven_parts_are_in_their_order() -> None:
    (group,) = groups({f"b/part_{part}": [part, part + 11] for part in range(11)}).values()
    assert group.parts == tuple(f"b/part_{part}" for part in range(11))
    names = [f"b/part_{part}{suffix}" for part in range(11) for suffix in SUFFIXES]
    assert group.tensor_names([*names, "c-keys"]) == names


def test_an_embedding_variable_in_the_scope_of_another_is_no_slot() -> None:
    found = groups({"user": [1, 2, 3, 4, 5], "user/Adagrad": [1, 2, 3, 4, 5], "user/city": [1, 2, 3]})
    assert {name: group.slots for name, group in found.items()} == {"user": ("Adagrad",), "user/city": ()}


def test_blocks_of_a_variable_of_dynamic_dimension() -> None:
    stems = [
        f"b/part_{part}/block{block}{slot}" for part in (0, 1) for block in (0, 1) for slot in ("", "/Adam")
    ]
    found = groups({stem: [int(stem[7]), int(stem[7]) + 2] for stem in stems})
    assert {name: (group.parts, group.slots) for name, group in found.items()} == {
        f"b/block{block}": ((f"b/part_0/block{block}", f"b/part_1/block{block}"), ("Adam",))
        for block in (0, 1)
    }


@pytest.mark.parametrize("slot", ["Adagrad", "part_0", "part_1"])
def test_slots_of_parts_may_be_called_like_parts(slot: str) -> None:
    keys = {0: list(range(0, 40, 2)), 1: list(range(1, 41, 2))}
    found = groups({f"b/part_{p}{s}": keys[p] for p in keys for s in ("", f"/{slot}")})
    assert {name: (group.parts, group.slots) for name, group in found.items()} == {
        "b": (("b/part_0", "b/part_1"), (slot,))
    }


EVERY = list(range(40))


def test_variables_that_are_only_called_parts_stay_apart() -> None:
    fs = MemoryFileSystem()
    stems = [f"tower/part_{number}{slot}" for number in (0, 1) for slot in ("", "/Adagrad")]
    write(fs, dict.fromkeys(stems, EVERY))
    with BundleReader("m", fs) as reader:
        found = {group.name: group.slots for group in embedding_groups(reader)}
    assert found == {"tower/part_0": ("Adagrad",), "tower/part_1": ("Adagrad",)}
    assert not [finding for finding in verify("m", fs=fs).findings if finding.broken]
    reshard("m", "two", partitions={"tower/part_0": 2, "tower/part_1": 2}, fs=fs)
    with BundleReader("two", fs) as reader:
        for stem in stems:
            tower, name, *slot = stem.split("/")
            places = ["/".join([tower, name, f"part_{part}", *slot]) for part in (0, 1)]
            kept = [reader.lookup(place + "-keys").tolist() for place in places]
            assert [sorted(keys) for keys in kept] == [EVERY[::2], EVERY[1::2]]


def test_variables_in_scopes_that_are_called_parts_stay_apart() -> None:
    found = groups({f"tower/part_{number}/emb": EVERY for number in (0, 1)})
    assert {name: group.parts for name, group in found.items()} == {
        name: (name,) for name in ("tower/part_0/emb", "tower/part_1/emb")
    }


@pytest.mark.parametrize("parts", [(1,), (0, 2), (1, 2)])
def test_parts_of_which_some_are_missing_are_parts(parts: tuple[int, ...]) -> None:
    (group,) = groups({f"b/part_{part}": EVERY[part::3] for part in parts}).values()
    assert (group.name, group.parts) == ("b", tuple(f"b/part_{part}" for part in parts))


def test_parts_that_changed_their_places_are_parts() -> None:
    (group,) = groups({"b/part_0": EVERY[1::2], "b/part_1": EVERY[::2]}).values()
    assert group.parts == ("b/part_0", "b/part_1")


def test_few_keys_do_not_speak_against_the_name() -> None:
    (group,) = groups({"b/part_0": [0, 1, 2], "b/part_1": [0, 1, 2]}).values()
    assert group.parts == ("b/part_0", "b/part_1")
