"""`tf.metrics`: values that are updated batch by batch, in local variables.

Each function gives (the value, the operation that adds a batch and gives the value then).

Source: tensorflow/python/ops/metrics_impl.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collections, control_dependencies
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, check, conditional, division, math, selection, state
from kvarn.ops.losses import remove_squeezable_dimensions
from kvarn.ops.weights_broadcast import broadcast_weights
from kvarn.variables.scope import variable_scope
from kvarn.variables.variable import VariableAggregation, VariableSynchronization, VariableV1

Metric = tuple[Any, Any]


def metric_variable(shape: Any, dtype: Any, validate_shape: bool = True, name: str | None = None) -> Any:
    """A variable of zeros in the collections LOCAL_VARIABLES and METRIC_VARIABLES."""
    make: Any = VariableV1
    return make(
        lambda: array.zeros(shape, dtype),
        trainable=False,
        collections=[GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES],
        validate_shape=validate_shape,
        synchronization=VariableSynchronization.ON_READ,
        aggregation=VariableAggregation.SUM,
        name=name,
    )


def collected(value: Any, collections: Any) -> Any:
    """``value``, which goes into ``collections``, if there are any."""
    if collections:
        add_to_collections(collections, value)
    return value


def without_extra_dimensions(predictions: Any, labels: Any, weights: Any) -> tuple[Any, Any, Any]:
    """All three with as many dimensions as the others: without a last one of 1, weights also with one more."""
    predictions = convert_to_tensor(predictions)
    if labels is not None:
        labels, predictions = remove_squeezable_dimensions(labels, predictions)
        predictions.get_shape().assert_is_compatible_with(labels.get_shape())
    if weights is None:
        return predictions, labels, None
    weights = convert_to_tensor(weights)
    rank, wanted = weights.get_shape().ndims, predictions.get_shape().ndims
    if rank == 0:
        return predictions, labels, weights
    if rank is not None and wanted is not None:
        if rank - wanted == 1:
            weights = array.squeeze(weights, [-1])
        elif wanted - rank == 1:
            weights = array.expand_dims(weights, [-1])
        return predictions, labels, weights
    return predictions, labels, _adjusted_while_running(weights, predictions)


def _adjusted_while_running(weights: Tensor, predictions: Tensor) -> Any:
    rank = array.rank(weights)
    more = rank - array.rank(predictions)
    fixed = weights.get_shape().dims is not None and not weights.get_shape()[-1].is_compatible_with(1)

    def squeezed() -> Any:
        return weights if fixed else array.squeeze(weights, [-1])

    def expanded() -> Any:
        return conditional.cond(
            math.equal(more, -1), lambda: array.expand_dims(weights, [-1]), lambda: weights
        )

    return conditional.cond(
        math.equal(rank, 0),
        lambda: weights,
        lambda: conditional.cond(math.equal(more, 1), squeezed, expanded),
    )


# -- means --------------------------------------------------------------------------------------------


def mean(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of all values so far, weighted; 0 before the first.

    Args:
      values: numbers of any shape.
      weights: that broadcast to them.
      metrics_collections, updates_collections: names of collections for the value and for the update.
      name: of the scope of the variables ``total`` and ``count``.
    """
    with variable_scope(name, "mean", (values, weights)):
        values = math.cast(values, dtypes.float32)
        total = metric_variable([], dtypes.float32, name="total")
        count = metric_variable([], dtypes.float32, name="count")
        if weights is None:
            num_values: Any = math.cast(array.size(values), dtypes.float32)
        else:
            values, weights = _weighted(values, weights)
            num_values = math.reduce_sum(weights)
        return _mean(
            total,
            count,
            math.reduce_sum(values),
            num_values,
            values,
            metrics_collections,
            updates_collections,
        )


