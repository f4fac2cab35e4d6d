"""Losses by name: functions of labels and predictions, and objects that reduce what they give.

Source: tensorflow/python/keras/losses.py, keras/backend.py, keras/utils/losses_utils.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.keras import identifiers
from kvarn.keras.backend import epsilon, floatx
from kvarn.ops import activation, array, casting, clip, math, nn, reduction, smart_cond
from kvarn.ops.weights_broadcast import broadcast_weights


class Reduction:
    """What becomes of the losses of single examples."""

    AUTO = "auto"
    NONE = "none"
    SUM = "sum"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"


def _both(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_pred = convert_to_tensor(y_pred)
    return casting.cast(y_true, y_pred.dtype), y_pred


def mean(x: Any, axis: int = -1) -> Tensor:
    """The mean along an axis; of truth values as numbers."""
    found: Tensor = reduction.reduce_mean(casting.cast(x, floatx()) if x.dtype.is_bool else x, axis=axis)
    return found


def _at_least(x: Any, least: float, most: float = float("inf")) -> Tensor:
    kind = x.dtype.base_dtype
    found: Tensor = clip.clip_by_value(x, constant(least, dtype=kind), constant(most, dtype=kind))
    return found


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of squared differences over the last axis."""
    y_true, y_pred = _both(y_true, y_pred)
    return mean(math.squared_difference(y_pred, y_true))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of absolute differences over the last axis."""
    y_true, y_pred = _both(y_true, y_pred)
    return mean(math.abs(y_pred - y_true))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of absolute differences in percent of the labels."""
    y_true, y_pred = _both(y_true, y_pred)
    diff = math.abs((y_true - y_pred) / _at_least(math.abs(y_true), epsilon()))
    scaled: Tensor = 100.0 * mean(diff)
    return scaled


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of squared differences of log(x + 1)."""
    y_true, y_pred = _both(y_true, y_pred)
    first = math.log(_at_least(y_pred, epsilon()) + 1.0)
    second = math.log(_at_least(y_true, epsilon()) + 1.0)
    return mean(math.squared_difference(first, second))


def _signs(y_true: Any) -> Tensor:
    """Labels of 0 and 1 as -1 and 1; those which are no such labels stay."""
    zeros, ones = math.equal(y_true, 0), math.equal(y_true, 1)
    is_binary = reduction.reduce_all(math.logical_or(zeros, ones))
    found: Tensor = smart_cond.smart_cond(is_binary, lambda: 2.0 * y_true - 1.0, lambda: y_true)
    return found


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of what labels times predictions lack of 1."""
    y_true, y_pred = _both(y_true, y_pred)
    return mean(math.maximum(1.0 - _signs(y_true) * y_pred, 0.0))


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of the squares of what labels times predictions lack of 1."""
    y_true, y_pred = _both(y_true, y_pred)
    return mean(math.square(math.maximum(1.0 - _signs(y_true) * y_pred, 0.0)))


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """How far the largest wrong prediction is above the right one less 1."""
    y_true, y_pred = _both(y_true, y_pred)
    right = reduction.reduce_sum(y_true * y_pred, axis=-1)
    wrong = reduction.reduce_max((1.0 - y_true) * y_pred, axis=-1)
    found: Tensor = math.maximum(0.0, wrong - right + 1.0)
    return found


def logcosh(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of log(cosh(difference))."""
    y_true, y_pred = _both(y_true, y_pred)
    x = y_pred - y_true
    return mean(x + activation.softplus(-2.0 * x) - math.log(2.0))


