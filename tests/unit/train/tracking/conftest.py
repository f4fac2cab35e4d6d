"""Every test has a graph of its own: names of nodes are compared."""

from collections.abc import Iterator

import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield
