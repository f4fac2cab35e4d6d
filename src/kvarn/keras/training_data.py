"""Arrays as they are fed to a model: one for each of its inputs and outputs, checked.

Source: tensorflow/python/keras/engine/training_utils.py, training.py `_standardize_user_data` (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kvarn.data.dataset import DatasetV2
from kvarn.graph.tensor_util import is_tensor
from kvarn.keras import losses

_Shape = tuple[int | None, ...] | None


def refuse_others(x: Any, what: str) -> None:
    """Raises NotImplementedError for data that is no array: tensors, datasets and generators."""
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else [x]
    for part in parts:
        if is_tensor(part) or isinstance(part, DatasetV2) or hasattr(part, "__next__"):
            raise NotImplementedError(f"{what} of a Keras model as {type(part).__name__}; kvarn takes arrays")


def standardize(data: Any, names: Sequence[str], shapes: Sequence[_Shape], what: str) -> list[Any]:
    """The arrays of a list, a dictionary or alone, in the order of ``names``.

    Args:
      data: arrays; vectors become matrices of one column where a matrix is expected.
      names: of inputs or outputs.
      shapes: expected; the first dimension is not looked at. None where any will do.
      what: ``input`` or ``target``, for messages.

    Raises:
      ValueError: an array is missing, there are more, or one has another shape.
    """
    found = [_matrix(x, shape) for x, shape in zip(_listed(data, names, what), shapes, strict=False)]
    if len(found) != len(names):
        raise ValueError(
            f"Error when checking model {what}: the list of Numpy arrays that you are passing to your model is not "
            f"the size the model expected. Expected to see {len(names)} array(s), but instead got the following list "
            f"of {len(found)} arrays: {str(found)[:200]}..."
        )
    for x, name, shape in zip(found, names, shapes, strict=True):
        if shape is not None:
            _check_shape(x.shape, name, shape, what)
    return found


def _listed(data: Any, names: Sequence[str], what: str) -> list[Any]:
    if isinstance(data, dict):
        missing = [name for name in names if name not in data]
        if missing:
            raise ValueError(f'No data provided for "{missing[0]}". Need data for each key in: {list(names)}')
        data = [data[name] for name in names]
    elif isinstance(data, (list, tuple)):
        # A list of numbers or of rows, and no list of arrays.
        if len(names) == 1 and data and not hasattr(data[0], "shape") and not _is_one_array(data):
            data = [data]
    else:
        data = [data]
    if len(data) > len(names):
        raise ValueError(
            f"Error when checking model {what}: the list of Numpy arrays that you are passing to your model is not "
            f"the size the model expected. Expected to see {len(names)} array(s), but instead got the following list "
            f"of {len(data)} arrays: {str(list(data))[:200]}..."
        )
    return [np.asarray(getattr(x, "values", x)) for x in data]


def _is_one_array(data: Any) -> bool:
    """Whether a list of lists holds one array, nested once more."""
    return len(data) == 1 and isinstance(data[0], (list, tuple))


def _matrix(x: Any, shape: _Shape) -> Any:
    return np.expand_dims(x, 1) if x.ndim == 1 and (shape is None or len(shape) != 1) else x


def _check_shape(found: tuple[int, ...], name: str, expected: tuple[int | None, ...], what: str) -> None:
    if len(found) != len(expected):
        raise ValueError(
            f"Error when checking {what}: expected {name} to have {len(expected)} dimensions, but got array with "
            f"shape {found}"
        )
    found, expected = found[1:], expected[1:]
    if any(e is not None and e != f for f, e in zip(found, expected, strict=True)):
        raise ValueError(
            f"Error when checking {what}: expected {name} to have shape {expected} but got array with shape {found}"
        )


def check_lengths(inputs: list[Any], targets: list[Any], weights: list[Any]) -> None:
    """Raises ValueError unless all arrays have as many examples."""
    of_inputs, of_targets, of_weights = (
        {x.shape[0] for x in arrays if x is not None} for arrays in (inputs, targets, weights)
    )
    if len(of_inputs) > 1:
        raise ValueError(
            "All input arrays (x) should have the same number of samples. Got array shapes: "
            f"{[x.shape for x in inputs]}"
        )
    if len(of_targets) > 1:
        raise ValueError(
            "All target arrays (y) should have the same number of samples. Got array shapes: "
            f"{[y.shape for y in targets]}"
        )
    if of_inputs and of_targets and of_inputs != of_targets:
        raise ValueError(
            "Input arrays should have the same number of samples as target arrays. Found "
            f"{min(of_inputs)} input samples and {min(of_targets)} target samples."
        )
    if of_weights and of_targets and of_weights != of_targets:
        raise ValueError(
            "Sample_weight arrays should have the same number of samples as target arrays. Got "
            f"{min(of_weights)} input samples and {min(of_targets)} target samples."
        )


def check_targets(targets: list[Any], loss_fns: Sequence[Any], shapes: Sequence[_Shape]) -> None:
    """Raises ValueError if a loss can not be meant for targets of such a shape."""
    same_shape = (losses.mean_squared_error, losses.binary_crossentropy, losses.categorical_crossentropy)
    for y, loss, shape in zip(targets, loss_fns, shapes, strict=True):
        if losses.is_loss_of(loss, losses.categorical_crossentropy) and y.shape[-1] == 1:
            raise ValueError(
                f"You are passing a target array of shape {y.shape} while using as loss `categorical_crossentropy`. "
                "`categorical_crossentropy` expects targets to be binary matrices (1s and 0s) of shape (samples, "
                "classes). For integer classes, use the loss function `sparse_categorical_crossentropy`."
            )
        if shape is None or not any(losses.is_loss_of(loss, function) for function in same_shape):
            continue
        if any(o is not None and o != t for t, o in zip(y.shape[1:], shape[1:], strict=False)):
            raise ValueError(
                f"A target array with shape {y.shape} was passed for an output of shape {shape} while using as loss "
                f"`{loss.name}`. This loss expects targets to have the same shape as the output."
            )


def per_output(value: Any, names: Sequence[str], what: str) -> list[Any]:
    """What is given for each output: a dictionary by name, a list, or for a single output alone; None for none.

    Raises:
      ValueError: a name is no output, or a list has more or fewer.
      TypeError: several outputs and something else.
    """
    if value is None:
        return [None] * len(names)
    if isinstance(value, dict):
        check_names(what, value, names)
        return [value.get(name) for name in names]
    if len(names) == 1:
        return [value[0] if isinstance(value, list) and len(value) == 1 else value]
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"The model has multiple outputs, so `{what}` should be either a list or a dict. Provided `{what}` type "
            f"not understood: {value}"
        )
    if len(value) != len(names):
        raise ValueError(
            f"Provided `{what}` was a list of {len(value)} elements, but the model has {len(names)} outputs. You "
            f"should provide one `{what}`array per model output."
        )
    return list(value)


def check_names(what: str, given: Any, names: Sequence[str]) -> None:
    """Raises ValueError for a key of ``given`` that is no output's name."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(
            f"Unknown entries in {what} dictionary: {unknown}. Only expected following keys: {list(names)}"
        )


def weights_of_examples(y: Any, sample_weight: Any, class_weight: Any) -> Any:
    """The weight of each example, [batch]; None if all have the same.

    Args:
      y: targets.
      sample_weight: one for each example.
      class_weight: by class.

    Raises:
      ValueError: a weight for each example and step, or a class without a weight.
    """
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
        if sample_weight.ndim != 1:
            raise NotImplementedError(f"Weights of steps: `sample_weight` of shape {sample_weight.shape}")
    if not isinstance(class_weight, dict):
        return sample_weight
    if y.ndim > 2:
        raise ValueError("`class_weight` not supported for 3+ dimensional targets.")
    classes = np.argmax(y, axis=1) if y.ndim == 2 and y.shape[1] > 1 else np.reshape(y, y.shape[0])
    missing = set(classes.tolist()) - set(class_weight)
    if missing:
        raise ValueError(
            f"`class_weight` must contain all classes in the data. The classes {missing} exist in the data but not "
            "in `class_weight`."
        )
    of_classes = np.asarray([class_weight[c] for c in classes])
    return of_classes if sample_weight is None else of_classes * sample_weight