def kullback_leibler_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """The sum of y_true log(y_true / y_pred)."""
    y_true, y_pred = _both(y_true, y_pred)
    y_true, y_pred = _at_least(y_true, epsilon(), 1), _at_least(y_pred, epsilon(), 1)
    return reduction.reduce_sum(y_true * math.log(y_true / y_pred), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of y_pred - y_true log(y_pred)."""
    y_true, y_pred = _both(y_true, y_pred)
    return mean(y_pred - y_true * math.log(y_pred + epsilon()))


def _smoothed(label_smoothing: float, smooth: Callable[[Any], Any], y_true: Any) -> Any:
    amount = convert_to_tensor(label_smoothing, dtype=floatx())
    return smart_cond.smart_cond(amount, lambda: smooth(amount), lambda: y_true)


def _logits_of(output: Any, activation_type: str) -> Any:
    """The logits that became probabilities by an operation, or None."""
    return output.op.inputs[0] if isinstance(output, Tensor) and output.op.type == activation_type else None


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0
) -> Tensor:
    """The cross entropy of distributions over the last axis.

    Args:
      from_logits: whether the predictions are logits; those of a softmax are found.
      label_smoothing: which part of the labels is spread over all classes.
    """
    y_true, y_pred = _both(y_true, y_pred)
    labels = y_true

    def smooth(amount: Any) -> Any:
        classes = casting.cast(array.shape(labels)[1], y_pred.dtype)
        return labels * (1.0 - amount) + amount / classes

    y_true = _smoothed(label_smoothing, smooth, labels)
    logits = y_pred if from_logits else _logits_of(y_pred, "Softmax")
    if logits is not None:
        return nn.softmax_cross_entropy_with_logits_v2(labels=y_true, logits=logits, axis=-1)
    y_pred = y_pred / reduction.reduce_sum(y_pred, -1, True)
    least = constant(epsilon(), dtype=y_pred.dtype.base_dtype)
    y_pred = clip.clip_by_value(y_pred, least, 1.0 - least)
    negative: Tensor = -reduction.reduce_sum(y_true * math.log(y_pred), -1)
    return negative


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """The cross entropy of classes given by number.

    Raises:
      NotImplementedError: ``axis`` is not the last one.
    """
    logits = y_pred if from_logits else _logits_of(y_pred, "Softmax")
    if logits is None:
        least = constant(epsilon(), dtype=y_pred.dtype.base_dtype)
        logits = math.log(clip.clip_by_value(y_pred, least, 1 - least))
    rank = logits.shape.ndims
    if rank is not None and axis % rank != rank - 1:
        raise NotImplementedError(
            f"sparse_categorical_crossentropy along axis {axis}, which is not the last one"
        )
    y_true = casting.cast(y_true, "int64")
    shape = array.shape(logits)
    label_rank = y_true.shape.ndims
    flat = label_rank is not None and rank is not None and label_rank != rank - 1
    if flat:
        y_true = array.reshape(y_true, [-1])
        logits = array.reshape(logits, [-1, shape[-1]])
    losses = nn.sparse_softmax_cross_entropy_with_logits(labels=y_true, logits=logits)
    return array.reshape(losses, shape[:-1]) if flat and rank >= 3 else losses


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0
) -> Tensor:
    """The mean over the last axis of the cross entropy of probabilities.

    Args:
      from_logits: whether the predictions are logits; those of a sigmoid are found.
      label_smoothing: which part of the labels is spread over both answers.
    """
    y_true, y_pred = _both(y_true, y_pred)
    labels = y_true
    y_true = _smoothed(label_smoothing, lambda amount: labels * (1.0 - amount) + 0.5 * amount, labels)
    logits = y_pred if from_logits else _logits_of(y_pred, "Sigmoid")
    if logits is not None:
        return mean(nn.sigmoid_cross_entropy_with_logits(labels=y_true, logits=logits))
    least = constant(epsilon(), dtype=y_pred.dtype.base_dtype)
    y_pred = clip.clip_by_value(y_pred, least, 1.0 - least)
    entropy = y_true * math.log(y_pred + epsilon())
    entropy += (1 - y_true) * math.log(1 - y_pred + epsilon())
    return mean(-entropy)


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence

FUNCTIONS: dict[str, Any] = {
    "mse": mse, "MSE": mse, "mae": mae, "MAE": mae, "mape": mape, "MAPE": mape, "msle": msle, "MSLE": msle,
    "kld": kld, "KLD": kld,
    **{
        function.__name__: function
        for function in (
            mean_squared_error, mean_absolute_error, mean_absolute_percentage_error,
            mean_squared_logarithmic_error, hinge, squared_hinge, categorical_hinge, logcosh,
            kullback_leibler_divergence, poisson, categorical_crossentropy, sparse_categorical_crossentropy,
            binary_crossentropy,
        )
    },
}  # fmt: skip


def weighted(losses: Any, sample_weight: Any) -> Tensor:
    """``losses`` times weights [batch] or of their shape, by default 1."""
    with name_scope("weighted_loss"):
        losses = convert_to_tensor(losses)
        kind = losses.dtype
        losses = casting.cast(losses, "float32")
        weights = casting.cast(1.0 if sample_weight is None else sample_weight, "float32")
        weights = of_rank(weights, losses)
        weights = broadcast_weights(weights, losses)
        found: Tensor = casting.cast(math.multiply(losses, weights), kind)
        return found


def of_rank(weights: Any, values: Any) -> Any:
    """``weights`` with a last dimension of 1 more or less, if that gives them the rank of ``values``."""
    rank, wanted = weights.shape.ndims, values.shape.ndims
    if not rank or wanted is None:
        return weights
    if rank - wanted == 1:
        return array.squeeze(weights, [-1])
    return array.expand_dims(weights, [-1]) if wanted - rank == 1 else weights


def reduced(losses: Any, reduction_name: str) -> Tensor:
    """What a `Reduction` makes of losses that are weighted."""
    if reduction_name == Reduction.NONE:
        return losses  # type: ignore[no-any-return]
    total = reduction.reduce_sum(losses)
    if reduction_name == Reduction.SUM:
        return total
    with name_scope("num_elements") as scope:
        count = casting.cast(array.size(losses, name=scope), dtype=losses.dtype)
    found: Tensor = math.div_no_nan(reduction.reduce_sum(total), count, name="value")
    return found


class Loss:
    """A function of labels and predictions whose results are weighted and reduced.

    Args:
      reduction: a `Reduction`; ``auto`` is the mean of the batch.
      name: of the scope.
    """

    def __init__(self, reduction: str = Reduction.AUTO, name: str | None = None) -> None:
        if reduction not in ("auto", "none", "sum", "sum_over_batch_size"):
            raise ValueError(f"Invalid Reduction Key {reduction}.")
        self.reduction = reduction
        self.name = name

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example; a subclass says it."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def reduced(self, losses: Any) -> Tensor:
        """The losses of the examples, weighted, as the loss of the batch."""
        mean_or_other = Reduction.SUM_OVER_BATCH_SIZE if self.reduction == Reduction.AUTO else self.reduction
        return reduced(losses, mean_or_other)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch.

        Args:
          sample_weight: [batch], or of the shape of the losses.
        """
        with name_scope("lambda" if self.name == "<lambda>" else self.name or type(self).__name__):
            losses = self.call(y_true, y_pred)
            with name_scope("weighted_loss"):
                return self.reduced(weighted(losses, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"reduction": self.reduction, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss whose `get_config` gave ``config``."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A function as a `Loss`.

    Args:
      fn: of labels, predictions and ``kwargs``.
    """

    def __init__(
        self, fn: Any, reduction: str = Reduction.AUTO, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        self.fn = fn
        self._arguments = kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred, **self._arguments)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments}


_MISSING = frozenset(("cosine_proximity", "cosine_similarity", "CosineSimilarity", "Huber", "huber_loss"))


def refuse_missing(identifier: Any, missing: Collection[str], what: str) -> None:
    """Raises NotImplementedError for a name or a configuration of what TensorFlow has and kvarn has not yet."""
    name = identifier.get("class_name") if isinstance(identifier, dict) else identifier
    if name in missing:
        raise NotImplementedError(f"The Keras {what} {name}")


def get(identifier: Any) -> Any:
    """The function or object that a name or a configuration stands for; what can be called stays as it is.

    Raises:
      ValueError: it stands for none.
      NotImplementedError: it is one that is not there yet.
    """
    from kvarn.keras import loss_classes

    if identifier is None or callable(identifier):
        return identifier
    if isinstance(identifier, (str, dict)):
        refuse_missing(identifier, _MISSING, "loss")
        return identifiers.deserialize(identifier, {**FUNCTIONS, **loss_classes.CLASSES}, "loss function")
    raise ValueError("Could not interpret loss function identifier:", identifier)


def is_loss_of(loss: Any, function: Any) -> bool:
    """Whether a loss is an object for that function of this module."""
    return isinstance(loss, LossFunctionWrapper) and loss.fn is function
