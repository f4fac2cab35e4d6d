"""Models: networks that are trained, evaluated and asked for predictions with arrays.

Source: tensorflow/python/keras/engine/training.py (1.15), in graph mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn.keras import backend, training_loop
from kvarn.keras import training_data as data
from kvarn.keras.callbacks import Callbacks, EpochLines, History
from kvarn.keras.training_graph import TrainedNetwork


class Model(TrainedNetwork):
    """A network that is trained by an optimizer, for losses of its outputs.

    Args:
      inputs, outputs, name, trainable: as `Network` takes them.

    Attributes:
      history: what `fit` gave last.
      stop_training: made true by a callback, ends `fit`.
    """

    def _arrays(self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> list[Any]:
        """Inputs, targets, and weights of examples if there are some, as one list of arrays."""
        if not self.optimizer:
            raise RuntimeError(
                "You must compile your model before training/testing. Use `model.compile(optimizer, loss)`."
            )
        inputs = self._input_arrays(x)
        trained = self._trained
        names = [e.name for e in trained]
        data.refuse_others(y, "Targets")
        targets: list[Any] = []
        if trained:
            if y is None:
                raise ValueError(f"Targets are needed for the outputs {names}: `y` is None.")
            # What shapes the losses demand is looked at below.
            targets = data.standardize(y, names, [None] * len(names), "target")
        weights = [
            data.weights_of_examples(target, of_samples, of_classes)
            for target, of_samples, of_classes in zip(
                targets,
                data.per_output(sample_weight, names, "sample_weight"),
                _of_classes(class_weight, names),
                strict=True,
            )
        ]
        data.check_lengths(inputs, targets, weights)
        data.check_targets(targets, [e.loss_fn for e in trained], [e.target_shape for e in trained])
        if all(w is None for w in weights):
            return [*inputs, *targets]
        ones = np.ones(inputs[0].shape[0])
        return [*inputs, *targets, *(ones if w is None else w for w in weights)]

    def _input_arrays(self, x: Any) -> list[Any]:
        data.refuse_others(x, "Inputs")
        if not self.inputs:
            self._set_inputs(x)
        if self._waits:
            self.compile(*self._waits)
        return data.standardize(x, self._feed_input_names, self._feed_input_shapes, "input")

    def _train_step(self, arrays: list[Any]) -> training_loop.Step:
        """What trains with a batch of such arrays.  It stays itself when others, with or without weights, follow."""
        self._fit_graph_to(arrays)
        self._make_train_function()
        run = self.train_function
        phase = [] if isinstance(backend.learning_phase(), int) else [True]
        return lambda batch: list(run([*batch, *phase]))

    def _test_step(self, arrays: list[Any]) -> training_loop.Step:
        """What evaluates a batch of such arrays."""
        self._fit_graph_to(arrays)
        self._make_test_function()
        run = self.test_function
        return lambda batch: list(run(batch))

    # What users call.

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int = 1,
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_freq: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Trains with arrays.

        Args:
          x, y: arrays; lists or dictionaries by name for several inputs and outputs.
          batch_size: 32 by default.
          epochs, initial_epoch: the number of the last epoch and of the one before the first.
          verbose: whether a line is printed for each epoch.
          callbacks: told of the progress.
          validation_split: which part of the arrays, at their end, is not trained with but evaluated.
          validation_data: inputs and targets, or these and weights of examples, that are evaluated.
          shuffle: whether the examples are in another order in each epoch; ``"batch"`` in blocks of a batch.
          class_weight: by class, weights of examples.
          sample_weight: weights of examples.
          validation_freq: after how many epochs there is an evaluation.
          steps_per_epoch, validation_steps, **kwargs: refused.

        Returns:
          A `History`.

        Raises:
          ValueError: arrays do not fit the model.
          RuntimeError: the model is not compiled.
          NotImplementedError: an argument that is refused, or data that is no array.
        """
        _refuse(steps_per_epoch=steps_per_epoch, validation_steps=validation_steps, **kwargs)
        arrays = self._arrays(x, y, sample_weight, class_weight)
        others = None
        if validation_data is not None:
            x, y, *weights = validation_data
            others = self._arrays(x, y, weights[0] if weights else None)
        elif validation_split:
            arrays, others = _split(arrays, validation_split)
        step = self._train_step(arrays)
        samples = arrays[0].shape[0]
        if verbose:
            print(
                f"Train on {samples} samples" + (f", validate on {len(others[0])} samples" if others else "")
            )
        params = {"epochs": epochs, "samples": samples, "batch_size": batch_size or 32, "verbose": verbose}
        self.history = History()
        told: list[Any] = [*([EpochLines()] if verbose else []), *(callbacks or []), self.history]

        def validate(epoch: int) -> list[Any]:
            if others is None or (epoch + 1) % validation_freq:
                return []
            # In another order too, so that those of training are TensorFlow's.
            return self._evaluated(others, batch_size or 32, shuffle=True)

        training_loop.fit(
            self,
            step,
            arrays,
            batch_size or 32,
            range(initial_epoch, epochs),
            shuffle,
            Callbacks(told, self, {**params, "metrics": self.metrics_names}),
            validate,
        )
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int = 1,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The loss and metrics on arrays, in the order of `metrics_names`; the loss alone if there is no more.

        Args:
          x, y, sample_weight: as `fit` takes them.
          batch_size: 32 by default.
          verbose: whether a line is printed.
          steps, callbacks, **kwargs: refused.

        Raises:
          as `fit`.
        """
        _refuse(steps=steps, callbacks=callbacks, **kwargs)
        arrays = self._arrays(x, y, sample_weight)
        results = self._evaluated(arrays, batch_size or 32)
        if verbose:
            shown = [
                f" - {name}: {value:.4f}" for name, value in zip(self.metrics_names, results, strict=True)
            ]
            print(f"{len(arrays[0])}/{len(arrays[0])}{''.join(shown)}")
        return results[0] if len(results) == 1 else results

    def _evaluated(self, arrays: list[Any], batch_size: int, shuffle: bool = False) -> list[Any]:
        step = self._test_step(arrays)
        self.reset_metrics()
        return training_loop.run_epoch(step, arrays, batch_size, shuffle, lambda *_: False)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int = 0,
        steps: int | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The outputs for arrays; a list if there are several.

        Args:
          x: as `fit` takes it.
          batch_size: 32 by default.
          verbose: not looked at.
          steps, callbacks, **kwargs: refused.

        Raises:
          ValueError: the arrays do not fit the model.
          NotImplementedError: an argument that is refused, or data that is no array.
        """
        _refuse(steps=steps, callbacks=callbacks, **kwargs)
        arrays = self._input_arrays(x)
        data.check_lengths(arrays, [], [])
        self._make_predict_function()
        self.reset_metrics()
        results = training_loop.predict(self.predict_function, arrays, batch_size or 32)
        return results[0] if len(results) == 1 else results

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        reset_metrics: bool = True,
    ) -> Any:
        """One step of training; the loss and metrics before it.

        Args:
          x, y, sample_weight, class_weight: as `fit` takes them.
          reset_metrics: whether metrics are those of this batch alone.

        Raises:
          as `fit`.
        """
        arrays = self._arrays(x, y, sample_weight, class_weight)
        return self._results(self._train_step(arrays)(arrays), reset_metrics)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, reset_metrics: bool = True
    ) -> Any:
        """The loss and metrics of a batch; arguments as `train_on_batch`."""
        arrays = self._arrays(x, y, sample_weight)
        return self._results(self._test_step(arrays)(arrays), reset_metrics)

    def _results(self, results: list[Any], reset_metrics: bool) -> Any:
        if reset_metrics:
            self.reset_metrics()
        return results[0] if len(results) == 1 else results

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for a batch; a list if there are several."""
        arrays = self._input_arrays(x)
        self._make_predict_function()
        results = self.predict_function(arrays)
        return results[0] if len(results) == 1 else results


def _refuse(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise NotImplementedError(f"`{name}` of a Keras model's `fit`, `evaluate` or `predict`")


def _split(arrays: list[Any], part: float) -> list[list[Any]]:
    """The first examples, and the last ``part`` of them."""
    at = int(arrays[0].shape[0] * (1.0 - part))
    first, last = slice(0, at), slice(at, None)
    return [[x[rows] for x in arrays] for rows in (first, last)]


def _of_classes(class_weight: Any, names: list[str]) -> list[Any]:
    """The weights of classes for each output: given by class for a single output, else also by output."""
    if isinstance(class_weight, dict) and len(names) == 1 and names[0] not in class_weight:
        return [class_weight]
    return data.per_output(class_weight, names, "class_weight")
