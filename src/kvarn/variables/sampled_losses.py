"""Losses of many classes, of which each step sees the true ones and a sample of the others.

Source: tensorflow/python/ops/nn_impl.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.math as math_ops
import kvarn.ops.nn as nn
import kvarn.ops.unary as unary_ops
from kvarn import dtypes
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import candidate_sampling, sparse
from kvarn.ops.linalg import matmul
from kvarn.variables.embedding_ops import embedding_lookup
from kvarn.variables.partitioned_variable import PartitionedVariable


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str = "nce_loss",
) -> Tensor:
    """The noise-contrastive estimation loss of each example.

    Args:
      weights: [num_classes, dim], or a list of its parts, or a partitioned variable.
      biases: [num_classes].
      labels: int64 [batch, num_true], the true classes.
      inputs: [batch, dim].
      num_sampled: how many classes to draw for the batch.
      num_classes: how many there are.
      num_true: true classes of each example.
      sampled_values: what a candidate sampler returned; by default `log_uniform_candidate_sampler` draws.
      remove_accidental_hits: whether sampled classes that are true ones do not count as sampled.
      partition_strategy: of the parts of ``weights``, "mod" or "div".

    Returns:
      A vector of one loss for each example.
    """
    logits, targets = _compute_sampled_logits(
        weights=weights,
        biases=biases,
        labels=labels,
        inputs=inputs,
        num_sampled=num_sampled,
        num_classes=num_classes,
        num_true=num_true,
        sampled_values=sampled_values,
        subtract_log_q=True,
        remove_accidental_hits=remove_accidental_hits,
        partition_strategy=partition_strategy,
        name=name,
    )
    losses = nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits, name="sampled_losses")
    # Sums over true and sampled classes alike.
    return _sum_rows(losses)


def nce_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str = "nce_loss",
) -> Tensor:
    """`nce_loss` as TensorFlow 2 has it: parts are cut by "div"."""
    return nce_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true=num_true,
        sampled_values=sampled_values,
        remove_accidental_hits=remove_accidental_hits,
        partition_strategy="div",
        name=name,
    )


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    name: str = "sampled_softmax_loss",
    seed: int | None = None,
) -> Tensor:
    """The cross entropy of each example with the softmax over its true and the sampled classes.

    Takes the arguments of `nce_loss`, and the seed of the sampler.
    """
    logits, targets = _compute_sampled_logits(
        weights=weights,
        biases=biases,
        labels=labels,
        inputs=inputs,
        num_sampled=num_sampled,
        num_classes=num_classes,
        num_true=num_true,
        sampled_values=sampled_values,
        subtract_log_q=True,
        remove_accidental_hits=remove_accidental_hits,
        partition_strategy=partition_strategy,
        name=name,
        seed=seed,
    )
    targets = array_ops.stop_gradient(targets, name="labels_stop_gradient")
    return nn.softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits)


def sampled_softmax_loss_v2(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: int | None = None,
    name: str = "sampled_softmax_loss",
) -> Tensor:
    """`sampled_softmax_loss` as TensorFlow 2 has it: parts are cut by "div"."""
    return sampled_softmax_loss(
        weights,
        biases,
        labels,
        inputs,
        num_sampled,
        num_classes,
        num_true=num_true,
        sampled_values=sampled_values,
        remove_accidental_hits=remove_accidental_hits,
        partition_strategy="div",
        name=name,
        seed=seed,
    )


def _sum_rows(x: Tensor) -> Tensor:
    """The sum of each row of a matrix, by a product, which is faster than a reduction."""
    columns = array_ops.shape(x)[1]
    ones = array_ops.ones(array_ops.stack([columns, 1]), x.dtype)
    return array_ops.reshape(matmul(x, ones), [-1])


def _compute_sampled_logits(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    subtract_log_q: bool = True,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    name: str | None = None,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of the true and of the sampled classes, and their labels: both [batch, num_true + num_sampled].

    Takes the arguments of `sampled_softmax_loss`.

    Args:
      subtract_log_q: whether the logarithm of a class's expected count in the sample is subtracted from its logit.
    """
    if isinstance(weights, PartitionedVariable):
        weights = list(weights)
    if not isinstance(weights, list):
        weights = [weights]
    with name_scope(name, "compute_sampled_logits", [*weights, biases, inputs, labels]):
        if labels.dtype != dtypes.int64:
            labels = casting.cast(labels, dtypes.int64)
        labels_flat = array_ops.reshape(labels, [-1])
        if sampled_values is None:
            sampled_values = candidate_sampling.log_uniform_candidate_sampler(
                true_classes=labels,
                num_true=num_true,
                num_sampled=num_sampled,
                unique=True,
                range_max=num_classes,
                seed=seed,
            )
        sampled, true_expected, sampled_expected = [array_ops.stop_gradient(s) for s in sampled_values]
        sampled = casting.cast(sampled, dtypes.int64)
        # One lookup for all classes.
        all_ids = array_ops.concat([labels_flat, sampled], 0)

        def looked_up(params: Any) -> Any:
            found = embedding_lookup(params, all_ids, partition_strategy=partition_strategy)
            return found if found.dtype == inputs.dtype else casting.cast(found, inputs.dtype)

        all_w = looked_up(weights)
        true_w = array_ops.slice(all_w, [0, 0], array_ops.stack([array_ops.shape(labels_flat)[0], -1]))
        sampled_w = array_ops.slice(all_w, array_ops.stack([array_ops.shape(labels_flat)[0], 0]), [-1, -1])
        sampled_logits: Any = matmul(inputs, sampled_w, transpose_b=True)
        all_b = looked_up(biases)
        true_b = array_ops.slice(all_b, [0], array_ops.shape(labels_flat))
        sampled_b = array_ops.slice(all_b, array_ops.shape(labels_flat), [-1])

        dim = array_ops.shape(true_w)[1:2]
        true_w_shape = array_ops.concat([[-1, num_true], dim], 0)
        products = math_ops.multiply(
            array_ops.expand_dims(inputs, 1), array_ops.reshape(true_w, true_w_shape)
        )
        product_rows = array_ops.reshape(products, array_ops.concat([[-1], dim], 0))
        true_logits: Any = array_ops.reshape(_sum_rows(product_rows), [-1, num_true])
        true_logits += array_ops.reshape(true_b, [-1, num_true])
        sampled_logits += sampled_b
        if remove_accidental_hits:
            sampled_logits += _hits(labels, sampled, num_true, num_sampled, sampled_logits.dtype)
        if subtract_log_q:
            true_logits -= unary_ops.log(true_expected)
            sampled_logits -= unary_ops.log(sampled_expected)
        logits = array_ops.concat([true_logits, sampled_logits], 1)
        # The true classes share the probability among them.
        targets = array_ops.concat(
            [array_ops.ones_like(true_logits) / num_true, array_ops.zeros_like(sampled_logits)], 1
        )
        return logits, targets


def _hits(labels: Any, sampled: Any, num_true: int, num_sampled: int, dtype: Any) -> Any:
    """What to add to sampled logits: the least float where the class is a true one, else 0."""
    rows, ids, weights = candidate_sampling.compute_accidental_hits(labels, sampled, num_true=num_true)
    rows = array_ops.reshape(rows, [-1, 1])
    ids = array_ops.reshape(casting.cast(ids, dtypes.int32), [-1, 1])
    indices = array_ops.concat([rows, ids], 1, "sparse_indices")
    shape = array_ops.concat([array_ops.shape(labels)[:1], array_ops.expand_dims(num_sampled, 0)], 0)
    if dtype != weights.dtype:
        weights = casting.cast(weights, dtype)
    return sparse.sparse_to_dense(indices, shape, weights, default_value=0.0, validate_indices=False)
