"""Metrics by name: functions of labels and predictions, and objects that keep their mean over batches.

Source: tensorflow/python/keras/metrics.py, keras/utils/metrics_utils.py (1.15), in graph mode.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, init_scope
from kvarn.graph.tensor import Tensor
from kvarn.keras import backend, identifiers, losses, sessions
from kvarn.keras.base_layer import Layer
from kvarn.ops import array, casting, math, nn, reduction
from kvarn.ops.losses import remove_squeezable_dimensions
from kvarn.ops.weights_broadcast import broadcast_weights
from kvarn.variables.variable import VariableAggregation, VariableSynchronization


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """How many along the last axis are on the right side of a threshold."""
    threshold = casting.cast(threshold, y_pred.dtype)
    y_pred = casting.cast(y_pred > threshold, y_pred.dtype)
    return losses.mean(math.equal(y_true, y_pred))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether labels and predictions are largest in the same place."""
    same = math.equal(reduction.argmax(y_true, axis=-1), reduction.argmax(y_pred, axis=-1))
    found: Tensor = casting.cast(same, backend.floatx())
    return found


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether predictions are largest where the labels, classes by number, say."""
    y_true, y_pred = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    rank = y_true.shape.ndims
    if rank is not None and rank == y_pred.shape.ndims:
        y_true = array.squeeze(y_true, [-1])
    y_pred = casting.cast(reduction.argmax(y_pred, axis=-1), y_true.dtype)
    found: Tensor = casting.cast(math.equal(y_true, y_pred), backend.floatx())
    return found


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Whether the prediction for the label is among the ``k`` largest."""
    found: Tensor = casting.cast(nn.in_top_k(y_pred, reduction.argmax(y_true, axis=-1), k), backend.floatx())
    return found


class Metric(Layer):
    """Something that is measured batch by batch, in variables.

    A subclass makes its variables by `add_weight` and says `update_state` and `result`.

    Args:
      name: by default the class's, made unique.
      dtype: of the variables, float32 by default.
    """

    def __init__(self, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, dtype=dtype or backend.floatx(), **kwargs)
        self.stateful = True
        self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Measures a batch; the result so far, this batch included."""
        update = self.update_state(*args, **kwargs)
        self.add_update(update)
        with control_dependencies([update]):
            self._call_result = array.identity(self.result())
        return self._call_result

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """An operation that takes a batch into account; a subclass says it."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def result(self) -> Tensor:
        """What has been measured so far; a subclass says it."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def reset_states(self) -> None:
        """Sets all variables to zero, in the session of Keras."""
        sessions.batch_set_value([(variable, 0) for variable in self.variables])

    def add_weight(  # type: ignore[override]
        self, name: str, shape: Any = (), initializer: Any = None, dtype: Any = None
    ) -> Any:
        """Makes a variable of the metric, in no collection."""
        return super().add_weight(
            name=name,
            shape=shape,
            dtype=dtype or self.dtype,
            trainable=False,
            initializer=initializer,
            collections=[],
            synchronization=VariableSynchronization.ON_READ,
            aggregation=VariableAggregation.SUM,
        )

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


class Mean(Metric):
    """The mean of values, each with a weight.

    Attributes:
      total, count: the sum of weighted values, and that of the weights.
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        with init_scope():
            self.total = self.add_weight("total", initializer="zeros")
            self.count = self.add_weight("count", initializer="zeros")

    def update_state(self, values: Any, sample_weight: Any = None) -> Any:
        """An operation that adds values.

        Args:
          sample_weight: of the values' shape, or without their last dimensions, whose mean is taken then.
        """
        values = casting.cast(values, self.dtype)
        if sample_weight is not None:
            values, sample_weight = self._fitting(values, sample_weight)
            values = math.multiply(values, sample_weight)
        total = reduction.reduce_sum(values)
        with control_dependencies([total]):
            update_total = self.total.assign_add(total)
        if sample_weight is None:
            count = casting.cast(array.size(values), self.dtype)
        else:
            count = reduction.reduce_sum(sample_weight)
        with control_dependencies([update_total]):
            return self.count.assign_add(count)

    def _fitting(self, values: Any, sample_weight: Any) -> tuple[Any, Any]:
        sample_weight = losses.of_rank(casting.cast(sample_weight, self.dtype), values)
        try:
            return values, broadcast_weights(sample_weight, values)
        except ValueError:
            beyond = list(range(sample_weight.shape.ndims, values.shape.ndims))
            return reduction.reduce_mean(values, axis=beyond), sample_weight

    def result(self) -> Tensor:
        """The mean so far; 0 before there is one."""
        found: Tensor = math.div_no_nan(self.total, self.count)
        return found


class MeanMetricWrapper(Mean):
    """The mean of a function of labels and predictions.

    Args:
      fn: of labels, predictions and ``kwargs``.
    """

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        """An operation that adds what the function gives for a batch."""
        y_true, y_pred = casting.cast(y_true, self.dtype), casting.cast(y_pred, self.dtype)
        y_true, y_pred = squeezed(y_true, y_pred)
        return super().update_state(self._fn(y_true, y_pred, **self._fn_kwargs), sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._fn_kwargs}


