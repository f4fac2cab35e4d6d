"""SignatureDef messages: which tensors a graph takes and gives, for whom.

Source: tensorflow/python/saved_model/signature_def_utils_impl.py (1.15).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.tensor import Tensor
from kvarn.saved_model import signature_constants as keys
from kvarn.saved_model import utils

_STRING = dtypes.string.as_datatype_enum
_FLOAT = dtypes.float32.as_datatype_enum


def build_signature_def(
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    method_name: str | None = None,
) -> Any:
    """A SignatureDef.

    Args:
      inputs: TensorInfo messages by key.
      outputs: TensorInfo messages by key.
      method_name: who it is for, such as ``signature_constants.PREDICT_METHOD_NAME``.
    """
    from kvarn import protos

    signature = protos.SignatureDef()
    for key, info in (inputs or {}).items():
        signature.inputs[key].CopyFrom(info)
    for key, info in (outputs or {}).items():
        signature.outputs[key].CopyFrom(info)
    if method_name is not None:
        signature.method_name = method_name
    return signature


def regression_signature_def(examples: Any, predictions: Any) -> Any:
    """The signature of a regression, as TensorFlow Serving has it.

    Args:
      examples: string Tensor of serialized tf.Example messages.
      predictions: float Tensor.

    Raises:
      ValueError: a tensor is missing or of another type.
    """
    inputs = _examples("Regression", keys.REGRESS_INPUTS, examples)
    if predictions is None:
        raise ValueError("Regression predictions cannot be None.")
    output = _info_of_type(predictions, _FLOAT, "Regression output must be a float Tensor.")
    return build_signature_def(inputs, {keys.REGRESS_OUTPUTS: output}, keys.REGRESS_METHOD_NAME)


def classification_signature_def(examples: Any, classes: Any, scores: Any) -> Any:
    """The signature of a classification, as TensorFlow Serving has it.

    Args:
      examples: string Tensor of serialized tf.Example messages.
      classes: string Tensor of names, or None.
      scores: float Tensor, or None.

    Raises:
      ValueError: a tensor is of another type, or ``classes`` and ``scores`` are both missing.
    """
    if examples is not None and isinstance(examples, Tensor) and classes is None and scores is None:
        raise ValueError("Classification classes and scores cannot both be None.")
    inputs = _examples("Classification", keys.CLASSIFY_INPUTS, examples)
    outputs = {}
    if classes is not None:
        outputs[keys.CLASSIFY_OUTPUT_CLASSES] = _info_of_type(
            classes, _STRING, "Classification classes must be a string Tensor."
        )
    if scores is not None:
        outputs[keys.CLASSIFY_OUTPUT_SCORES] = _info_of_type(
            scores, _FLOAT, "Classification scores must be a float Tensor."
        )
    return build_signature_def(inputs, outputs, keys.CLASSIFY_METHOD_NAME)


def predict_signature_def(inputs: Mapping[str, Any] | None, outputs: Mapping[str, Any] | None) -> Any:
    """The signature of a prediction, as TensorFlow Serving has it: tensors of any type by key.

    Raises:
      ValueError: there are no inputs, or no outputs.
    """
    if not inputs:
        raise ValueError("Prediction inputs cannot be None or empty.")
    if not outputs:
        raise ValueError("Prediction outputs cannot be None or empty.")
    return build_signature_def(_infos(inputs), _infos(outputs), keys.PREDICT_METHOD_NAME)


def supervised_train_signature_def(
    inputs: Mapping[str, Any] | None,
    loss: Mapping[str, Any] | None,
    predictions: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Any:
    """The signature of training: tensors by key.

    Raises:
      ValueError: there are no inputs.
    """
    return _supervised(keys.SUPERVISED_TRAIN_METHOD_NAME, inputs, loss, predictions, metrics)


def supervised_eval_signature_def(
    inputs: Mapping[str, Any] | None,
    loss: Mapping[str, Any] | None,
    predictions: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Any:
    """The signature of an evaluation: tensors by key.

    Raises:
      ValueError: there are no inputs.
    """
    return _supervised(keys.SUPERVISED_EVAL_METHOD_NAME, inputs, loss, predictions, metrics)


def is_valid_signature(signature_def: Any) -> bool:
    """Whether TensorFlow Serving can serve a signature."""
    if signature_def is None:
        return False
    check = _VALID.get(signature_def.method_name)
    return check is not None and check(signature_def)


def op_signature_def(op: Any, key: str) -> Any:
    """A signature that has only the name of an operation, as the output ``key``."""
    return build_signature_def(outputs={key: utils.build_tensor_info_from_op(op)})


def load_op_from_signature_def(signature_def: Any, key: str, import_scope: str | None = None) -> Any:
    """The Operation or Tensor of the default graph that `op_signature_def` has noted.

    Raises:
      NotFoundError: the graph has no such operation.
    """
    try:
        return utils.get_element_from_tensor_info(signature_def.outputs[key], import_scope=import_scope)
    except KeyError:
        raise errors.NotFoundError(
            None,
            None,
            f"The {key} could not be found in the graph. Please make sure the SavedModel was created by the "
            "internal _SavedModelBuilder. If you are using the public API, please make sure the SignatureDef "
            f'in the SavedModel does not contain the key "{key}".',
        ) from None


def _supervised(method: str, inputs: Mapping[str, Any] | None, *output_sets: Mapping[str, Any] | None) -> Any:
    if not inputs:
        raise ValueError(f"{method} inputs cannot be None or empty.")
    outputs: dict[str, Any] = {}
    for tensors in output_sets:
        outputs.update(_infos(tensors or {}))
    return build_signature_def(_infos(inputs), outputs, method)


def _infos(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {key: utils.build_tensor_info(tensor) for key, tensor in tensors.items()}


def _examples(what: str, key: str, examples: Any) -> dict[str, Any]:
    if examples is None:
        raise ValueError(f"{what} examples cannot be None.")
    message = f"{what} examples must be a string Tensor."
    if not isinstance(examples, Tensor):
        raise ValueError(message)
    return {key: _info_of_type(examples, _STRING, message)}


def _info_of_type(tensor: Any, dtype: int, message: str) -> Any:
    info = utils.build_tensor_info(tensor)
    if info.dtype != dtype:
        raise ValueError(message)
    return info


def _is_valid_predict(signature: Any) -> bool:
    return bool(signature.inputs) and bool(signature.outputs)


def _is_valid_regression(signature: Any) -> bool:
    return _has(signature.inputs, {keys.REGRESS_INPUTS: _STRING}) and _has(
        signature.outputs, {keys.REGRESS_OUTPUTS: _FLOAT}
    )


def _is_valid_classification(signature: Any) -> bool:
    types = {keys.CLASSIFY_OUTPUT_CLASSES: _STRING, keys.CLASSIFY_OUTPUT_SCORES: _FLOAT}
    outputs = signature.outputs
    return (
        _has(signature.inputs, {keys.CLASSIFY_INPUTS: _STRING})
        and bool(outputs)
        and all(key in types and info.dtype == types[key] for key, info in outputs.items())
    )


def _has(infos: Any, types: dict[str, int]) -> bool:
    return {key: info.dtype for key, info in infos.items()} == types


_VALID = {
    keys.PREDICT_METHOD_NAME: _is_valid_predict,
    keys.REGRESS_METHOD_NAME: _is_valid_regression,
    keys.CLASSIFY_METHOD_NAME: _is_valid_classification,
}
