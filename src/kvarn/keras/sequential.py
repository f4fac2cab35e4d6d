"""Models whose layers follow one another.

Source: tensorflow/python/keras/engine/sequential.py (1.15), in graph mode.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph import nest
from kvarn.keras.base_layer import Layer
from kvarn.keras.input_layer import Input, InputLayer
from kvarn.keras.training import Model
from kvarn.variables.trackable import no_automatic_dependency_tracking


class Sequential(Model):
    """Layers, each of which takes what the one before gives.

    The model is built when it knows the shape of its inputs: from an `InputLayer` at its head, from an
    ``input_shape`` of its first layer, by `build`, or by data.

    Args:
      layers: a list.
      name: by default ``sequential``, made unique in the graph.

    Raises:
      TypeError: something that is no layer.
    """

    @no_automatic_dependency_tracking
    def __init__(self, layers: Any = None, name: str | None = None) -> None:
        super().__init__(name=name)
        for layer in layers if isinstance(layers, (list, tuple)) else [layers] if layers else []:
            self.add(layer)

    @property
    def layers(self) -> list[Any]:
        """The layers without the one where inputs come in."""
        own = super().layers
        return own[1:] if own and isinstance(own[0], InputLayer) else own

    @no_automatic_dependency_tracking
    def add(self, layer: Any) -> None:
        """Adds a layer at the end.

        Raises:
          TypeError: it is no layer, or has several outputs.
        """
        history = getattr(layer, "_keras_history", None)
        if history is not None and isinstance(history.layer, InputLayer):
            layer = history.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"The added layer must be an instance of class Layer. Found: {layer}")
        if not self._layers:
            self._begin(layer)
        elif self.outputs:
            self._extend(layer)
        if self.outputs:
            self._init_graph_network(self.inputs, self.outputs)
        else:
            self.built = False
            self._layers.append(layer)
            self._track_layers(self._layers)

    def _begin(self, layer: Any) -> None:
        if isinstance(layer, InputLayer):
            self.inputs = self.outputs = list(layer.inbound_nodes[-1].output_tensors)
            return
        shape, dtype = _demanded(layer)
        if shape:
            self._extend_from(Input(batch_shape=shape, dtype=dtype, name=layer.name + "_input"), layer)

    def _extend_from(self, inputs: Any, layer: Any) -> None:
        self.inputs = [inputs]
        self.outputs = [inputs]
        self._extend(layer)

    def _extend(self, layer: Any) -> None:
        outputs = nest.flatten(layer(self.outputs[0]))
        if len(outputs) != 1:
            raise TypeError(
                "All layers in a Sequential model should have a single output tensor. For multi-output layers, use "
                "the functional API."
            )
        self.outputs = outputs

    @no_automatic_dependency_tracking
    def pop(self) -> None:
        """Takes the last layer away; TypeError if there is none."""
        if not self.layers:
            raise TypeError("There are no layers in the model.")
        self._layers.pop()
        if not self.layers:
            self.inputs, self.outputs, self.built = [], [], False
        elif self._is_graph_network:
            self.layers[-1].outbound_nodes.clear()
            self.outputs = [self.layers[-1].output]
            self._init_graph_network(self.inputs, self.outputs)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The output of the last layer."""
        if self._is_graph_network:
            return super().call(inputs, training=training)
        for layer in self.layers:
            arguments = {"training": training} if "training" in layer._call_fn_args else {}
            inputs = layer(inputs, **arguments)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs for inputs of a shape."""
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape


def _demanded(layer: Any) -> tuple[Any, Any]:
    """The shape and type that a layer, or the first layer of a model, says it is for; None if it says none."""
    while isinstance(layer, (Model, Sequential)) and layer.layers:
        layer = layer.layers[0]
    shape = getattr(layer, "_batch_input_shape", None)
    return shape, layer.dtype if shape else None
