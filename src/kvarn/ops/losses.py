"""`tf.losses`: losses with weights, kept in a collection.

Source: tensorflow/python/ops/losses/{losses_impl,util}.py, tensorflow/python/ops/confusion_matrix.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    control_dependencies,
    get_collection,
    get_default_graph,
    name_scope,
)
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, conditional, math, nn, ranges
from kvarn.ops.weights_broadcast import assert_broadcastable, broadcast_weights


class Reduction:
    """What becomes of weighted losses: they stay, or are summed, or also divided by a number.

    Attributes:
      NONE, SUM: they stay; their sum.
      SUM_OVER_BATCH_SIZE: divided by how many there are.
      MEAN: divided by the sum of the weights.
      SUM_BY_NONZERO_WEIGHTS: divided by how many have another weight than 0.
    """

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Every kind, by all its names."""
        return (
            cls.NONE,
            cls.SUM,
            cls.MEAN,
            cls.SUM_OVER_BATCH_SIZE,
            cls.SUM_OVER_NONZERO_WEIGHTS,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )

    @classmethod
    def validate(cls, key: Any) -> None:
        """ValueError for what is none of them."""
        if key not in cls.all():
            raise ValueError(f"Invalid Reduction Key {key}.")


def _safe_mean(losses: Any, num_present: Any) -> Any:
    return math.div_no_nan(math.reduce_sum(losses), num_present, name="value")


def _num_present(losses: Any, weights: Any, per_batch: bool = False) -> Any:
    """How many losses have another weight than 0; with ``per_batch`` for each element of the first dimension."""
    with name_scope(None, "num_present", (losses, weights)) as scope:
        weights = math.cast(weights, dtype=dtypes.float32)
        is_absent = math.equal(weights, 0.0)
        present = array.where(is_absent, array.zeros_like(weights), array.ones_like(weights))
        present = broadcast_weights(present, losses)
        if per_batch:
            axes = ranges.range(1, array.rank(present))
            return math.reduce_sum(present, axis=axes, keepdims=True, name=scope)
        return math.reduce_sum(present, name=scope)


