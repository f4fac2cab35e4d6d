"""`tf.metrics` of probabilities: counts at thresholds, and the area under a curve of them.

Source: tensorflow/python/ops/metrics_impl.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.graph.convert import constant
from kvarn.graph.graph import control_dependencies
from kvarn.ops import array, check, division, joining, layout, math, selection, state
from kvarn.ops.weights_broadcast import broadcast_weights
from kvarn.variables.metrics import Metric, collected, metric_variable, without_extra_dimensions
from kvarn.variables.scope import variable_scope

_EPSILON = 1e-7  # rounding must not move a prediction of 0 or 1 out of range
_NAMES = {"tp": "true_positives", "fn": "false_negatives", "tn": "true_negatives", "fp": "false_positives"}


def _counts(
    labels: Any, predictions: Any, thresholds: Sequence[float], weights: Any, includes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each of ``includes`` (keys of `_NAMES`) the variable [number of thresholds] and its update."""
    message = "predictions must be in [0, 1]"
    in_range = [
        check.assert_greater_equal(predictions, math.cast(0.0, predictions.dtype), message=message),
        check.assert_less_equal(predictions, math.cast(1.0, predictions.dtype), message=message),
    ]
    with control_dependencies(in_range):
        predictions, labels, weights = without_extra_dimensions(
            math.cast(predictions, dtypes.float32), math.cast(labels, dtypes.bool), weights
        )
    count = len(thresholds)
    column = array.reshape(predictions, [-1, 1])
    row = array.reshape(math.cast(labels, dtypes.bool), [1, -1])
    size = column.get_shape().as_list()[0]
    if size is None:
        size = array.shape(column)[0]
    limits = layout.tile(array.expand_dims(constant(thresholds), [1]), joining.stack([1, size]))
    is_positive = math.greater(layout.tile(layout.transpose(column), [count, 1]), limits)
    predicted = {"p": is_positive}
    if "fn" in includes or "tn" in includes:
        predicted["n"] = math.logical_not(is_positive)
    label = layout.tile(row, [count, 1])
    is_so = {True: label}
    if "fp" in includes or "tn" in includes:
        is_so[False] = math.logical_not(label)
    if weights is not None:
        weights = broadcast_weights(math.cast(weights, dtypes.float32), predictions)
        weights = layout.tile(array.reshape(weights, [1, -1]), [count, 1])
        limits.get_shape().assert_is_compatible_with(weights.get_shape())
    values, updates = {}, {}
    for key, name in _NAMES.items():
        if key in includes:
            values[key] = metric_variable([count], dtypes.float32, name=name)
            found = math.cast(math.logical_and(is_so[key in ("tp", "fn")], predicted[key[1]]), dtypes.float32)
            if weights is not None:
                found *= weights
            updates[key] = state.assign_add(values[key], math.reduce_sum(found, 1))
    return values, updates


def _evenly(count: int) -> list[float]:
    """Of ``count`` thresholds all but the last."""
    return [0.0 - _EPSILON, *[(i + 1) * 1.0 / (count - 1) for i in range(count - 2)]]


def auc(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    curve: str = "ROC",
    name: str | None = None,
    summation_method: str = "trapezoidal",
    thresholds: Sequence[float] | None = None,
) -> Metric:
    """The area under a curve, by counts at thresholds.

    Args:
      labels: bools, or what can be cast to them.
      predictions: probabilities, in [0, 1].
      weights: that broadcast to them.
      num_thresholds: how many there are, evenly spread.
      metrics_collections, updates_collections: names of collections for the value and for the update.
      curve: ``"ROC"`` or ``"PR"``.
      name: of the scope of the variables.
      summation_method: ``"trapezoidal"``, ``"careful_interpolation"``, ``"minoring"`` or ``"majoring"``.
      thresholds: the thresholds between 0 and 1, instead of a number of them.

    Raises:
      ValueError: there is no such curve or method.
      InvalidArgumentError (when run): a prediction is not in [0, 1].
    """
    with variable_scope(name, "auc", (labels, predictions, weights)):
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve must be either ROC or PR, {curve} unknown")
        below = _evenly(num_thresholds) if thresholds is None else [0.0 - _EPSILON, *sorted(thresholds)]
        limits = [*below, 1.0 + _EPSILON]
        values, updates = _counts(labels, predictions, limits, weights, tuple(_NAMES))
        value = collected(_area(values, curve, summation_method, len(limits), "value"), metrics_collections)
        update = _area(updates, curve, summation_method, len(limits), "update_op")
        return value, collected(update, updates_collections)


