"""Networks of layers besides their numbers: what is refused and with which words, files, names, the session."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf

layers = tf.keras.layers
backend = tf.keras.backend


@pytest.fixture(autouse=True)
def cleared():
    backend.clear_session()
    yield
    backend.clear_session()


def _model(**kwargs):
    return tf.keras.Sequential([layers.Dense(2, input_shape=(3,), name="first"), layers.Dense(1)], **kwargs)


def test_names_count_anew_after_clear_session():
    assert [_model().name, _model().name] == ["sequential", "sequential_1"]
    backend.clear_session()
    assert _model().name == "sequential"
    assert [n.name for n in tf.get_default_graph().as_graph_def().node][:2] == [
        "keras_learning_phase/input",
        "keras_learning_phase",
    ]


def test_layers_know_their_calls():
    x = layers.Input((3,), batch_size=5)
    layer = layers.Dense(2)
    with pytest.raises(AttributeError, match="is not connected"):
        _ = layer.output
    y = layer(x)
    assert layer.input is x
    assert layer.output is y
    assert (layer.input_shape, layer.output_shape) == ((5, 3), (5, 2))
    assert y._keras_history == (layer, 0, 0)
    layer(layers.Input((3,)))
    with pytest.raises(AttributeError, match="multiple inbound nodes"):
        _ = layer.output
    assert layer.get_output_at(0) is y
    with pytest.raises(AttributeError, match="different output shapes"):
        _ = layer.output_shape
    assert layer.get_output_shape_at(1) == (None, 2)
    with pytest.raises(ValueError, match="only 2 inbound nodes"):
        layer.get_input_at(2)


def test_a_layer_outside_models_has_no_calls():
    layer = layers.Dense(2)
    layer(tf.placeholder(tf.float32, [None, 3]))
    assert layer.inbound_nodes == []


def test_operations_between_layers_are_refused_in_models():
    x = layers.Input((3,))
    between = layers.Dense(2)(tf.abs(x))
    assert between.shape.as_list() == [None, 2]
    with pytest.raises(NotImplementedError, match="outside of layers"):
        tf.keras.Model(x, between)
    with pytest.raises(NotImplementedError, match="outside of layers"):
        tf.keras.Model(x, tf.abs(x))
    model = tf.keras.Model(x, layers.Lambda(tf.abs)(x))
    np.testing.assert_array_equal(model.predict(np.array([[-1.0, 2, -3]])), [[1, 2, 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (2,), "batch_shape": (1, 2)}, "not both"),
        ({}, "either a `shape` or a `tensor`"),
        ({"shape": (2,), "colour": 1}, "Unrecognized keyword"),
    ],
)
def test_what_inputs_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.Input(**arguments)


def test_inputs_that_are_sparse_are_refused():
    with pytest.raises(NotImplementedError, match="sparse or ragged"):
        layers.Input((2,), sparse=True)


def test_a_model_needs_all_its_inputs():
    a, b = layers.Input((2,)), layers.Input((2,))
    both = layers.Lambda(lambda xs: xs[0] + xs[1])([a, b])
    with pytest.raises(ValueError, match="Graph disconnected"):
        tf.keras.Model(a, both)
    with pytest.raises(ValueError, match="redundant"):
        tf.keras.Model([a, a], both)
    with pytest.raises(ValueError, match=r"must come from `tf\.keras\.Input`"):
        tf.keras.Model(tf.placeholder(tf.float32), both)


def test_names_of_layers_are_unique():
    x = layers.Input((2,))
    with pytest.raises(ValueError, match='"twin" is used 2 times'):
        tf.keras.Model(x, layers.Dense(1, name="twin")(layers.Dense(1, name="twin")(x)))


def test_layers_of_a_model():
    model = _model()
    assert [layer.name for layer in model.layers] == ["first", "dense"]
    assert model.get_layer("first") is model.get_layer(index=0)
    assert model.count_params() == 3 * 2 + 2 + 2 + 1
    with pytest.raises(ValueError, match="No such layer: third"):
        model.get_layer("third")
    with pytest.raises(ValueError, match="only has 2 layers"):
        model.get_layer(index=2)
    model.pop()
    assert model.output_shape == (None, 2)
    assert model.predict(np.zeros([4, 3])).shape == (4, 2)


def test_a_sequential_model_can_be_built_later():
    model = tf.keras.Sequential([layers.Dense(2), layers.Dense(1)])
    with pytest.raises(ValueError, match="has not yet been built"):
        model.summary()
    with pytest.raises(ValueError, match="Input shape must be defined"):
        model.build(None)
    model.build((None, 3))
    assert [w.shape.as_list() for w in model.weights] == [[3, 2], [2], [2, 1], [1]]
    with pytest.raises(TypeError, match="must be an instance of class Layer"):
        model.add(3)


def test_losses_of_layers_in_lists_count():
    class Listed(layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = [layers.Dense(1, kernel_regularizer=tf.keras.regularizers.l2(0.5))]

        def call(self, inputs):
            return self.parts[0](inputs)

    x = layers.Input((2,))
    model = tf.keras.Model(x, Listed()(x))
    assert len(model.losses) == 1
    model.compile("sgd", "mse")
    model.set_weights([[[3.0], [1.0]], [0.0]])
    assert model.test_on_batch(np.zeros([1, 2]), np.zeros([1, 1])) == 5


def test_frozen_layers_are_not_trained():
    model = _model()
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == len(model.non_trainable_weights) == 2
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(np.ones([2, 3]), np.ones([2, 1]))
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])


def test_weights_are_set_and_read():
    model = _model()
    values = [np.full(w.shape.as_list(), i, np.float32) for i, w in enumerate(model.weights)]
    model.set_weights(values)
    for found, value in zip(model.get_weights(), values, strict=True):
        np.testing.assert_array_equal(found, value)
    with pytest.raises(ValueError, match="expecting 4 weights"):
        model.set_weights(values[:3])
    with pytest.raises(ValueError, match="not compatible with provided weight shape"):
        model.set_weights([values[1], *values[1:]])


def test_weights_are_saved_with_the_optimizer(tmp_path):
    path = str(tmp_path / "model")
    x, y = np.ones([2, 3]), np.ones([2, 1])
    model = _model()
    model.compile("adam", "mse")
    model.train_on_batch(x, y)
    model.save_weights(path)
    expected = [model.predict(x), model.train_on_batch(x, y), model.train_on_batch(x, y)]
    names = {name for name, _ in tf.train.list_variables(path)}
    assert "layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE" in names
    assert "layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE" in names
    assert "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE" in names
    assert tf.train.latest_checkpoint(str(tmp_path)) == path

    backend.clear_session()
    model = _model()
    model.compile("adam", "mse")
    model.load_weights(path)
    np.testing.assert_allclose(model.predict(x), expected[0], rtol=1e-6)
    assert model.train_on_batch(x, y) == pytest.approx(expected[1], rel=1e-6)
    assert model.train_on_batch(x, y) == pytest.approx(expected[2], rel=1e-6)
    with pytest.raises(NotImplementedError, match="HDF5"):
        model.save_weights(str(tmp_path / "model.h5"))
    with pytest.raises(ValueError, match="`overwrite` is False"):
        model.save_weights(path, overwrite=False)


def test_the_session_of_keras():
    session = tf.Session()
    backend.set_session(session)
    model = _model()
    assert backend.get_session() is session
    assert session.run(model.weights[1]).tolist() == [0, 0]
    with tf.Session() as other:
        assert backend.get_session() is other


def test_functions_of_tensors():
    x = backend.placeholder((2,), name="x")
    v = backend.variable([1.0, 2.0], name="v")
    add = backend.function([x], {"sum": x + v}, updates=[(v, x)])
    assert add([np.array([10, 20])])["sum"].tolist() == [11, 22]
    assert backend.get_value(v).tolist() == [10, 20]
    backend.set_value(v, [3, 4])
    assert backend.batch_get_value([v])[0].tolist() == [3, 4]
    with pytest.raises(NotImplementedError, match="feed_dict"):
        backend.function([x], [x], feed_dict={})


def test_dropout_only_while_training():
    model = tf.keras.Sequential([layers.Dropout(0.5, input_shape=(100,))])
    x = np.ones([3, 100], np.float32)
    np.testing.assert_array_equal(model.predict(x), x)
    run = backend.function([*model.inputs, backend.learning_phase()], model.outputs)
    assert 0 < (run([x, True])[0] == 0).mean() < 1


@pytest.mark.parametrize("weighted", ["training", "validation"])
def test_examples_have_weights_in_training_or_validation_alone(weighted):
    # TensorFlow 1.15.5 fails here with an InvalidArgumentError.
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3) / 10, np.array([1.0, 0, 3, 1])
    weights = np.array([1.0, 2, 0, 3])
    model = _model()
    model.compile("sgd", "mse")
    start = [np.full(w.shape, 0.1, np.float32) for w in model.get_weights()]
    model.set_weights(start)
    of_training = weights if weighted == "training" else None
    validation = (x, y) if weighted == "training" else (x, y, weights)
    history = model.fit(
        x, y, 2, 2, 0, shuffle=False, sample_weight=of_training, validation_data=validation
    ).history
    after = model.get_weights()
    last = model.evaluate(
        *validation[:2], verbose=0, sample_weight=None if weighted == "training" else weights
    )
    assert history["val_loss"][-1] == pytest.approx(last, rel=1e-6)

    model.set_weights(start)
    model.fit(x, y, 2, 2, 0, shuffle=False, sample_weight=of_training)
    for found, expected in zip(model.get_weights(), after, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_learning_phase_that_is_fixed():
    backend.set_learning_phase(1)
    model = tf.keras.Sequential([layers.Dropout(0.5, input_shape=(100,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones([3, 100], np.float32)
    assert len(model.fit(x, x[:, :1], verbose=0).history["loss"]) == 1
    assert not np.array_equal(model.predict(x), model.predict(x))


def test_what_compile_refuses():
    model = _model()
    with pytest.raises(ValueError, match="no loss to optimize"):
        model.compile("sgd")
    with pytest.raises(ValueError, match="Unknown optimizer: gradient"):
        model.compile("gradient", "mse")
    with pytest.raises(NotImplementedError, match="nadam"):
        model.compile("nadam", "mse")
    with pytest.raises(ValueError, match="Unknown loss function:mess"):
        model.compile("sgd", "mess")
    with pytest.raises(NotImplementedError, match="cosine_similarity"):
        model.compile("sgd", "cosine_similarity")
    with pytest.raises(NotImplementedError, match="AUC"):
        model.compile("sgd", "mse", metrics=["AUC"])
    with pytest.raises(ValueError, match="one entry per model outputs"):
        model.compile("sgd", ["mse", "mse"])
    with pytest.raises(ValueError, match="Unknown entries in loss dictionary"):
        model.compile("sgd", {"other": "mse"})
    with pytest.raises(NotImplementedError, match="`target_tensors`"):
        model.compile("sgd", "mse", target_tensors=[tf.zeros([1])])


def test_what_training_refuses():
    model = _model()
    x, y = np.ones([2, 3]), np.ones([2, 1])
    with pytest.raises(RuntimeError, match="must compile"):
        model.fit(x, y)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"first_input to have shape \(3,\) but got array with shape \(2,\)"):
        model.fit(x[:, :2], y)
    with pytest.raises(ValueError, match="expected first_input to have 2 dimensions"):
        model.predict(np.ones([2, 3, 1]))
    with pytest.raises(ValueError, match="2 input samples and 1 target samples"):
        model.fit(x, y[:1])
    with pytest.raises(ValueError, match=r"Expected to see 1 array\(s\)"):
        model.predict([x, x])
    with pytest.raises(NotImplementedError, match="kvarn takes arrays"):
        model.fit(tf.data.Dataset.from_tensors((x, y)))
    with pytest.raises(NotImplementedError, match="`steps_per_epoch`"):
        model.fit(x, y, steps_per_epoch=1)
    with pytest.raises(ValueError, match="No data provided for"):
        model.predict({"other": x})


def test_a_loss_by_class_refuses_a_column_of_classes():
    model = tf.keras.Sequential([layers.Dense(3, activation="softmax", input_shape=(2,))])
    model.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="sparse_categorical_crossentropy"):
        model.train_on_batch(np.ones([2, 2]), np.ones([2, 1]))


def test_callbacks_hear_of_epochs_and_stop_training(capsys):
    heard = []

    class Listener(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            heard.append((epoch, sorted(logs)))
            self.model.stop_training = epoch == 1

        def on_batch_end(self, batch, logs=None):
            heard.append((batch, logs["size"]))

    model = _model()
    model.compile("sgd", "mse")
    history = model.fit(np.ones([3, 3]), np.ones([3, 1]), 2, epochs=5, callbacks=[Listener()], shuffle=False)
    assert heard == [(0, 2), (1, 1), (0, ["loss"]), (0, 2), (1, 1), (1, ["loss"])]
    assert history.epoch == [0, 1]
    assert model.history is history
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["Train on 3 samples", "Epoch 1/5"]
    assert printed[2].startswith("3/3 - 0s - loss: ")


def test_settings_of_optimizers_can_be_changed():
    optimizer = tf.keras.optimizers.SGD(lr=0.5)
    model = _model()
    model.compile(optimizer, "mse")
    model.train_on_batch(np.ones([2, 3]), np.ones([2, 1]))
    optimizer.lr = 0.0
    before = model.get_weights()
    model.train_on_batch(np.ones([2, 3]), np.ones([2, 1]))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert backend.get_value(optimizer.learning_rate) == 0
    config = optimizer.get_config()
    assert (config["name"], config["learning_rate"], config["nesterov"]) == ("SGD", 0.0, False)
    assert backend.get_value(optimizer.iterations) == 2
    with pytest.raises(AttributeError, match="no attribute 'speed'"):
        _ = optimizer.speed
    with pytest.raises(TypeError, match="speed"):
        tf.keras.optimizers.SGD(speed=1)