def _num_elements(losses: Any) -> Any:
    with name_scope(None, "num_elements", values=[losses]) as scope:
        return math.cast(array.size(losses, name=scope), dtype=losses.dtype)


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """``losses * weights``, reduced and put into a collection.

    Args:
      losses: [batch, d1, … dn].
      weights: a scalar, or of the rank of ``losses`` with the same sizes or 1.
      loss_collection: its name; None for no collection.
      reduction: a `Reduction`.

    Returns:
      A tensor of the type of ``losses``: of their shape without a reduction, a scalar else.

    Raises:
      ValueError: the weights do not fit, or there is no such reduction.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", (losses, weights)):
        graph: Any = get_default_graph()
        graph._last_loss_reduction = reduction
        with control_dependencies((assert_broadcastable(weights, losses),)):
            losses = convert_to_tensor(losses)
            kind = losses.dtype
            losses = math.cast(losses, dtype=dtypes.float32)
            weights = math.cast(weights, dtype=dtypes.float32)
            loss: Any = math.multiply(losses, weights)
            if reduction != Reduction.NONE:
                loss = math.reduce_sum(loss)
            if reduction == Reduction.MEAN:
                loss = _safe_mean(loss, math.reduce_sum(array.ones_like(losses) * weights))
            elif reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
                loss = _safe_mean(loss, _num_present(losses, weights))
            elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
                loss = _safe_mean(loss, _num_elements(losses))
            found: Tensor = math.cast(loss, kind)
            add_loss(found, loss_collection)
            return found


def _check_given(**values: Any) -> None:
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name} must not be None.")


def _floats(predictions: Any, labels: Any) -> tuple[Any, Any]:
    """Both as float32; ValueError if their shapes cannot be the same."""
    predictions = math.cast(predictions, dtype=dtypes.float32)
    labels = math.cast(labels, dtype=dtypes.float32)
    predictions.shape.assert_is_compatible_with(labels.shape)
    return predictions, labels


def absolute_difference(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """|predictions - labels|; see `compute_weighted_loss`."""
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "absolute_difference", (predictions, labels, weights)) as inner:
        predictions, labels = _floats(predictions, labels)
        losses = math.abs(math.subtract(predictions, labels))
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def cosine_distance(
    labels: Any,
    predictions: Any,
    axis: int | None = None,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
    dim: int | None = None,
) -> Tensor:
    """1 - the sum of predictions * labels along ``axis`` (once ``dim``); both are to have length 1 along it.

    Raises:
      ValueError: no axis, or both, and as `compute_weighted_loss`.
    """
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'")
        axis = dim
    if axis is None:
        raise ValueError("You must specify 'axis'.")
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "cosine_distance_loss", (predictions, labels, weights)) as inner:
        predictions, labels = _floats(predictions, labels)
        radial_diffs = math.multiply(predictions, labels)
        losses = 1 - math.reduce_sum(radial_diffs, axis=(axis,), keepdims=True)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def hinge_loss(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """max(0, 1 - y * logits), y being -1 for label 0 and 1 for label 1; see `compute_weighted_loss`."""
    _check_given(labels=labels, logits=logits)
    with name_scope(scope, "hinge_loss", (logits, labels, weights)) as inner:
        logits, labels = _floats(logits, labels)
        all_ones = array.ones_like(labels)
        labels = math.subtract(2 * labels, all_ones)
        losses = nn.relu(math.subtract(all_ones, math.multiply(labels, logits)))
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def huber_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """Half the square of the error up to ``delta``, linear beyond; see `compute_weighted_loss`."""
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "huber_loss", (predictions, labels, weights)) as inner:
        predictions, labels = _floats(predictions, labels)
        error = math.abs(math.subtract(predictions, labels))
        quadratic = math.minimum(error, delta)
        linear = math.subtract(error, quadratic)
        half = convert_to_tensor(0.5, dtype=quadratic.dtype)
        losses = math.add(
            math.multiply(half, math.multiply(quadratic, quadratic)), math.multiply(delta, linear)
        )
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def log_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """-labels * log(predictions) - (1 - labels) * log(1 - predictions); ``epsilon`` is added before each log."""
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "log_loss", (predictions, labels, weights)) as inner:
        predictions, labels = _floats(predictions, labels)
        losses = -math.multiply(labels, math.log(predictions + epsilon)) - math.multiply(
            1 - labels, math.log(1 - predictions + epsilon)
        )
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """(predictions - labels) ** 2; see `compute_weighted_loss`."""
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "mean_squared_error", (predictions, labels, weights)) as inner:
        predictions, labels = _floats(predictions, labels)
        losses = math.squared_difference(predictions, labels)
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def mean_pairwise_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
) -> Tensor:
    """How far the differences between pairs of elements of predictions are from those of labels, squared.

    Args:
      labels, predictions: [batch, …].
      weights: a scalar, or one for each element of the batch.
    """
    _check_given(labels=labels, predictions=predictions)
    with name_scope(scope, "mean_pairwise_squared_error", (predictions, labels, weights)):
        weights = math.cast(weights, dtype=dtypes.float32)
        labels = math.cast(labels, dtype=dtypes.float32)
        with control_dependencies((assert_broadcastable(weights, labels),)):
            predictions = math.cast(predictions, dtype=dtypes.float32)
            predictions.shape.assert_is_compatible_with(labels.shape)
            diffs = math.subtract(predictions, labels)
            axes = ranges.range(1, array.rank(diffs))
            squares = math.reduce_sum(math.square(diffs), axis=axes, keepdims=True)
            count = _num_present(diffs, weights, per_batch=True)
            of_squares = 2.0 * math.div_no_nan(squares, math.maximum(count - 1, 0), name="value")
            total = math.reduce_sum(diffs, axis=axes, keepdims=True)
            square = math.square(total)
            pairs = math.maximum(math.multiply(count, count - 1), 0)
            of_total = 2.0 * math.div_no_nan(square, pairs, name="value")
            loss = math.reduce_sum(math.multiply(of_squares - of_total, weights))
            found: Tensor = array.where(
                math.reduce_sum(count) > 0, loss, array.zeros_like(loss), name="value"
            )
            add_loss(found, loss_collection)
            return found


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """`tf.nn.sigmoid_cross_entropy_with_logits`; ``label_smoothing`` moves labels towards 1/2."""
    _check_given(multi_class_labels=multi_class_labels, logits=logits)
    with name_scope(scope, "sigmoid_cross_entropy_loss", (logits, multi_class_labels, weights)) as inner:
        logits = convert_to_tensor(logits)
        labels = math.cast(multi_class_labels, logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits, name="xentropy")
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """`tf.nn.softmax_cross_entropy_with_logits_v2`; ``label_smoothing`` moves labels towards 1 / classes."""
    _check_given(onehot_labels=onehot_labels, logits=logits)
    with name_scope(scope, "softmax_cross_entropy_loss", (logits, onehot_labels, weights)) as inner:
        logits = convert_to_tensor(logits)
        labels = math.cast(onehot_labels, logits.dtype)
        logits.shape.assert_is_compatible_with(labels.shape)
        if label_smoothing > 0:
            num_classes = math.cast(array.shape(labels)[-1], logits.dtype)
            negative = label_smoothing / num_classes
            labels = labels * (1.0 - label_smoothing) + negative
        labels = array.stop_gradient(labels, name="labels_stop_gradient")
        losses = nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits, name="xentropy")
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`; a last dimension of 1 of labels or weights is dropped."""
    _check_given(labels=labels, logits=logits)
    with name_scope(scope, "sparse_softmax_cross_entropy_loss", (logits, labels, weights)) as inner:
        labels, logits = remove_squeezable_dimensions(labels, logits, expected_rank_diff=1)
        weights = _squeezed_weights(convert_to_tensor(weights), labels)
        losses = nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name="xentropy")
        return compute_weighted_loss(losses, weights, inner, loss_collection, reduction=reduction)


