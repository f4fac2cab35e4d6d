"""What a layer demands of its inputs.

Source: tensorflow/python/keras/engine/input_spec.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import nest


class InputSpec:
    """Type, rank and shape of one input of a layer; None is no demand.

    Args:
      dtype: of the elements.
      shape: dimensions, None where any will do.
      ndim, max_ndim, min_ndim: ranks.
      axes: dimensions by axis; negative axes count from the end.

    Raises:
      TypeError: an axis is no integer.
      ValueError: an axis is beyond the rank.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, Any] | None = None,
    ) -> None:
        self.dtype = dtypes.as_dtype(dtype).name if dtype is not None else None
        self.shape = shape
        self.ndim = ndim if shape is None else len(shape)
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        try:
            self.axes = {int(axis): value for axis, value in (axes or {}).items()}
        except (ValueError, TypeError):
            raise TypeError("The keys in axes must be integers.") from None
        rank = self.ndim or self.max_ndim
        if self.axes and rank is not None and max(self.axes) > rank - 1:
            raise ValueError(f"Axis {max(self.axes)} is greater than the maximum allowed value: {rank - 1}")

    def __repr__(self) -> str:
        shown = [f"{name}={value}" for name, value in self.get_config().items() if value]
        return f"InputSpec({', '.join(shown)})"

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "dtype": self.dtype,
            "shape": self.shape,
            "ndim": self.ndim,
            "max_ndim": self.max_ndim,
            "min_ndim": self.min_ndim,
            "axes": self.axes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """The demand whose `get_config` gave ``config``."""
        return cls(**config)


def assert_input_compatibility(input_spec: Any, inputs: Any, layer_name: str) -> None:
    """Raises ValueError unless ``inputs`` are what a layer demands.

    Args:
      input_spec: a structure of `InputSpec`, or None.
      inputs: a structure of as many tensors.
      layer_name: for messages.
    """
    if not input_spec:
        return
    inputs, specs = nest.flatten(inputs), nest.flatten(input_spec)
    if len(inputs) != len(specs):
        raise ValueError(
            f"Layer {layer_name} expects {len(specs)} inputs, but it received {len(inputs)} input tensors. "
            f"Inputs received: {inputs}"
        )
    for index, (x, spec) in enumerate(zip(inputs, specs, strict=True)):
        if spec is not None:
            _check(x, spec, index, layer_name)


def _check(x: Any, spec: InputSpec, index: int, layer_name: str) -> None:
    intro = f"Input {index} of layer {layer_name} is incompatible with the layer: "
    rank = x.shape.ndims
    if rank is None and not spec.ndim is spec.min_ndim is spec.max_ndim is None:
        raise ValueError(f"{intro}its rank is undefined, but the layer requires a defined rank.")
    if spec.ndim is not None and rank != spec.ndim:
        raise ValueError(
            f"{intro}expected ndim={spec.ndim}, found ndim={rank}. Full shape received: {x.shape.as_list()}"
        )
    if spec.max_ndim is not None and rank > spec.max_ndim:
        raise ValueError(f"{intro}expected max_ndim={spec.max_ndim}, found ndim={rank}")
    if spec.min_ndim is not None and rank < spec.min_ndim:
        raise ValueError(
            f"{intro}: expected min_ndim={spec.min_ndim}, found ndim={rank}. "
            f"Full shape received: {x.shape.as_list()}"
        )
    if spec.dtype is not None and x.dtype != spec.dtype:
        raise ValueError(f"{intro}expected dtype={spec.dtype}, found dtype={x.dtype}")
    if spec.axes:
        shape = x.shape.as_list()
        for axis, wanted in spec.axes.items():
            value = getattr(wanted, "value", wanted)
            if value is not None and shape[axis] not in (value, None):
                raise ValueError(
                    f"{intro}expected axis {axis} of input shape to have value {value} but received input "
                    f"with shape {shape}"
                )
    if spec.shape is not None:
        shape = x.shape.as_list()
        for wanted, found in zip(spec.shape, shape, strict=False):
            if wanted is not None and found is not None and wanted != found:
                raise ValueError(
                    f"Input {index} is incompatible with layer {layer_name}: expected shape={spec.shape}, "
                    f"found shape={shape}"
                )
