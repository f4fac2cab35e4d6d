"""What is told of the progress of training.

Source: tensorflow/python/keras/callbacks.py (1.15).
"""

from __future__ import annotations

import time
from typing import Any


class Callback:
    """Told of the begin and end of training, of its epochs and batches.

    Attributes:
      params: how many epochs, samples and so on there are.
      model: what is trained; with ``stop_training`` true, training stops after the batch or epoch.
    """

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.model: Any = None
        self.validation_data: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Takes the numbers of epochs and samples."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Takes the model."""
        self.model = model

    def on_train_begin(self, logs: Any = None) -> None:
        """Training begins."""

    def on_train_end(self, logs: Any = None) -> None:
        """Training ends."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch ends; ``logs`` has its losses and metrics."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """A batch begins, of ``logs["size"]`` examples."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """A batch ends; ``logs`` has its losses and metrics."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """A batch of training begins."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A batch of training ends."""
        self.on_batch_end(batch, logs=logs)


class History(Callback):
    """Keeps what each epoch ended with.

    Attributes:
      epoch: the numbers of the epochs.
      history: lists by name, of losses and metrics.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class EpochLines(Callback):
    """Prints a line for each epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.monotonic()
        print(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        samples, seconds = self.params["samples"], time.monotonic() - self._begin
        shown = "".join(f" - {name}: {value:.4f}" for name, value in (logs or {}).items())
        print(f"{samples}/{samples} - {seconds:.0f}s{shown}")


class Callbacks:
    """Several callbacks as one: each call goes to all of them, in their order."""

    def __init__(self, callbacks: list[Any], model: Any, params: dict[str, Any]) -> None:
        self._callbacks = callbacks
        for callback in callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def tell(self, what: str, *args: Any) -> None:
        """Calls the method of that name of each."""
        for callback in self._callbacks:
            getattr(callback, what)(*args)
