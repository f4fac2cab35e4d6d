"""Looking at summaries and event files in tests.

Source: tensorflow/contrib/testing/python/framework/util_test.py.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from kvarn import protos
from kvarn.summary.summary_iterator import summary_iterator


def assert_summary(
    expected_tags: Iterable[str], expected_simple_values: Mapping[str, float], summary_proto: Any
) -> None:
    """Fails unless a Summary has just these tags, and these numbers to two decimals.

    Raises:
      AssertionError: a number is another.
      ValueError: the tags are others.
    """
    for value in summary_proto.value:
        if value.tag in expected_simple_values:
            np.testing.assert_almost_equal(
                value.simple_value, expected_simple_values[value.tag], decimal=2, err_msg=value.tag
            )
    expected, actual = set(expected_tags), {value.tag for value in summary_proto.value}
    if expected != actual:
        raise ValueError(f"Expected tags {expected}, got {actual}.")


def to_summary_proto(summary_str: bytes) -> Any:
    """The Summary message that bytes hold."""
    return protos.Summary.FromString(summary_str)


def latest_event_file(base_dir: str) -> str | None:
    """The last event file of a folder by its name; None if there is none."""
    return max(glob.glob(os.path.join(base_dir, "events.*")), default=None)


def latest_events(base_dir: str) -> Iterable[Any]:
    """The events of the last event file of a folder."""
    path = latest_event_file(base_dir)
    return summary_iterator(path) if path else []


def latest_summaries(base_dir: str) -> list[Any]:
    """Those events of the last event file that have a summary."""
    return [event for event in latest_events(base_dir) if event.HasField("summary")]


def simple_values_from_events(events: Iterable[Any], tags: Collection[str]) -> dict[str, float]:
    """The number of each tag at its latest step.

    Raises:
      ValueError: a tag has something else.
    """
    latest: dict[str, tuple[int, float]] = {}
    for event in events:
        for value in event.summary.value:
            if value.tag not in tags:
                continue
            if not value.HasField("simple_value"):
                raise ValueError(f"Summary for {value.tag} is not a simple_value.")
            if value.tag not in latest or event.step > latest[value.tag][0]:
                latest[value.tag] = event.step, value.simple_value
    return {tag: value for tag, (_, value) in latest.items()}
