"""An output of a model and what it is trained for.

Source: tensorflow/python/keras/engine/training.py `_TrainingEndpoint`, training_utils.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import constant
from kvarn.keras import backend, losses, sessions
from kvarn.keras.node import int_shape
from kvarn.keras.training_data import check_names
from kvarn.ops import array


class TrainingEndpoint:
    """An output, its loss and its target.

    Args:
      output: the tensor.
      name: of the output.
      loss_fn: a `Loss`, a function that reduces by itself, or None for an output that is not trained.

    Attributes:
      target: a placeholder like the output, or None.
      loss_weight: what the loss is multiplied with.
      sample_weight: a placeholder [batch], while examples have weights.
      weighs_samples: whether they have.
      metrics, weighted_metrics: objects, without and with the weights of examples.
      loss_metric: the mean of the loss over batches, if there are several outputs.
    """

    def __init__(self, output: Any, name: str, loss_fn: Any) -> None:
        self.output = output
        self.name = name
        self.loss_fn = loss_fn
        self.loss_weight: Any = 1.0
        self.sample_weight: Any = None
        self.weighs_samples = False
        self.metrics: list[Any] = []
        self.weighted_metrics: list[Any] = []
        self.loss_metric: Any = None
        self.target: Any = None
        if loss_fn is not None:
            self.target = sessions.placeholder(
                ndim=output.shape.ndims, name=name + "_target", dtype=output.dtype
            )

    @property
    def is_trained(self) -> bool:
        """Whether there is a loss."""
        return self.loss_fn is not None

    @property
    def loss_name(self) -> str:
        """What the loss is called in results."""
        return self.name + "_loss"

    @property
    def target_shape(self) -> Any:
        """The shape that targets must have; None if the loss takes any."""
        shape = int_shape(self.output)
        if losses.is_loss_of(self.loss_fn, losses.sparse_categorical_crossentropy):
            return (*shape[:-1], 1) if shape is not None else None
        known = isinstance(self.loss_fn, losses.Loss)
        if known and isinstance(self.loss_fn, losses.LossFunctionWrapper):
            known = self.loss_fn.fn in losses.FUNCTIONS.values()
        return shape if known else None

    def make_sample_weight(self) -> None:
        """The placeholder for weights of examples, if they have some."""
        self.sample_weight = None
        if self.weighs_samples and self.is_trained:
            self.sample_weight = array.placeholder_with_default(
                constant([1.0], dtype=backend.floatx()), shape=[None], name=self.name + "_sample_weights"
            )

    def loss(self) -> Any:
        """The loss of a batch, without its weight."""
        if not hasattr(self.loss_fn, "reduction"):
            return self.loss_fn(self.target, self.output, sample_weight=self.sample_weight)
        of_examples = self.loss_fn.call(self.target, self.output)
        return self.loss_fn.reduced(losses.weighted(of_examples, self.sample_weight))


def loss_functions(loss: Any, names: list[str]) -> list[Any]:
    """The loss of each output.

    Args:
      loss: one for all, a list, or a dictionary by name; each a name, a function, a `Loss` or None.

    Raises:
      ValueError: a list has more or fewer, or a name is no output's.
    """
    if isinstance(loss, dict):
        check_names("loss", loss, names)
        return [_loss_function(loss.get(name)) for name in names]
    if isinstance(loss, (list, tuple)):
        if len(loss) != len(names):
            raise ValueError(
                "When passing a list as loss, it should have one entry per model outputs. The model has "
                f"{len(names)} outputs, but you passed loss={loss}"
            )
        return [_loss_function(one) for one in loss]
    return [_loss_function(loss) for _ in names]


def _loss_function(loss: Any) -> Any:
    if loss is None or isinstance(loss, losses.Loss):
        return loss
    if callable(loss) and not hasattr(loss, "__name__"):
        return loss
    found = losses.get(loss)
    if isinstance(found, losses.Loss):
        return found
    return losses.LossFunctionWrapper(
        found, name=found.__name__, reduction=losses.Reduction.SUM_OVER_BATCH_SIZE
    )


def set_loss_weights(endpoints: list[TrainingEndpoint], loss_weights: Any) -> None:
    """Gives each output the weight of its loss.

    Args:
      loss_weights: a list, a dictionary by name, or None for 1.

    Raises:
      ValueError: a list has more or fewer, or a name is no output's.
      TypeError: something else.
    """
    if loss_weights is None:
        return
    if isinstance(loss_weights, dict):
        check_names("loss_weights", loss_weights, [e.name for e in endpoints])
        loss_weights = [loss_weights.get(e.name, 1.0) for e in endpoints]
    if not isinstance(loss_weights, list):
        raise TypeError(
            f"Could not interpret loss_weights argument: {loss_weights} - expected a list of dicts."
        )
    if len(loss_weights) != len(endpoints):
        raise ValueError(
            "When passing a list as loss_weights, it should have one entry per model output. The model has "
            f"{len(endpoints)} outputs, but you passed loss_weights={loss_weights}"
        )
    for endpoint, weight in zip(endpoints, loss_weights, strict=True):
        endpoint.loss_weight = weight
