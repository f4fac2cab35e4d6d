"""Keras models in graph mode, for TensorFlow 1.15.5 and for kvarn: what graphs they make and what numbers come out.

Each program is given `tf` and notes what it has under a name: `Notes.graph` the nodes made so far, `Notes.values`
numbers.  Weights and data are pseudo-random and fixed.
"""

import re

import numpy as np

# Their numbers follow the addresses of variables in TensorFlow.
UNORDERED = re.compile(r"(VarIsInitializedOp|init)(_\d+)?$")


class Notes:
    def __init__(self, tf):
        self.tf = tf
        self.graphs, self.numbers = {}, {}

    def graph(self, name):
        nodes = self.tf.get_default_graph().as_graph_def().node
        kept = [n for n in nodes if not UNORDERED.match(n.name)]
        self.graphs[name] = [[n.name, n.op, *n.input] for n in kept]

    def values(self, name, values):
        self.numbers[name] = plain(values)


def plain(values):
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    return np.asarray(values).tolist()


def uniform(seed, *shape):
    return np.random.RandomState(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def set_weights(model):
    model.set_weights([uniform(i, *w.shape) for i, w in enumerate(model.get_weights())])


def one_hot(classes, count):
    return np.eye(count, dtype=np.float32)[classes]


def dense_adam(tf, notes):
    layers = tf.keras.layers
    model = tf.keras.models.Sequential(
        [layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(2, activation="softmax")]
    )
    notes.graph("made")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy", "mae"])
    notes.graph("compiled")
    set_weights(model)
    x, y = uniform(10, 10, 3), one_hot([0, 1, 1, 0, 1, 0, 0, 0, 1, 1], 2)
    notes.values("names", [len(name) for name in model.metrics_names])
    notes.values("batch", model.train_on_batch(x[:4], y[:4]))
    notes.values("second batch", model.train_on_batch(x[4:], y[4:]))
    notes.graph("trained")
    history = model.fit(
        x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, validation_data=(x[:3], y[:3])
    )
    notes.values("history", history.history)
    notes.values("evaluate", model.evaluate(x, y, batch_size=3, verbose=0))
    notes.values("test_on_batch", model.test_on_batch(x[:2], y[:2]))
    notes.values("predict", model.predict(x, batch_size=4))
    notes.values("predict_on_batch", model.predict_on_batch(x[:2]))
    notes.graph("all")
    notes.values("weights", model.get_weights())


def shuffled(tf, notes):
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_dim=2)])
    model.compile("sgd", "mse")
    set_weights(model)
    np.random.seed(3)
    x, y = uniform(1, 11, 2), uniform(2, 11)
    notes.values("history", model.fit(x, y, batch_size=3, epochs=2, verbose=0, validation_split=0.2).history)
    notes.values("blocks", model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle="batch").history)
    notes.values("weights", model.get_weights())


def embedding(tf, notes):
    ids = tf.keras.layers.Input(shape=(3,), name="ids", dtype="int32")
    x = tf.keras.layers.Embedding(20, 4, input_length=3, name="rows")(ids)
    x = tf.keras.layers.Flatten()(x)
    out = tf.keras.layers.Dense(5, activation="softmax", name="classes")(x)
    model = tf.keras.models.Model(inputs=[ids], outputs=[out])
    keys, classes = np.arange(24).reshape(8, 3) % 7, np.arange(8) % 5
    for optimizer in ("adam", "sgd", "rmsprop", "adagrad"):
        model.compile(optimizer, {"classes": "sparse_categorical_crossentropy"}, metrics=["accuracy"])
        set_weights(model)
        notes.values(optimizer, model.fit(keys, classes, 3, epochs=2, shuffle=False, verbose=0).history)
        notes.values(optimizer + " weights", model.get_weights())
        notes.graph(optimizer)