def _ends_in_one(x: Any) -> bool:
    """Whether the last dimension may be 1."""
    dims = x.shape.dims
    return dims is None or (len(dims) > 0 and dims[-1].is_compatible_with(1))


def _squeezed_if(condition: Any, x: Any) -> Any:
    return conditional.cond(condition, lambda: array.squeeze(x, [-1]), lambda: x)


def _squeezed_weights(weights: Any, labels: Any) -> Any:
    """``weights`` without a last dimension that ``labels`` do not have."""
    if labels.shape.ndims is not None and weights.shape.ndims is not None:
        more = weights.shape.ndims - labels.shape.ndims
        return array.squeeze(weights, [-1]) if more == 1 else weights
    rank_diff = array.rank(weights) - array.rank(labels)
    return _squeezed_if(math.equal(1, rank_diff), weights) if _ends_in_one(weights) else weights


def remove_squeezable_dimensions(
    labels: Any, predictions: Any, expected_rank_diff: int = 0, name: str | None = None
) -> tuple[Any, Any]:
    """Both, without a last dimension of 1 in the one that has one dimension more than ``expected_rank_diff`` says."""
    with name_scope(name, "remove_squeezable_dimensions", [labels, predictions]):
        predictions, labels = convert_to_tensor(predictions), convert_to_tensor(labels)
        if predictions.shape.ndims is not None and labels.shape.ndims is not None:
            more = predictions.shape.ndims - labels.shape.ndims - expected_rank_diff
            if more == 1 and _ends_in_one(predictions):
                predictions = array.squeeze(predictions, [-1])
            elif more == -1 and _ends_in_one(labels):
                labels = array.squeeze(labels, [-1])
            return labels, predictions
        rank_diff = array.rank(predictions) - array.rank(labels)
        if _ends_in_one(predictions):
            predictions = _squeezed_if(math.equal(expected_rank_diff + 1, rank_diff), predictions)
        if _ends_in_one(labels):
            labels = _squeezed_if(math.equal(expected_rank_diff - 1, rank_diff), labels)
        return labels, predictions


def add_loss(loss: Any, loss_collection: Any = GraphKeys.LOSSES) -> None:
    """Puts a loss into a collection, if there is one to put it in."""
    if loss_collection:
        add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES) -> list[Any]:
    """The losses of a collection, of those whose names begin with ``scope`` if that is given."""
    return list(get_collection(loss_collection, scope))


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """The losses of the regularizers of variables."""
    return list(get_collection(GraphKeys.REGULARIZATION_LOSSES, scope))


def get_regularization_loss(scope: str | None = None, name: str = "total_regularization_loss") -> Any:
    """The sum of these; 0.0 if there are none."""
    losses = get_regularization_losses(scope)
    return math.add_n(losses, name=name) if losses else constant(0.0)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Any:
    """The sum of all losses.

    Raises:
      ValueError: there are none.
    """
    losses = get_losses(scope=scope)
    if add_regularization_losses:
        losses += get_regularization_losses(scope=scope)
    return math.add_n(losses, name=name)
