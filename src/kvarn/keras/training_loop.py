"""Batches of arrays through a model, epoch by epoch.

Source: tensorflow/python/keras/engine/training_arrays.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kvarn.keras.callbacks import Callbacks

Step = Callable[[list[Any]], list[Any]]


def batches(size: int, batch_size: int, shuffle: Any) -> Iterator[Any]:
    """The indices of the examples of each batch.

    Args:
      shuffle: whether examples are in another order in each epoch; with ``"batch"`` in blocks of a batch.  The
        order is NumPy's global generator's.
    """
    order = np.arange(size)
    if shuffle == "batch":
        whole = size // batch_size * batch_size
        blocks = order[:whole].reshape(-1, batch_size)
        np.random.shuffle(blocks)
        order = np.append(blocks.flatten(), order[whole:])
    elif shuffle:
        np.random.shuffle(order)
    for begin in range(0, size, batch_size):
        yield order[begin : begin + batch_size]


def _taken(arrays: list[Any], indices: Any, size: int) -> list[Any]:
    if len(indices) == size:  # a single batch is taken as it is
        return arrays
    return [x[indices] for x in arrays]


def run_epoch(
    step: Step, arrays: list[Any], batch_size: int, shuffle: Any, told: Callable[[int, int, Any], bool]
) -> list[Any]:
    """One pass over arrays: the mean of the first result of ``step``, and the last of its other results.

    Args:
      step: takes a batch of each array.
      arrays: of as many examples each.
      told: is given the number of a batch, how many examples it has, and None, then its results; true stops.

    Raises:
      ValueError: there are no examples.
    """
    size = arrays[0].shape[0]
    if not size:
        raise ValueError("Empty training data.")
    total, results = 0.0, []
    for number, indices in enumerate(batches(size, batch_size, shuffle)):
        told(number, len(indices), None)
        results = step(_taken(arrays, indices, size))
        total += float(results[0]) * len(indices)
        if told(number, len(indices), results):
            break
    return [total / size, *results[1:]]


def predict(step: Step, arrays: list[Any], batch_size: int) -> list[Any]:
    """The results of ``step`` for all examples."""
    size = arrays[0].shape[0]
    parts = [step(_taken(arrays, indices, size)) for indices in batches(size, batch_size, False)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def fit(
    model: Any,
    step: Step,
    arrays: list[Any],
    batch_size: int,
    epochs: range,
    shuffle: Any,
    callbacks: Callbacks,
    validate: Callable[[int], list[Any]],
) -> None:
    """Trains for several epochs, or until ``model.stop_training``.

    Args:
      validate: is given the number of an epoch; its losses and metrics on other data, or an empty list.
    """
    names = model.metrics_names
    model.stop_training = False
    callbacks.tell("on_train_begin")

    def told(number: int, size: int, results: Any) -> bool:
        logs: dict[str, Any] = {"batch": number, "size": size}
        if results is None:
            callbacks.tell("on_train_batch_begin", number, logs)
        else:
            callbacks.tell("on_train_batch_end", number, logs | dict(zip(names, results, strict=True)))
        return bool(model.stop_training)

    for epoch in epochs:
        if model.stop_training:
            break
        model.reset_metrics()
        callbacks.tell("on_epoch_begin", epoch, {})
        results = run_epoch(step, arrays, batch_size, shuffle, told)
        logs = dict(zip(names, results, strict=True))
        if not model.stop_training:
            others = ["val_" + name for name in names]
            logs.update(zip(others, validate(epoch), strict=False))
        callbacks.tell("on_epoch_end", epoch, logs)
    callbacks.tell("on_train_end")
