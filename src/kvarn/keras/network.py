"""Layers that are connected, as one layer.

Source: tensorflow/python/keras/engine/network.py (1.15), in graph mode.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kvarn.checkpoint.management import update_checkpoint_state_internal
from kvarn.graph import nest
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, sessions
from kvarn.keras.base_layer import Layer
from kvarn.keras.input_layer import InputLayer
from kvarn.keras.layer_graph import LayerGraph
from kvarn.keras.layer_parts import parts_in
from kvarn.keras.model_summary import summary_lines
from kvarn.keras.node import Node, is_keras_tensor
from kvarn.ops import array
from kvarn.train.tracking.saver import saver_with_op_caching
from kvarn.variables.trackable import no_automatic_dependency_tracking


class Network(Layer):
    """What lies between inputs and outputs: a layer made of layers.

    Args:
      inputs: a tensor of `Input`, or a list or a dictionary of them.
      outputs: a tensor that layers have made of them, or a list or a dictionary of such.
      name: by default the class's, made unique in the graph.
      trainable: whether its variables are among the trainable ones.

    Attributes:
      inputs, outputs: lists of tensors.
      input_names, output_names: names of the layers that they come from, the outputs' made unique.

    Raises:
      ValueError: an input is no tensor of a layer or is given twice, an output needs others, or names are not unique.
      NotImplementedError: an output is made by operations outside of layers.
    """

    inputs: list[Any]
    outputs: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(("inputs", "outputs", "name"), args, strict=False)) | kwargs
        inputs, outputs = given.pop("inputs", None), given.pop("outputs", None)
        super().__init__(**given)
        self._base_init()
        if inputs is not None and outputs is not None:
            self._init_graph_network(inputs, outputs)

    @no_automatic_dependency_tracking
    def _base_init(self) -> None:
        self.optimizer: Any = None
        self._is_graph_network = False
        self._is_compiled = False
        self.inputs = []
        self.outputs = []
        self.input_names: list[str] = []
        self.output_names: list[str] = []
        self._trackable_saver = saver_with_op_caching(self)

    @no_automatic_dependency_tracking
    def _init_graph_network(self, inputs: Any, outputs: Any) -> None:
        self._nested_inputs = _only(inputs)
        self._nested_outputs = _only(outputs)
        self.inputs = nest.flatten(inputs)
        self.outputs = nest.flatten(outputs)
        self._check_ends()
        self.built = True
        self._is_graph_network = True
        graph = LayerGraph(self.inputs, self.outputs)
        self._nodes_by_depth = graph.nodes_by_depth
        self._layers = graph.layers
        self._track_layers(graph.layers)
        self.inbound_nodes.clear()
        Node(self, self._nested_inputs, self._nested_outputs, is_source=True)
        self._input_layers = [x._keras_history.layer for x in self.inputs]
        self.input_names = [layer.name for layer in self._input_layers]
        self.output_names = _unique([x._keras_history.layer.name for x in self.outputs])
        fed = [layer for layer in self._input_layers if getattr(layer, "is_placeholder", True)]
        self._feed_inputs = [
            x for x, layer in zip(self.inputs, self._input_layers, strict=True) if layer in fed
        ]
        self._feed_input_names = [layer.name for layer in fed]
        self._feed_input_shapes = [x._keras_history.layer._batch_input_shape for x in self._feed_inputs]

    def _check_ends(self) -> None:
        kind = type(self).__name__
        if len(set(map(id, self.inputs))) != len(self.inputs):
            raise ValueError(
                "The list of inputs passed to the model is redundant. All inputs should only appear once. Found: "
                f"{self.inputs}"
            )
        for x in self.inputs:
            if not is_keras_tensor(x):
                raise ValueError(
                    f"Input tensors to a {kind} must come from `tf.keras.Input`. Received: {x} (missing previous "
                    "layer metadata)."
                )
            if not isinstance(x._keras_history.layer, InputLayer):
                raise NotImplementedError(f"A {kind} that begins at the output of a layer: {x}")
        for x in self.outputs:
            if not is_keras_tensor(x):
                raise NotImplementedError(
                    f"The output {x} of a {kind}: on the way from the inputs there are operations outside of layers, "
                    "which kvarn does not make into layers. Put them into a `tf.keras.layers.Lambda`."
                )

    def _track_layers(self, layers: list[Any]) -> None:
        """Makes the layers dependencies: each by its index, those with variables by their index among those too."""
        with_weights = 0
        for index, layer in enumerate(layers):
            if layer.weights:
                self._track_trackable(layer, name=f"layer_with_weights-{with_weights}", overwrite=True)
                with_weights += 1
            self._track_trackable(layer, name=f"layer-{index}", overwrite=True)

    # Networks that are told by data what their inputs are.

    @no_automatic_dependency_tracking
    def _set_inputs(self, given: Any) -> None:
        """Makes placeholders for arrays, a dictionary or list of them or one alone, and calls the network on them."""
        names, arrays = _named_inputs(given)
        made = [_placeholder_like(x, name) for name, x in zip(names, arrays, strict=True)]
        inputs: Any = dict(zip(names, made, strict=True)) if isinstance(given, dict) else made
        if not isinstance(given, (dict, list, tuple)):
            inputs = made[0]
        takes_training = "training" in self._call_fn_args
        outputs = self(inputs, **({"training": backend.learning_phase()} if takes_training else {}))
        self.inputs = self._feed_inputs = made
        self.input_names = self._feed_input_names = names
        self._feed_input_shapes = [None] * len(made)
        self.outputs = nest.flatten(outputs)
        self.output_names = [f"output_{i + 1}" for i in range(len(self.outputs))]

    def build(self, input_shape: Any) -> None:
        """Makes the variables of a network that is not made of inputs and outputs.

        Args:
          input_shape: of the inputs, with the first dimension; a list for several inputs.

        Raises:
          ValueError: there is none.
        """
        if self._is_graph_network or self.built:
            return
        if input_shape is None:
            raise ValueError("Input shape must be defined when calling build on a model subclass network.")
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        made = [array.placeholder(backend.floatx(), shape=TensorShape(shape)) for shape in shapes]
        defaults = len(self._call_spec.defaults or ())
        needed = self._call_fn_args[1 : len(self._call_fn_args) - defaults]
        arguments = {"training": False} if "training" in needed else {}
        self.call(made if isinstance(input_shape, list) else made[0], **arguments)
        self._track_layers(self.layers)
        self.built = True

    def _maybe_build(self, inputs: Any) -> None:
        if type(self).build is Network.build or self._is_graph_network:
            self.built = True  # variables are made by the layers inside when they are called
            return
        super()._maybe_build(inputs)

    # What is inside.

    @property
    def layers(self) -> list[Any]:
        """The layers, those nearest to the inputs first, or as they were assigned to attributes."""
        return [layer for part in self._layers for layer in parts_in(part)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of a name or at an index of `layers`; ValueError if there is none."""
        if index is not None:
            if index >= len(self.layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)} layers."
                )
            return self.layers[index]
        if not name:
            raise ValueError("Provide either a layer name or layer index.")
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}")

    @property
    def weights(self) -> list[Any]:
        """All variables, layer by layer."""
        own = self._trainable_weights + self._non_trainable_weights
        return [w for layer in self._layers_inside() for w in layer.weights] + own

    @property
    def trainable_weights(self) -> list[Any]:
        """The trainable variables, layer by layer; none if the network is not trainable."""
        return self._inside("trainable_weights") + self._trainable_weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """All other variables, layer by layer."""
        if self.trainable:
            return self._inside("non_trainable_weights") + self._non_trainable_weights
        return self.weights

    @property
    def stateful(self) -> bool:
        """Whether a layer carries state from one batch to the next."""
        return any(getattr(layer, "stateful", False) for layer in self._layers)

    @stateful.setter
    def stateful(self, value: bool) -> None:
        """Nothing: it is what the layers say."""

    @property
    def input_spec(self) -> Any:
        """None: inputs are looked at by the layers."""
        return None

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        """Nothing: it is what the layers say."""

    @property
    def state_updates(self) -> list[Any]:
        """The updates of stateful layers."""
        return [update for layer in self.layers if layer.stateful for update in layer.updates]

    # The call.

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The outputs for other inputs: all layers are called again.

        Raises:
          NotImplementedError: a subclass has no `call` of its own.
        """
        if not self._is_graph_network:
            raise NotImplementedError(
                "When subclassing the `Model` class, you should implement a `call` method."
            )
        made = dict(zip(map(id, self.inputs), nest.flatten(inputs), strict=True))
        # Inputs are among the others, except where nothing is deeper.
        for node in (node for nodes in self._nodes_by_depth[1:] for node in nodes):
            if all(id(x) in made for x in nest.flatten(node.input_tensors)):
                self._call_again(node, made, training)
        found = [made[id(x)] for x in self.outputs]
        return nest.pack_sequence_as(self._nested_outputs, found)

    @staticmethod
    def _call_again(node: Node, made: dict[int, Any], training: Any) -> None:
        layer = node.outbound_layer

        def again(x: Any) -> Any:
            return made.get(id(x), x) if isinstance(x, Tensor) else x

        arguments = {name: nest.map_structure(again, value) for name, value in (node.arguments or {}).items()}
        if "training" in layer._call_fn_args:
            arguments.setdefault("training", training)
        outputs = layer(nest.map_structure(again, node.input_tensors), **arguments)
        before = nest.flatten(node.output_tensors)
        made.update(zip(map(id, before), nest.flatten(outputs), strict=True))

    # Files.

    def save_weights(self, filepath: str, overwrite: bool = True, save_format: str | None = None) -> None:
        """Saves all variables, and those of the optimizer, as an object-based checkpoint.

        Args:
          filepath: the prefix of the checkpoint's files.
          overwrite: whether files that are there are written over.
          save_format: ``tf``.

        Raises:
          NotImplementedError: HDF5.
          ValueError: ``overwrite`` is false and there is a checkpoint.
        """
        if (save_format or "tf").lower() not in ("tf", "tensorflow") or _is_hdf5(filepath):
            raise NotImplementedError(f"Weights in HDF5: {filepath}; kvarn saves checkpoints of TensorFlow.")
        if not overwrite and os.path.isfile(filepath + ".index"):
            raise ValueError(f"{filepath} is there, and `overwrite` is False: it is left as it is.")
        self._trackable_saver.save(filepath, session=sessions.get_session())
        update_checkpoint_state_internal(
            save_dir=os.path.dirname(filepath),
            model_checkpoint_path=filepath,
            save_relative_paths=True,
            all_model_checkpoint_paths=[filepath],
        )

    def load_weights(self, filepath: str, by_name: bool = False) -> Any:
        """Restores what `save_weights` has saved; what is not there yet, when it is made.

        Returns:
          A status, as `tf.train.Checkpoint.restore` gives it.

        Raises:
          NotImplementedError: HDF5, or ``by_name``.
          AssertionError: the checkpoint has nothing that the model has.
        """
        if _is_hdf5(filepath) or by_name:
            raise NotImplementedError(f"Weights in HDF5, or by name: {filepath}")
        status = self._trackable_saver.restore(filepath)
        status.stream(sessions.get_session())
        status.assert_nontrivial_match()
        return status

    def summary(self, line_length: int | None = None, positions: Any = None, print_fn: Any = None) -> None:
        """Prints the layers, the shapes of their outputs and how many elements their variables have.

        Args:
          line_length: of a line; 65 by default.
          positions: where columns end, as parts of the line.
          print_fn: is given each line, instead of `print`.

        Raises:
          ValueError: the model is not built.
        """
        if not self.built:
            raise ValueError(
                "This model has not yet been built. Build the model first by calling `build()` or calling `fit()` "
                "with some data, or specify an `input_shape` argument in the first layer(s) for automatic build."
            )
        for line in summary_lines(self, line_length, positions):
            (print_fn or print)(line)


def _named_inputs(given: Any) -> tuple[list[str], list[Any]]:
    if isinstance(given, dict):
        names = sorted(given)
        return names, [np.asarray(given[name]) for name in names]
    arrays = [np.asarray(x) for x in (given if isinstance(given, (list, tuple)) else [given])]
    return [f"input_{i + 1}" for i in range(len(arrays))], arrays


def _placeholder_like(x: Any, name: str) -> Tensor:
    shape = (None, *(x.shape[1:] or (1,)))
    made: Tensor = sessions.placeholder(shape, dtype=None if x.dtype.kind == "f" else x.dtype, name=name)
    return made


def _only(structure: Any) -> Any:
    """A list of one tensor as that tensor."""
    return structure[0] if isinstance(structure, list) and len(nest.flatten(structure)) == 1 else structure


def _unique(names: list[str]) -> list[str]:
    made: list[str] = []
    counts: dict[str, int] = {}
    for name in names:
        proposal = name
        while proposal in made:
            count = counts.get(name, 1)
            proposal, counts[name] = f"{name}_{count}", count + 1
        made.append(proposal)
    return made


def _is_hdf5(filepath: str) -> bool:
    return filepath.endswith((".h5", ".keras", ".hdf5"))