def settings(tf, notes):
    """Optimizers with momenta and decays, clipped gradients, constraints and regularizers."""
    kinds = tf.keras.optimizers
    x, y = uniform(1, 6, 3), uniform(2, 6, 2)
    for name, optimizer in (
        ("momentum", kinds.SGD(0.1, momentum=0.9, decay=0.01)),
        ("nesterov", kinds.SGD(lr=0.1, momentum=0.9, nesterov=True)),
        ("amsgrad", kinds.Adam(0.02, beta_1=0.8, amsgrad=True, clipnorm=0.1)),
        ("centered", kinds.RMSprop(0.02, centered=True)),
        ("centered momentum", kinds.RMSprop(0.02, momentum=0.5, centered=True)),
        ("rms momentum", kinds.RMSprop(0.02, momentum=0.5, clipvalue=0.05)),
        ("adagrad", kinds.Adagrad(0.1, initial_accumulator_value=0.3)),
        ("tf.train", tf.train.AdamOptimizer(0.01)),
    ):
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(
                    2,
                    input_shape=(3,),
                    kernel_regularizer=tf.keras.regularizers.l2(0.1),
                    kernel_constraint=None if name == "tf.train" else tf.keras.constraints.MaxNorm(0.5),
                )
            ]
        )
        model.compile(optimizer, "mean_absolute_error")
        set_weights(model)
        notes.values(name, [model.train_on_batch(x, y) for _ in range(3)])
        notes.values(name + " weights", model.get_weights())
    notes.graph("all")


def sparse_settings(tf, notes):
    """The same on embeddings, whose gradients are rows."""
    kinds = tf.keras.optimizers
    keys, y = np.array([[1, 2], [2, 4], [1, 1]]), uniform(2, 3, 2, 3)
    for name, optimizer in (
        ("momentum", kinds.SGD(0.1, momentum=0.9)),
        ("amsgrad", kinds.Adam(0.02, amsgrad=True)),
        ("centered", kinds.RMSprop(0.02, centered=True)),
        ("centered momentum", kinds.RMSprop(0.02, momentum=0.5, centered=True)),
    ):
        model = tf.keras.Sequential([tf.keras.layers.Embedding(6, 3, input_length=2)])
        model.compile(optimizer, "mse")
        set_weights(model)
        notes.values(name, [model.train_on_batch(keys, y) for _ in range(3)])
        notes.values(name + " weights", model.get_weights())
    notes.graph("all")


def several(tf, notes):
    """Several inputs and outputs, a layer that is called twice, a model in a model, weights of losses."""
    layers = tf.keras.layers
    a, b = layers.Input((3,)), layers.Input((3,), name="b")
    shared = layers.Dense(2, name="shared")
    x, y = shared(a), shared(b)
    inner_in = layers.Input((2,))
    inner = tf.keras.Model(inner_in, layers.Dense(2, activation="tanh")(inner_in), name="inner")
    z = layers.BatchNormalization(name="norm")(inner(x))
    w = layers.Dense(1, activation="sigmoid", name="odds")(y)
    model = tf.keras.models.Model([a, b], [z, w])
    notes.graph("made")
    model.compile(
        "rmsprop",
        {"norm": "mse", "odds": "binary_crossentropy"},
        metrics={"norm": ["mae"], "odds": ["accuracy", "mse"]},
        loss_weights={"odds": 0.5},
    )
    notes.graph("compiled")
    set_weights(model)
    data = {"input_1": uniform(1, 6, 3), "b": uniform(2, 6, 3)}
    targets = {"norm": uniform(3, 6, 2), "odds": np.array([0, 1, 1, 0, 1, 0])}
    notes.values("batch", model.train_on_batch(data, targets))
    notes.graph("trained")
    notes.values("history", model.fit(data, targets, 2, epochs=2, shuffle=False, verbose=0).history)
    notes.values("evaluate", model.evaluate([data["input_1"], data["b"]], list(targets.values()), verbose=0))
    notes.values("predict", model.predict(data))
    notes.values("weights", model.get_weights())
    notes.values("layers", [len(layer.name) for layer in model.layers])
    lines = []
    model.summary(print_fn=lines.append)
    notes.graphs["summary"] = lines
    again = layers.Input((3,), name="again")
    notes.values("called again", tf.keras.Model([again], model([again, again])).predict(uniform(5, 2, 3)))
    notes.graph("called again")


