"""What belongs to a layer: the variables that it makes, and what is assigned to its attributes.

Source: tensorflow/python/keras/engine/base_layer.py, training/tracking/layer_utils.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from kvarn.graph import nest
from kvarn.train.tracking.auto_trackable import AutoTrackable
from kvarn.train.tracking.data_structures import sticky_attribute_assignment
from kvarn.train.tracking.module import Module
from kvarn.train.tracking.object_identity import ObjectIdentityDictionary
from kvarn.variables.trackable import Trackable
from kvarn.variables.variable import Variable


class Parts(Module):
    """An object with variables, and with others inside it that have variables: what a layer is to checkpoints."""

    _TF_MODULE_IGNORED_PROPERTIES: ClassVar[frozenset[str]] = Module._TF_MODULE_IGNORED_PROPERTIES | {
        "_obj_reference_counts_dict"
    }

    _trainable: bool
    _trainable_weights: list[Any]
    _non_trainable_weights: list[Any]
    _layers: list[Any]

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        for layer in getattr(self, "_layers", []):
            layer.trainable = value

    @property
    def trainable_weights(self) -> list[Any]:
        """The trainable variables, then those of layers inside; none if the layer is not trainable."""
        return self._trainable_weights + self._inside("trainable_weights") if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """All other variables."""
        if self.trainable:
            return self._non_trainable_weights + self._inside("non_trainable_weights")
        return self._trainable_weights + self._non_trainable_weights + self._inside("weights")

    @property
    def weights(self) -> list[Any]:
        """All variables, the trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    @property
    def variables(self) -> list[Any]:  # type: ignore[override]
        """`weights`."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Any]:  # type: ignore[override]
        """`trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Any]:
        """`non_trainable_weights`."""
        return self.non_trainable_weights

    def _layers_inside(self) -> Iterator[Any]:
        for part in getattr(self, "_layers", ()):
            if isinstance(part, Parts) or part.weights:
                yield part

    def _inside(self, attribute: str) -> list[Any]:
        return [found for layer in self._layers_inside() for found in getattr(layer, attribute)]

    def _maybe_create_attribute(self, name: str, default: Any) -> None:
        """Sets an attribute unless it is there: attributes may be assigned before the constructor has run."""
        if not hasattr(self, name):
            object.__setattr__(self, name, default)

    @property
    def _obj_reference_counts(self) -> ObjectIdentityDictionary:
        self._maybe_create_attribute("_obj_reference_counts_dict", ObjectIdentityDictionary())
        found: ObjectIdentityDictionary = self.__dict__["_obj_reference_counts_dict"]
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        tracks = getattr(self, "_self_setattr_tracking", True)
        if name == "_self_setattr_tracking" or not tracks or hasattr(type(self), name):
            try:
                super(AutoTrackable, self).__setattr__(name, value)
            except AttributeError:
                raise AttributeError(
                    f'Can\'t set the attribute "{name}", likely because it conflicts with an existing read-only '
                    "@property of the object. Please choose a different name."
                ) from None
            return
        value = sticky_attribute_assignment(trackable=self, value=value, name=name)
        counts = self._obj_reference_counts
        counts[value] = counts.get(value, 0) + 1
        if name in self.__dict__:
            delattr(self, name)
        self._maybe_create_attribute("_layers", [])
        if _has_weights(value) and not any(layer is value for layer in self._layers):
            self._layers.append(value)
            if hasattr(value, "_use_resource_variables"):
                value._use_resource_variables = True
        for part in nest.flatten(value):
            if isinstance(part, Variable):
                self._own(part)
        super(AutoTrackable, self).__setattr__(name, value)

    def _own(self, variable: Variable) -> None:
        self._maybe_create_attribute("_trainable_weights", [])
        self._maybe_create_attribute("_non_trainable_weights", [])
        own = self._trainable_weights if variable.trainable else self._non_trainable_weights
        if not any(variable is w for w in own):
            own.append(variable)

    def __delattr__(self, name: str) -> None:
        value = getattr(self, name, None)
        counts = self._obj_reference_counts
        count = counts.get(value, 0)
        super(AutoTrackable, self).__delattr__(name)
        if count > 1:
            counts[value] = count - 1
            return
        if count:
            del counts[value]
            for kind in ("_layers", "_trainable_weights", "_non_trainable_weights"):
                kept = [part for part in getattr(self, kind, ()) if part is not value]
                object.__setattr__(self, kind, kept)


def parts_in(value: Any) -> list[Any]:
    """A layer, or those in a list or dictionary."""
    return [part for part in nest.flatten(value) if isinstance(part, Parts)]


def _has_weights(value: Any) -> bool:
    kind = type(value)
    return isinstance(value, Trackable) and hasattr(kind, "trainable_weights") and hasattr(kind, "weights")
