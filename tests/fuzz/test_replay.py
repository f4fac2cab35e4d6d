"""The committed corpora, through the same bodies that the fuzzers drive; here memory and time are measured.

An input that is not called in-… was a finding once, and is named after what was wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.contract import measured
from fuzz.targets import NAMES, target

CORPORA = Path(__file__).parents[2] / "fuzz/corpora"


# protobuf's text format takes octal escapes over \\377, which Python has begun to dislike.
@pytest.mark.filterwarnings("ignore:invalid octal escape:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_corpus(name: str) -> None:
    paths = sorted((CORPORA / name).iterdir())
    assert paths
    check = target(name).check
    for path in paths:
        try:
            check(path.read_bytes())  # what is loaded once is not counted
            measured(check, path.read_bytes())
        except Exception as error:
            error.add_note(f"input {path}")
            raise


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    seeds = list(target(name).seeds())
    assert seeds
    for seed in seeds:
        target(name).check(seed)


def test_the_corpora_are_small() -> None:
    sizes = [path.stat().st_size for path in CORPORA.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000
    folders = {path.name for path in CORPORA.iterdir()}
    assert folders == set(NAMES)