def _area(counts: dict[str, Any], curve: str, method: str, count: int, name: str) -> Any:
    tp, fn, tn, fp = (counts[key] for key in ("tp", "fn", "tn", "fp"))
    epsilon = 1.0e-6
    if curve == "PR":
        if method == "trapezoidal":
            tf_logging.warning(
                "Trapezoidal rule is known to produce incorrect PR-AUCs; please switch to "
                '"careful_interpolation" instead.'
            )
        elif method == "careful_interpolation":
            return _interpolated(tp, fp, fn, count)
    recall = division.div(tp + epsilon, tp + fn + epsilon)
    if curve == "ROC":
        x, y = division.div(fp, fp + tn + epsilon), recall
    else:
        x, y = recall, division.div(tp + epsilon, tp + fp + epsilon)
    if method in ("trapezoidal", "careful_interpolation"):
        width = x[: count - 1] - x[1:]
        return math.reduce_sum(math.multiply(width, (y[: count - 1] + y[1:]) / 2.0), name=name)
    if method not in ("minoring", "majoring"):
        raise ValueError(f"Invalid summation_method: {method}")
    choose = math.minimum if method == "minoring" else math.maximum
    width = x[: count - 1] - x[1:]
    return math.reduce_sum(math.multiply(width, choose(y[: count - 1], y[1:])), name=name)


def _interpolated(tp: Any, fp: Any, fn: Any, count: int) -> Any:
    """The area under precision over recall, where true and false positives grow evenly between thresholds."""
    more = tp[: count - 1] - tp[1:]
    p = tp + fp
    slope = division.div_no_nan(more, math.maximum(p[: count - 1] - p[1:], 0), name="prec_slope")
    intercept = tp[1:] - math.multiply(slope, p[1:])
    ratio = selection.where(
        math.logical_and(p[: count - 1] > 0, p[1:] > 0),
        division.div_no_nan(p[: count - 1], math.maximum(p[1:], 0), name="recall_relative_ratio"),
        array.ones_like(p[1:]),
    )
    parts = division.div_no_nan(
        slope * (more + intercept * math.log(ratio)),
        math.maximum(tp[1:] + fn[1:], 0),
        name="pr_auc_increment",
    )
    return math.reduce_sum(parts, name="interpolate_pr_auc")


def _at_thresholds(
    name: str | None,
    default: str,
    includes: Sequence[str],
    compute: Callable[[dict[str, Any], str], Any],
    given: tuple[Any, ...],
) -> Metric:
    labels, predictions, thresholds, weights, metrics_collections, updates_collections = given
    with variable_scope(name, default, (predictions, labels, weights)):
        values, updates = _counts(labels, predictions, thresholds, weights, includes)
        value = collected(compute(values, "value"), metrics_collections)
        return value, collected(compute(updates, "update_op"), updates_collections)


def precision_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """Precision [number of thresholds] of predicting what is more probable than each; arguments as of `auc`."""

    def compute(c: dict[str, Any], word: str) -> Any:
        return division.div(c["tp"], _EPSILON + c["tp"] + c["fp"], name="precision_" + word)

    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _at_thresholds(name, "precision_at_thresholds", ("tp", "fp"), compute, given)