def weighted(tf, notes):
    """Weights of examples and of classes."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, activation="softmax", input_shape=(2,))])
    model.compile("sgd", "categorical_crossentropy", metrics=["acc"], weighted_metrics=["acc", "mse"])
    set_weights(model)
    x, y = uniform(1, 6, 2), one_hot([0, 1, 2, 2, 1, 0], 3)
    weights = np.array([1.0, 2.0, 0.0, 0.5, 1.0, 3.0])
    notes.values("none", model.train_on_batch(x, y))
    notes.values("samples", model.train_on_batch(x, y, sample_weight=weights))
    notes.graph("samples")
    notes.values("classes", model.train_on_batch(x, y, class_weight={0: 1.0, 1: 3.0, 2: 0.5}))
    history = model.fit(
        x, y, 4, 2, shuffle=False, verbose=0, sample_weight=weights, class_weight={0: 1, 1: 3, 2: 0}
    )
    notes.values("history", history.history)
    notes.values("none again", model.evaluate(x, y, verbose=0))
    notes.values("evaluate", model.evaluate(x, y, verbose=0, sample_weight=weights))


def losses(tf, notes):
    """Every loss by name, with probabilities that come from no activation, and every metric by name."""
    names = (
        "mse", "mae", "mape", "msle", "hinge", "squared_hinge", "categorical_hinge", "logcosh", "kld", "poisson",
        "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
    )  # fmt: skip
    x = np.abs(uniform(1, 5, 3)) + 0.1
    for name in names:
        sparse = name.startswith("sparse")
        y = np.array([0, 2, 1, 1, 0]) if sparse else one_hot([0, 2, 1, 1, 0], 3)
        model = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(3,), activation="softplus")])
        metrics = ["categorical_accuracy", "binary_accuracy", *([] if name == "kld" else [name])]
        model.compile("sgd", name, metrics=[] if sparse else metrics)
        set_weights(model)
        notes.values(name, model.evaluate(x, y, batch_size=2, verbose=0))
    kinds = tf.keras.losses
    for kind in (
        kinds.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
        kinds.CategoricalCrossentropy(label_smoothing=0.2, reduction="sum"),
        kinds.MeanSquaredError(),
        kinds.Hinge(),
        lambda y, p: tf.reduce_sum(tf.abs(y - p) ** 3, axis=-1),
    ):
        model = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=(3,), activation="softplus")])
        model.compile("sgd", kind, metrics=["accuracy", "ce"])
        set_weights(model)
        notes.values(str(len(notes.numbers)), model.evaluate(x, one_hot([0, 2, 1, 1, 0], 3), 2, verbose=0))
    notes.graph("all")


def lstm(tf, notes):
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.LSTM(4, input_shape=(5, 3)), layers.Dense(1)])
    notes.graph("made")
    notes.values("units", model.layers[0].units)
    set_weights(model)
    x, y = uniform(1, 6, 5, 3), uniform(2, 6, 1)
    notes.values("predict", model.predict(x))
    model.compile("adam", "mse")
    notes.values("history", model.fit(x, y, 4, 3, shuffle=False, verbose=0).history)
    notes.graph("trained")
    notes.values("weights", model.get_weights())


def lstm_kinds(tf, notes):
    """Sequences, states, other directions and ways of computing, of embeddings of unknown length."""
    layers = tf.keras.layers
    ids = layers.Input((None,), dtype="int32")
    rows = layers.Embedding(10, 3)(ids)
    outputs, h, c = layers.LSTM(3, return_sequences=True, return_state=True, name="encoder")(rows)
    decoded = layers.LSTM(
        3, go_backwards=True, implementation=2, recurrent_activation="sigmoid", use_bias=False, name="decoder"
    )(outputs, initial_state=[h, c])
    model = tf.keras.Model(ids, [outputs, h, c, decoded])
    notes.graph("made")
    model.compile("sgd", {"decoder": "mse"})
    set_weights(model)
    keys = np.arange(12).reshape(3, 4) % 10
    notes.values("predict", model.predict(keys))
    notes.values("batch", [model.train_on_batch(keys, {"decoder": uniform(4, 3, 3)}) for _ in range(2)])
    notes.values("weights", model.get_weights())
    notes.graph("trained")
    steps = layers.Input((4, 2), batch_size=3)
    unrolled = layers.LSTM(2, unroll=True, return_sequences=True, unit_forget_bias=False, activation="relu")
    cell = layers.LSTMCell(2, bias_regularizer="l2")
    times = layers.RNN(cell, time_major=True, return_sequences=True, go_backwards=True)(unrolled(steps))
    state = [tf.ones([3, 2]), tf.zeros([3, 2])]
    last = layers.LSTM(2, return_state=True)(unrolled(steps), initial_state=state)
    model = tf.keras.Model(steps, [times, *last])
    set_weights(model)
    notes.values("others", model.predict(uniform(3, 3, 4, 2), batch_size=3))
    notes.graph("all")
    lines = []
    model.summary(print_fn=lines.append)
    notes.graphs["summary"] = lines


def lstm_dropout(tf, notes):
    np.random.seed(7)
    tf.set_random_seed(5)
    x = tf.keras.layers.Input((3, 2))
    h = tf.keras.layers.LSTM(3, dropout=0.4, recurrent_dropout=0.3, return_sequences=True)(x)
    model = tf.keras.Model(
        x, tf.keras.layers.LSTM(2, dropout=0.5, recurrent_dropout=0.5, implementation=2)(h)
    )
    notes.graph("made")
    model.compile("sgd", "mse")
    set_weights(model)
    notes.values("predict", model.predict(uniform(1, 4, 3, 2)))
    notes.values("train", [model.train_on_batch(uniform(1, 4, 3, 2), uniform(2, 4, 2)) for _ in range(3)])
    notes.values("weights", model.get_weights())
    notes.graph("trained")


def late(tf, notes):
    """Models that learn from data what their inputs are."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [layers.Dense(3, activation="relu"), layers.BatchNormalization(), layers.Dense(2)]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = uniform(1, 6, 4), uniform(2, 6, 2)
    notes.graph("waiting")
    model.train_on_batch(x, y)
    notes.graph("trained")
    set_weights(model)
    notes.values("history", model.fit(x, y, 4, 2, shuffle=False, verbose=0).history)
    notes.values("weights", model.get_weights())
    built = tf.keras.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(1)])
    built.build((None, 4))
    set_weights(built)
    notes.graph("built")
    notes.values("predict", built.predict(x))
    notes.graph("predicted")

    class Two(tf.keras.Model):
        def __init__(self):
            super().__init__(name="two")
            self.first = layers.Dense(2, activation="tanh")
            self.others = [layers.Dense(2), layers.Dense(1)]

        def call(self, inputs):
            hidden = self.first(inputs["a"]) + self.others[0](inputs["b"])
            return self.others[1](hidden), hidden

    two = Two()
    two.compile("sgd", "mae", loss_weights=[1.0, 0.1])
    data = {"b": x, "a": y}
    notes.values("first", len(two.train_on_batch(data, [y[:, :1], y])))
    set_weights(two)
    notes.values("two", [two.train_on_batch(data, [y[:, :1], y]) for _ in range(2)])
    notes.values("names", [len(two.layers), len(two.metrics_names[1])])
    notes.values("two predicts", two.predict(data))
    notes.graph("all")


PROGRAMS = {
    program.__name__: program
    for program in (
        dense_adam, shuffled, embedding, settings, sparse_settings, several, weighted, losses, lstm, lstm_kinds,
        lstm_dropout, late,
    )
}  # fmt: skip


def run(tf, name):
    """What a program notes, in an empty graph."""
    tf.keras.backend.clear_session()
    notes = Notes(tf)
    PROGRAMS[name](tf, notes)
    return {"graphs": notes.graphs, "values": notes.numbers}
