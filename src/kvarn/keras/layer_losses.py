"""What a layer wants of training besides its outputs: losses to be added, and updates to be run.

Source: tensorflow/python/keras/engine/base_layer.py (1.15), what of it concerns graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.graph import nest
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.operation import Operation
from kvarn.graph.tensor_util import is_tensor
from kvarn.keras import backend
from kvarn.keras.call_context import call_context, reachable_from
from kvarn.keras.layer_connections import Connections
from kvarn.keras.layer_parts import parts_in


class Losses(Connections):
    """An object with losses and updates, its own and those of the layers inside it.

    Attributes:
      stateful: whether it has updates though it is not trainable.
    """

    stateful: bool
    # With each whether it depends on the inputs.
    _updates: list[tuple[Any, bool]]
    _losses: list[tuple[Any, bool]]
    _callable_losses: list[tuple[Callable[[], Any], bool]]

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses.

        Args:
          losses: scalars, or functions that make them each time `losses` is asked for.
          inputs: anything but None if they depend on the inputs.
        """
        depends = inputs is not None
        for loss in nest.flatten(losses):
            if callable(loss):
                self._callable_losses.append((loss, depends))
            elif loss is not None:
                self._losses.append((_as_loss(loss), depends))

    def _tagged_losses(self) -> list[tuple[Any, bool]]:
        made = [(loss(), depends) for loss, depends in self._callable_losses]
        own = self._losses + [(_as_loss(loss), depends) for loss, depends in made if loss is not None]
        return own + [tagged for layer in self._layers_inside() for tagged in _tagged(layer, "losses")]

    @property
    def losses(self) -> list[Any]:
        """The losses of this layer and of layers inside; those of variables are made anew each time."""
        return [loss for loss, _ in self._tagged_losses()]

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The losses that depend on ``inputs``; for None those that depend on no inputs."""
        return _of_inputs(self._tagged_losses(), inputs)

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds operations that are to run with each step of training, or functions that make them.

        Args:
          inputs: not looked at; what depends on the layer's inputs is found out.
        """
        reached = nest.flatten(call_context.inputs) if call_context.in_call else []
        for update in updates if isinstance(updates, list) else [updates]:
            made = update() if callable(update) else update
            if not isinstance(made, Operation):
                made = made.op if hasattr(made, "op") else convert_to_tensor(made)
            self._updates.append((made, id(made) in reachable_from(reached, [made])))

    def _tagged_updates(self) -> list[tuple[Any, bool]]:
        if not self.trainable and not self.stateful:
            return []
        return self._updates + [t for layer in self._layers_inside() for t in _tagged(layer, "updates")]

    @property
    def updates(self) -> list[Any]:
        """The updates of this layer and of layers inside; none if it is not trainable."""
        return [update for update, _ in self._tagged_updates()]

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates that depend on ``inputs``; for None those that depend on no inputs."""
        return _of_inputs(self._tagged_updates(), inputs)


def _as_loss(loss: Any) -> Any:
    return loss if is_tensor(loss) else convert_to_tensor(loss, dtype=backend.floatx())


def _tagged(part: Any, what: str) -> list[tuple[Any, bool]]:
    """The losses or updates of a layer, or of the layers in a list or dictionary."""
    if isinstance(part, Losses):
        return part._tagged_losses() if what == "losses" else part._tagged_updates()
    return [tagged for inside in parts_in(part) for tagged in _tagged(inside, what)]


def _of_inputs(tagged: list[tuple[Any, bool]], inputs: Any) -> list[Any]:
    if inputs is None:
        return [x for x, depends in tagged if not depends]
    found = [x for x, depends in tagged if depends]
    reached = reachable_from(nest.flatten(inputs), found)
    return [x for x in found if id(x) in reached]