def recall_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """Recall [number of thresholds] of predicting what is more probable than each; arguments as of `auc`."""

    def compute(c: dict[str, Any], word: str) -> Any:
        return division.div(c["tp"], _EPSILON + c["tp"] + c["fn"], name="recall_" + word)

    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _at_thresholds(name, "recall_at_thresholds", ("tp", "fn"), compute, given)


def true_positives_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often both hold at each threshold, by what is more probable; arguments as of `auc`."""
    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _counted("tp", name, given)


def false_positives_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often predictions hold alone at each threshold, by what is more probable; arguments as of `auc`."""
    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _counted("fp", name, given)


def true_negatives_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often neither holds at each threshold, by what is more probable; arguments as of `auc`."""
    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _counted("tn", name, given)


def false_negatives_at_thresholds(
    labels: Any,
    predictions: Any,
    thresholds: Sequence[float],
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often labels hold alone at each threshold, by what is more probable; arguments as of `auc`."""
    given = (labels, predictions, thresholds, weights, metrics_collections, updates_collections)
    return _counted("fn", name, given)


def _counted(key: str, name: str | None, given: tuple[Any, ...]) -> Metric:
    def compute(c: dict[str, Any], word: str) -> Any:
        return array.identity(c[key]) if word == "value" else c[key]

    return _at_thresholds(name, _NAMES[key], (key,), compute, given)


def sensitivity_at_specificity(
    labels: Any,
    predictions: Any,
    specificity: float,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The part of what is true that is predicted at the threshold where ``specificity`` is met best.

    Args:
      specificity: in [0, 1]: the part of what is false that is not predicted.
      labels, predictions, weights, num_thresholds, metrics_collections, updates_collections, name: as of `auc`.

    Raises:
      ValueError: ``specificity`` is not in [0, 1].
    """
    _check_part("specificity", specificity)

    def compute(c: dict[str, Any], word: str) -> Any:
        found = division.div(c["tn"], c["tn"] + c["fp"] + _EPSILON)
        at = math.cast(math.argmin(math.abs(found - specificity), 0), dtypes.int32)
        return division.div(c["tp"][at], c["tp"][at] + c["fn"][at] + _EPSILON, word)

    limits = [*_evenly(num_thresholds), 1.0 + _EPSILON]
    given = (labels, predictions, limits, weights, metrics_collections, updates_collections)
    return _at_thresholds(name, "sensitivity_at_specificity", tuple(_NAMES), compute, given)


def specificity_at_sensitivity(
    labels: Any,
    predictions: Any,
    sensitivity: float,
    weights: Any = None,
    num_thresholds: int = 200,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The part of what is false that is not predicted at the last threshold where ``sensitivity`` is met best.

    Args:
      sensitivity: in [0, 1]: the part of what is true that is predicted.
      labels, predictions, weights, num_thresholds, metrics_collections, updates_collections, name: as of `auc`.

    Raises:
      ValueError: ``sensitivity`` is not in [0, 1].
    """
    _check_part("sensitivity", sensitivity)

    def compute(c: dict[str, Any], word: str) -> Any:
        found = division.div(c["tp"], c["tp"] + c["fn"] + _EPSILON)
        least = math.reduce_min(math.abs(found - sensitivity))
        best = math.cast(math.equal(math.abs(found - sensitivity), least), dtypes.int64)
        at = math.cast(math.argmax(math.cumsum(best), 0), dtypes.int32)
        return division.div(c["tn"][at], c["tn"][at] + c["fp"][at] + _EPSILON, word)

    limits = [*_evenly(num_thresholds), 1.0 - _EPSILON]
    given = (labels, predictions, limits, weights, metrics_collections, updates_collections)
    return _at_thresholds(name, "specificity_at_sensitivity", tuple(_NAMES), compute, given)


def _check_part(what: str, value: float) -> None:
    if value < 0 or value > 1:
        raise ValueError(f"`{what}` must be in the range [0, 1].")
