"""Metrics of a few batches, for TensorFlow 1.15 and kvarn alike.

Each program takes the module and placeholders of labels [n], predictions [n] and weights [n], and gives a metric.
"""

PROGRAMS = {}

BATCHES = [
    ([1.0, 0.0, 1.0, 1.0], [0.9, 0.2, 0.4, 0.6], [1.0, 2.0, 0.5, 1.0]),
    ([0.0, 0.0], [0.7, 0.0], [1.0, 3.0]),
    ([1.0, 0.0, 0.0], [1.0, 0.45, 0.3], [0.25, 1.0, 0.0]),
]


def program(name):
    def put(build):
        PROGRAMS[name] = build
        return build

    return put


def of_pairs(name, **options):
    for weighted in (False, True):

        def build(tf, labels, predictions, weights, weighted=weighted):
            given = dict(options, weights=weights) if weighted else options
            return getattr(tf.metrics, name)(labels, predictions, **given)

        suffix = "".join(f"_{v}" for v in options.values() if isinstance(v, (str, list)))
        PROGRAMS[name + suffix + ("_weighted" if weighted else "")] = build


for simple in ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "auc"):
    of_pairs(simple)
for method in ("minoring", "majoring", "careful_interpolation"):
    of_pairs("auc", num_thresholds=5, summation_method=method)
for method in ("trapezoidal", "careful_interpolation", "minoring"):
    of_pairs("auc", num_thresholds=6, summation_method=method, curve="PR")
of_pairs("precision_at_thresholds", thresholds=[0.25, 0.5])
of_pairs("recall_at_thresholds", thresholds=[0.25, 0.5, 0.8])
for count in ("true_positives", "false_positives", "true_negatives", "false_negatives"):
    of_pairs(count + "_at_thresholds", thresholds=[0.25, 0.5])
of_pairs("sensitivity_at_specificity", specificity=0.5, num_thresholds=8)
of_pairs("specificity_at_sensitivity", sensitivity=0.5, num_thresholds=8)
of_pairs("auc", thresholds=[0.5, 0.25])


def of_choices(name):
    for weighted in (False, True):

        def build(tf, labels, predictions, weights, weighted=weighted):
            chosen = tf.cast(tf.greater(predictions, 0.5), tf.int32)
            return getattr(tf.metrics, name)(labels, chosen, weights if weighted else None)

        PROGRAMS[name + ("_weighted" if weighted else "")] = build


for choice in ("accuracy", "precision", "recall", "true_positives", "false_positives", "true_negatives"):
    of_choices(choice)
of_choices("false_negatives")


@program("mean")
def mean(tf, labels, predictions, weights):
    return tf.metrics.mean(predictions, name="mine", metrics_collections=["m"], updates_collections="u")


@program("mean_weighted")
def mean_weighted(tf, labels, predictions, weights):
    return tf.metrics.mean(predictions, tf.expand_dims(weights, 1))


@program("mean_of_columns")
def mean_of_columns(tf, labels, predictions, weights):
    return tf.metrics.mean(tf.stack([labels, predictions], 1), tf.expand_dims(weights, 1))


@program("mean_tensor")
def mean_tensor(tf, labels, predictions, weights):
    return tf.metrics.mean_tensor(tf.reshape(predictions[:2], [2]), tf.reshape(weights[:2], [2]))


@program("percentage_below")
def percentage_below(tf, labels, predictions, weights):
    return tf.metrics.percentage_below(predictions, 0.5, weights)


@program("mean_cosine_distance")
def mean_cosine_distance(tf, labels, predictions, weights):
    pair = tf.stack([labels, 1.0 - labels], 1), tf.stack([predictions, 1.0 - predictions], 1)
    return tf.metrics.mean_cosine_distance(*pair, dim=1)


@program("accuracy_of_columns")
def accuracy_of_columns(tf, labels, predictions, weights):
    return tf.metrics.accuracy(tf.cast(labels, tf.int64), tf.expand_dims(tf.round(predictions), 1))


@program("auc_of_columns")
def auc_of_columns(tf, labels, predictions, weights):
    return tf.metrics.auc(tf.expand_dims(labels, 1), tf.expand_dims(predictions, 1), num_thresholds=20)


@program("mean_relative_error")
def mean_relative_error(tf, labels, predictions, weights):
    return tf.metrics.mean_relative_error(labels, predictions, labels * 2.0, weights)
