"""Losses as objects, which are configured once and called with labels and predictions.

Source: tensorflow/python/keras/losses.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.keras import losses
from kvarn.keras.losses import LossFunctionWrapper, Reduction


def _of_function(class_name: str, function: Any) -> Any:
    """A class for a function without arguments of its own."""

    def __init__(self: Any, reduction: str = Reduction.AUTO, name: str = function.__name__) -> None:
        LossFunctionWrapper.__init__(self, function, reduction=reduction, name=name)

    doc = (
        f"`{function.__name__}` as an object, whose `reduction` says what becomes of the losses of examples."
    )
    attributes = {"__init__": __init__, "__doc__": doc, "__module__": __name__}
    return type(class_name, (LossFunctionWrapper,), attributes)


MeanSquaredError = _of_function("MeanSquaredError", losses.mean_squared_error)
MeanAbsoluteError = _of_function("MeanAbsoluteError", losses.mean_absolute_error)
MeanAbsolutePercentageError = _of_function(
    "MeanAbsolutePercentageError", losses.mean_absolute_percentage_error
)
MeanSquaredLogarithmicError = _of_function(
    "MeanSquaredLogarithmicError", losses.mean_squared_logarithmic_error
)
Hinge = _of_function("Hinge", losses.hinge)
SquaredHinge = _of_function("SquaredHinge", losses.squared_hinge)
CategoricalHinge = _of_function("CategoricalHinge", losses.categorical_hinge)
LogCosh = _of_function("LogCosh", losses.logcosh)
KLDivergence = _of_function("KLDivergence", losses.kullback_leibler_divergence)
Poisson = _of_function("Poisson", losses.poisson)


class BinaryCrossentropy(LossFunctionWrapper):
    """`kvarn.keras.losses.binary_crossentropy` as an object, whose arguments these are."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0,
        reduction: str = Reduction.AUTO,
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(
            losses.binary_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """`kvarn.keras.losses.categorical_crossentropy` as an object, whose arguments these are."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0,
        reduction: str = Reduction.AUTO,
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            reduction,
            name,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """`kvarn.keras.losses.sparse_categorical_crossentropy` as an object, whose arguments these are."""

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str = Reduction.AUTO,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(losses.sparse_categorical_crossentropy, reduction, name, from_logits=from_logits)


CLASSES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredLogarithmicError, Hinge,
        SquaredHinge, CategoricalHinge, LogCosh, KLDivergence, Poisson, BinaryCrossentropy,
        CategoricalCrossentropy, SparseCategoricalCrossentropy,
    )
}  # fmt: skip