def squeezed(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both, without a last dimension of 1 that only one of them has."""
    if y_pred.shape.ndims is None or y_true.shape.ndims is None:
        raise NotImplementedError(f"Metrics of tensors whose rank is not known: {y_true}, {y_pred}")
    if y_pred.shape.ndims - y_true.shape.ndims == 1 and y_pred.shape.as_list()[-1] != 1:
        return y_true, y_pred
    return remove_squeezable_dimensions(y_true, y_pred)


def _of_function(class_name: str, function: Any, name: str) -> Any:
    """A class for the mean of a function, whose arguments it takes."""

    def __init__(self: Any, name: str = name, dtype: Any = None, **kwargs: Any) -> None:
        MeanMetricWrapper.__init__(self, function, name, dtype=dtype, **kwargs)

    doc = f"The mean of `{function.__name__}` over all batches."
    return type(
        class_name, (MeanMetricWrapper,), {"__init__": __init__, "__doc__": doc, "__module__": __name__}
    )


BinaryAccuracy = _of_function("BinaryAccuracy", binary_accuracy, "binary_accuracy")
CategoricalAccuracy = _of_function("CategoricalAccuracy", categorical_accuracy, "categorical_accuracy")
SparseCategoricalAccuracy = _of_function(
    "SparseCategoricalAccuracy", sparse_categorical_accuracy, "sparse_categorical_accuracy"
)
MeanSquaredError = _of_function("MeanSquaredError", losses.mean_squared_error, "mean_squared_error")
MeanAbsoluteError = _of_function("MeanAbsoluteError", losses.mean_absolute_error, "mean_absolute_error")
BinaryCrossentropy = _of_function("BinaryCrossentropy", losses.binary_crossentropy, "binary_crossentropy")
CategoricalCrossentropy = _of_function(
    "CategoricalCrossentropy", losses.categorical_crossentropy, "categorical_crossentropy"
)
SparseCategoricalCrossentropy = _of_function(
    "SparseCategoricalCrossentropy", losses.sparse_categorical_crossentropy, "sparse_categorical_crossentropy"
)

_KNOWN: dict[str, Any] = {
    **{name: function for name, function in losses.FUNCTIONS.items() if name not in ("kld", "KLD")},
    **{
        known.__name__: known
        for known in (
            binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy, Mean,
            BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, MeanSquaredError, MeanAbsoluteError,
            BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy,
        )
    },
}  # fmt: skip


_MISSING = frozenset(
    (
        "Accuracy", "AUC", "CategoricalHinge", "cosine_proximity", "cosine_similarity", "CosineSimilarity",
        "FalseNegatives", "FalsePositives", "Hinge", "KLDivergence", "LogCoshError", "MeanAbsolutePercentageError",
        "MeanIoU", "MeanRelativeError", "MeanSquaredLogarithmicError", "MeanTensor", "Poisson", "Precision", "Recall",
        "RootMeanSquaredError", "SensitivityAtSpecificity", "sparse_top_k_categorical_accuracy",
        "SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity", "SquaredHinge", "Sum",
        "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives",
    )
)  # fmt: skip


def get(identifier: Any) -> Any:
    """The function or object that a name or a configuration stands for; what can be called stays as it is.

    Raises:
      ValueError: it stands for none.
      NotImplementedError: it is one that is not there yet.
    """
    if isinstance(identifier, (str, dict)):
        losses.refuse_missing(identifier, _MISSING, "metric")
        return identifiers.deserialize(identifier, _KNOWN, "metric function")
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret metric function identifier: {identifier}")


_SHORT = {"accuracy": "acc", "acc": "acc", "crossentropy": "ce", "ce": "ce"}


def name_of(metric: Any, weighted: bool = False) -> str:
    """What a metric is called in results: ``acc`` for accuracy, else by its function or object."""
    name = _SHORT.get(metric) if isinstance(metric, str) else None
    if name is None:
        found = get(metric)
        name = found.name if hasattr(found, "name") else found.__name__
    return ("weighted_" if weighted else "") + name


def for_output(metric: Any, output_shape: Any, loss: Any) -> Any:
    """The function or object of a metric; which accuracy or entropy it is depends on the output and its loss."""
    kind = _SHORT.get(metric) if isinstance(metric, str) else None
    if kind is None:
        return get(metric)
    if output_shape[-1] == 1 or losses.is_loss_of(loss, losses.binary_crossentropy):
        return binary_accuracy if kind == "acc" else losses.binary_crossentropy
    if losses.is_loss_of(loss, losses.sparse_categorical_crossentropy):
        return sparse_categorical_accuracy if kind == "acc" else losses.sparse_categorical_crossentropy
    return categorical_accuracy if kind == "acc" else losses.categorical_crossentropy


def clone(metric: Any) -> Any:
    """A metric with variables of its own; functions and names stay as they are."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, Metric) else metric
