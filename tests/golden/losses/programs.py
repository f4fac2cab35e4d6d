"""Losses, each in a graph of its own: ``PROGRAMS[name](tf)`` returns what to fetch and what to feed."""

import numpy as np

LABELS = np.array([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]], np.float32)
PREDICTIONS = np.array([[0.5, 0.25, 0.125], [0.75, 0.5, 0.25]], np.float32)
PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def dense(make, name):
    """Three programs of a loss: of constants, of constants with weights, and of unknown shapes with weights."""

    def plain(tf):
        return make(tf, tf.constant(LABELS), tf.constant(PREDICTIONS), {}), {}

    def weighted(tf):
        weights = {"weights": tf.constant([[2.0], [0.0]]), "scope": "mine"}
        return make(tf, tf.constant(LABELS), tf.constant(PREDICTIONS), weights), {}

    def dynamic(tf):
        labels = tf.placeholder(tf.float32, [None, 3], name="labels")
        predictions = tf.placeholder(tf.float32, [None, 3], name="predictions")
        weights = tf.placeholder(tf.float32, [None, 1], name="weights")
        fed = {labels: LABELS, predictions: PREDICTIONS, weights: [[0.5], [3.0]]}
        return make(tf, labels, predictions, {"weights": weights}), fed

    PROGRAMS.update({name: plain, name + "_weighted": weighted, name + "_dynamic": dynamic})


dense(lambda tf, y, x, k: tf.losses.absolute_difference(y, x, **k), "absolute_difference")
dense(lambda tf, y, x, k: tf.losses.cosine_distance(y, x, axis=1, **k), "cosine_distance")
dense(lambda tf, y, x, k: tf.losses.hinge_loss(y, x, **k), "hinge_loss")
dense(lambda tf, y, x, k: tf.losses.huber_loss(y, x, delta=0.3, **k), "huber_loss")
dense(lambda tf, y, x, k: tf.losses.log_loss(y, x, **k), "log_loss")
dense(lambda tf, y, x, k: tf.losses.mean_squared_error(y, x, **k), "mean_squared_error")
dense(lambda tf, y, x, k: tf.losses.mean_pairwise_squared_error(y, x, **k), "mean_pairwise_squared_error")
dense(lambda tf, y, x, k: tf.losses.sigmoid_cross_entropy(y, x, label_smoothing=0.1, **k), "sigmoid")


@program
def softmax(tf):
    return tf.losses.softmax_cross_entropy(LABELS, tf.constant(PREDICTIONS), label_smoothing=0.1), {}


@program
def softmax_weighted(tf):
    weights = tf.placeholder(tf.float32, [None], name="weights")
    loss = tf.losses.softmax_cross_entropy(LABELS, tf.constant(PREDICTIONS), weights=weights)
    return loss, {weights: [1.0, 3.0]}


@program
def sparse_softmax(tf):
    labels = tf.constant([[1], [2]])
    return tf.losses.sparse_softmax_cross_entropy(
        labels, tf.constant(PREDICTIONS), weights=[[1.0], [2.0]]
    ), {}


@program
def sparse_softmax_of_unknown_rank(tf):
    labels = tf.placeholder(tf.int32, name="labels")
    logits = tf.placeholder(tf.float32, [None, 3], name="logits")
    weights = tf.placeholder(tf.float32, name="weights")
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits, weights=weights)
    return loss, {labels: [[1], [2]], logits: PREDICTIONS, weights: [1.0, 2.0]}


def reduced(name):
    def build(tf):
        reduction = getattr(tf.losses.Reduction, name)
        weights = tf.constant([[1.0, 0.0, 2.0], [0.0, 0.0, 4.0]])
        return tf.losses.compute_weighted_loss(tf.constant(PREDICTIONS), weights, reduction=reduction), {}

    PROGRAMS["reduction_" + name] = build


for kind in ("NONE", "SUM", "SUM_OVER_BATCH_SIZE", "MEAN", "SUM_BY_NONZERO_WEIGHTS"):
    reduced(kind)


@program
def of_whole_numbers(tf):
    return tf.losses.compute_weighted_loss(tf.constant([1, 2, 6]), 2.0), {}


@program
def totals(tf):
    tf.losses.mean_squared_error(LABELS, tf.constant(PREDICTIONS), scope="first")
    tf.losses.absolute_difference(LABELS, tf.constant(PREDICTIONS), loss_collection=None)
    empty = tf.losses.get_regularization_loss()
    tf.get_variable(
        "w", [], initializer=tf.ones_initializer(), regularizer=lambda w: w.initialized_value() * 3.0
    )
    found = [
        tf.losses.get_total_loss(),
        tf.losses.get_total_loss(False),
        tf.losses.get_regularization_loss(),
        empty,
    ]
    return found, {}