def mean_tensor(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of all tensors so far, element by element; arguments as of `mean`."""
    with variable_scope(name, "mean", (values, weights)):
        values = math.cast(values, dtypes.float32)
        total = metric_variable(values.get_shape(), dtypes.float32, name="total_tensor")
        count = metric_variable(values.get_shape(), dtypes.float32, name="count_tensor")
        num_values: Any = array.ones_like(values)
        if weights is not None:
            values, weights = _weighted(values, weights)
            num_values = math.multiply(num_values, weights)
        return _mean(total, count, values, num_values, values, metrics_collections, updates_collections)


def _weighted(values: Any, weights: Any) -> tuple[Any, Any]:
    values, _, weights = without_extra_dimensions(values, None, weights)
    weights = broadcast_weights(math.cast(weights, dtypes.float32), values)
    return math.multiply(values, weights), weights


def _mean(
    total: Any,
    count: Any,
    more: Any,
    num_values: Any,
    values: Any,
    metrics_collections: Any,
    updates_collections: Any,
) -> Metric:
    new_total = state.assign_add(total, more)
    with control_dependencies([values]):
        new_count = state.assign_add(count, num_values)
    value = division.div_no_nan(total, math.maximum(count, 0), name="value")
    collected(value, metrics_collections)
    update = division.div_no_nan(new_total, math.maximum(new_count, 0), name="update_op")
    return value, collected(update, updates_collections)


def accuracy(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often ``predictions`` are ``labels``; further arguments as of `mean`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    predictions.get_shape().assert_is_compatible_with(labels.get_shape())
    if labels.dtype != predictions.dtype:
        predictions = math.cast(predictions, labels.dtype)
    is_correct = math.cast(math.equal(predictions, labels), dtypes.float32)
    return mean(is_correct, weights, metrics_collections, updates_collections, name or "accuracy")


def mean_absolute_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of |predictions - labels|; further arguments as of `mean`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    errors = math.abs(predictions - labels)
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_absolute_error")


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of (labels - predictions)²; further arguments as of `mean`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    errors = math.squared_difference(labels, predictions)
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_squared_error")


def root_mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The root of `mean_squared_error`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    name = name or "root_mean_squared_error"
    value, update = mean_squared_error(labels, predictions, weights, None, None, name)
    root = collected(math.sqrt(value), metrics_collections)
    return root, collected(math.sqrt(update), updates_collections)


def mean_relative_error(
    labels: Any,
    predictions: Any,
    normalizer: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of |labels - predictions| / normalizer, 0 where that is 0; further arguments as of `mean`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    predictions, normalizer = remove_squeezable_dimensions(predictions, normalizer)
    predictions.get_shape().assert_is_compatible_with(normalizer.get_shape())
    errors = selection.where(
        math.equal(normalizer, 0.0),
        array.zeros_like(labels),
        division.div(math.abs(labels - predictions), normalizer),
    )
    return mean(errors, weights, metrics_collections, updates_collections, name or "mean_relative_error")


def mean_cosine_distance(
    labels: Any,
    predictions: Any,
    dim: int,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """1 - the mean of the products of unit vectors along ``dim``; further arguments as of `mean`."""
    predictions, labels, weights = without_extra_dimensions(predictions, labels, weights)
    products = math.reduce_sum(math.multiply(predictions, labels), axis=[dim], keepdims=True)
    value, update = mean(products, weights, None, None, name or "mean_cosine_distance")
    value, update = math.subtract(1.0, value), math.subtract(1.0, update)
    return collected(value, metrics_collections), collected(update, updates_collections)


def percentage_below(
    values: Any,
    threshold: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """Which part of the values is less than ``threshold``; further arguments as of `mean`."""
    below = math.cast(math.less(values, threshold), dtypes.float32)
    return mean(
        below, weights, metrics_collections, updates_collections, name or "percentage_below_threshold"
    )


# -- counts -------------------------------------------------------------------------------------------


def _count(values: Any, weights: Any, metrics_collections: Any, updates_collections: Any) -> Metric:
    """How often ``values``, bools, hold, weighted."""
    check.assert_type(values, dtypes.bool)
    count = metric_variable([], dtypes.float32, name="count")
    values = math.cast(values, dtypes.float32)
    if weights is not None:
        with control_dependencies([check.assert_rank_in(weights, (0, array.rank(values)))]):
            weights = math.cast(weights, dtypes.float32)
            values = math.multiply(values, weights)
    value = collected(array.identity(count), metrics_collections)
    update = state.assign_add(count, math.reduce_sum(values))
    return value, collected(update, updates_collections)


def _bools(labels: Any, predictions: Any, weights: Any) -> tuple[Any, Any, Any]:
    return without_extra_dimensions(
        predictions=math.cast(predictions, dtypes.bool),
        labels=math.cast(labels, dtypes.bool),
        weights=weights,
    )


def true_positives(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often both hold; further arguments as of `mean`."""
    with variable_scope(name, "true_positives", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        both = math.logical_and(math.equal(labels, True), math.equal(predictions, True))
        return _count(both, weights, metrics_collections, updates_collections)


def false_positives(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often ``predictions`` hold alone; further arguments as of `mean`."""
    with variable_scope(name, "false_positives", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        alone = math.logical_and(math.equal(labels, False), math.equal(predictions, True))
        return _count(alone, weights, metrics_collections, updates_collections)


def true_negatives(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often neither holds; further arguments as of `mean`."""
    with variable_scope(name, "true_negatives", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        neither = math.logical_and(math.equal(labels, False), math.equal(predictions, False))
        return _count(neither, weights, metrics_collections, updates_collections)


def false_negatives(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often ``labels`` hold alone; further arguments as of `mean`."""
    with variable_scope(name, "false_negatives", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        alone = math.logical_and(math.equal(labels, True), math.equal(predictions, False))
        return _count(alone, weights, metrics_collections, updates_collections)


def _ratio(part: Any, rest: Any, name: str) -> Any:
    return selection.where(math.greater(part + rest, 0), division.div(part, part + rest), 0, name)


def precision(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """Which part of what is predicted is true; further arguments as of `mean`."""
    with variable_scope(name, "precision", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        true, true_update = true_positives(labels, predictions, weights)
        false, false_update = false_positives(labels, predictions, weights)
        value = collected(_ratio(true, false, "value"), metrics_collections)
        return value, collected(_ratio(true_update, false_update, "update_op"), updates_collections)


def recall(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """Which part of what is true is predicted; further arguments as of `mean`."""
    with variable_scope(name, "recall", (predictions, labels, weights)):
        predictions, labels, weights = _bools(labels, predictions, weights)
        true, true_update = true_positives(labels, predictions, weights)
        missed, missed_update = false_negatives(labels, predictions, weights)
        value = collected(_ratio(true, missed, "value"), metrics_collections)
        return value, collected(_ratio(true_update, missed_update, "update_op"), updates_collections)
