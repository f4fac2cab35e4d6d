"""The graph that a model is trained with: losses, metrics, and the functions that run them.

Source: tensorflow/python/keras/engine/training.py (1.15), in graph mode.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import name_scope
from kvarn.keras import backend, metrics, optimizers, sessions
from kvarn.keras import training_data as data
from kvarn.keras.network import Network
from kvarn.keras.training_endpoint import TrainingEndpoint, loss_functions, set_loss_weights
from kvarn.ops import math
from kvarn.variables.trackable import Trackable, no_automatic_dependency_tracking


class TrainedNetwork(Network):
    """A network with an optimizer, and losses of its outputs.

    Args:
      inputs, outputs, name, trainable: as `Network` takes them.

    Attributes:
      optimizer, loss, loss_weights: as they were given to `compile`.
      total_loss: the sum of the losses of the outputs, each with its weight, and of those of layers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forget_functions()

    @no_automatic_dependency_tracking
    def _forget_functions(self) -> None:
        self.train_function: Any = None
        self.test_function: Any = None
        self.predict_function: Any = None
        self._training_endpoints: list[TrainingEndpoint] = []
        # Arguments of a `compile` that waits for data.
        self._waits: Any = None

    @no_automatic_dependency_tracking
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        sample_weight_mode: Any = None,
        weighted_metrics: Any = None,
        target_tensors: Any = None,
        distribute: Any = None,
        **kwargs: Any,
    ) -> None:
        """Says what the model is trained for, and makes the graph of its losses and metrics.

        A model that does not know its inputs yet makes the graph when it is given data.

        Args:
          optimizer: a name, an optimizer of Keras or one of `tf.train`.
          loss: of the outputs: one for all, a list, or a dictionary by name; each a name, a function of labels and
            predictions, a `Loss`, or None for an output that is not trained.
          metrics: a list for all outputs, a list of lists, or a dictionary by name of an output.
          loss_weights: what losses are multiplied with: a list or a dictionary by name.
          weighted_metrics: as ``metrics``, with the weights of examples.
          sample_weight_mode, target_tensors, distribute, **kwargs: refused.

        Raises:
          ValueError: a name is not known, a list has more or fewer than there are outputs, or nothing is trained.
          NotImplementedError: an argument that is refused.
        """
        refused = {"sample_weight_mode": sample_weight_mode, "target_tensors": target_tensors}
        refused |= {"distribute": distribute, **kwargs}
        for name, value in refused.items():
            if value is not None:
                raise NotImplementedError(f"`{name}` of `compile`")
        self.optimizer = optimizers.get(optimizer)
        if isinstance(self.optimizer, Trackable):
            self._track_trackable(self.optimizer, name="optimizer", overwrite=True)
        self.loss, self.loss_weights = loss or {}, loss_weights
        self._forget_functions()
        if not self.outputs:
            self._waits = (self.optimizer, loss, metrics, loss_weights, None, weighted_metrics)
            return
        for output, name, loss_fn in zip(
            self.outputs, self.output_names, loss_functions(self.loss, self.output_names), strict=True
        ):
            self._training_endpoints.append(TrainingEndpoint(output, name, loss_fn))
        set_loss_weights(self._training_endpoints, loss_weights)
        self._is_compiled = True
        self._make_metrics(metrics, weighted_metrics)
        self._measure("metrics")
        self._make_total_loss()
        self._collected_trainable_weights = list({id(w): w for w in self.trainable_weights}.values())

    # Metrics.

    def _make_metrics(self, given: Any, weighted: Any) -> None:
        self._compile_metric_functions: list[Any] = []
        unweighted = self._metrics_of_outputs(given, False)
        for endpoint, plain, with_weights in zip(
            self._training_endpoints, unweighted, self._metrics_of_outputs(weighted, True), strict=True
        ):
            if endpoint.is_trained:
                endpoint.metrics = [self._named(endpoint, m) for m in plain]
                endpoint.weighted_metrics = [self._named(endpoint, m) for m in with_weights]
        if len(self._training_endpoints) > 1:
            for endpoint in self._trained:
                endpoint.loss_metric = metrics.Mean(name=endpoint.loss_name)

    def _metrics_of_outputs(self, given: Any, weighted: bool) -> list[list[Any]]:
        """The metrics of each output, each an object."""
        names = self.output_names
        if not given:
            nested: list[Any] = [[] for _ in names]
        elif isinstance(given, dict):
            data.check_names("metrics", given, names)
            nested = [given.get(name, []) for name in names]
        elif not isinstance(given, list):
            raise TypeError(
                f"Type of `metrics` argument not understood. Expected a list or dictionary, found: {given}"
            )
        elif any(isinstance(m, list) for m in given):
            if len(given) != len(names):
                raise ValueError(
                    "When passing a list of lists as `metrics`, it should have one entry per model output. The "
                    f"model has {len(names)} outputs, but you passed metrics={given}"
                )
            nested = given
        else:
            nested = [given] if len(names) == 1 else [[metrics.clone(m) for m in given] for _ in names]
        return [
            self._metric_objects(endpoint, one if isinstance(one, list) else [one], weighted)
            for endpoint, one in zip(self._training_endpoints, nested, strict=True)
        ]

    @staticmethod
    def _metric_objects(endpoint: TrainingEndpoint, given: list[Any], weighted: bool) -> list[Any]:
        made = {}
        for metric in given:
            name = metrics.name_of(metric, weighted)
            found = metrics.for_output(metric, endpoint.output.shape.as_list(), endpoint.loss_fn)
            made[name] = (
                found if isinstance(found, metrics.Metric) else metrics.MeanMetricWrapper(found, name)
            )
        return list(made.values())

    def _named(self, endpoint: TrainingEndpoint, metric: Any) -> Any:
        """A metric with a name that is unique among the results."""
        base = f"{endpoint.name}_{metric.name}" if len(self.output_names) > 1 else metric.name
        name, number = base, 0
        while name in self.metrics_names:
            number += 1
            name = f"{base}_{number}"
        metric._name = name
        self._compile_metric_functions.append(metric)
        return metric

    def _measure(self, which: str) -> None:
        """Makes the graph of the metrics, or of the weighted ones."""
        with name_scope("metrics"):
            for endpoint in self._training_endpoints:
                weights = endpoint.sample_weight if which == "weighted_metrics" else None
                for metric in getattr(endpoint, which):
                    with name_scope(metric.name):
                        metric(endpoint.target, endpoint.output, sample_weight=weights)

    @property
    def metrics(self) -> list[Any]:
        """The objects of `compile`'s metrics."""
        return list(self._compile_metric_functions) if self._is_compiled else []

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` gives: the loss, those of the outputs if they are several, the metrics."""
        names = ["loss"]
        if self._is_compiled:
            names += [e.loss_name for e in self._trained] if len(self._training_endpoints) > 1 else []
            names += [metric.name for metric in self._compile_metric_functions]
        return names

    def _all_metrics(self) -> list[Any]:
        of_losses = [e.loss_metric for e in self._training_endpoints if e.loss_metric is not None]
        return [*of_losses, *self.metrics]

    def reset_metrics(self) -> None:
        """Sets all metrics to their beginning."""
        for metric in self._all_metrics():
            metric.reset_states()

    # Losses and steps.

    def _make_total_loss(self) -> None:
        for endpoint in self._training_endpoints:
            endpoint.make_sample_weight()
        self._measure("weighted_metrics")
        total: Any = None
        with name_scope("loss"):
            for endpoint in self._trained:
                with name_scope(endpoint.loss_name):
                    loss = endpoint.loss()
                if endpoint.loss_metric is not None:
                    endpoint.loss_metric(loss)
                weighted = endpoint.loss_weight * loss
                total = weighted if total is None else total + weighted
            if total is None and not self.losses:
                raise ValueError("The model cannot be compiled because it has no loss to optimize.")
            of_layers = self.get_losses_for(None) + self.get_losses_for(self.inputs)
            if of_layers:
                summed = math.add_n(of_layers)
                total = (0.0 if total is None else total) + summed
        self.total_loss = total

    @property
    def _trained(self) -> list[TrainingEndpoint]:
        return [e for e in self._training_endpoints if e.is_trained]

    def _fit_graph_to(self, arrays: list[Any]) -> None:
        """Makes the losses anew if examples have weights now and had none before, or the other way round.

        Args:
          arrays: inputs, targets, and the weights of examples if they have some.
        """
        weighs = len(arrays) > len(self._feed_inputs) + len(self._trained)
        if all(e.weighs_samples == weighs for e in self._trained):
            return
        for endpoint in self._trained:
            endpoint.weighs_samples = weighs
        self._make_total_loss()
        self.train_function = self.test_function = None

    def _training_inputs(self) -> list[Any]:
        weights = [e.sample_weight for e in self._trained if e.sample_weight is not None]
        return [*self._feed_inputs, *(e.target for e in self._trained), *weights]

    @no_automatic_dependency_tracking
    def _make_train_function(self) -> None:
        if self.train_function is not None:
            return
        phase = backend.learning_phase()
        inputs = [*self._training_inputs(), *([] if isinstance(phase, int) else [phase])]
        with name_scope("training"):
            updates = self.optimizer.get_updates(
                params=self._collected_trainable_weights, loss=self.total_loss
            )
            updates = updates + self.get_updates_for(None) + self.get_updates_for(self.inputs)
        measured = [metric._call_result for metric in self._all_metrics()]
        with name_scope("training"):
            self.train_function = sessions.function(inputs, [self.total_loss, *measured], updates=updates)

    @no_automatic_dependency_tracking
    def _make_test_function(self) -> None:
        if self.test_function is None:
            measured = [metric._call_result for metric in self._all_metrics()]
            with name_scope("evaluation"):
                self.test_function = sessions.function(
                    self._training_inputs(), [self.total_loss, *measured], updates=self.state_updates
                )

    @no_automatic_dependency_tracking
    def _make_predict_function(self) -> None:
        if self.predict_function is None:
            with name_scope("predict"):
                self.predict_function = sessions.function(
                    self._feed_inputs, self.outputs, updates=self.state_updates
                )
