"""Functions that make a layer and call it at once.

Source: tensorflow/python/layers/{convolutional,pooling}.py (1.15).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kvarn.layers.base import Layer


def functional(layer_class: type[Layer], name: str, shares: bool = True) -> Callable[..., Any]:
    """The function of a layer: the inputs, then the arguments of the class, then ``reuse``.

    Args:
      name: of the function.
      shares: whether layers of a name share variables, so that there is an argument ``reuse``.
    """
    kinds = inspect.Parameter
    own = list(inspect.signature(layer_class.__init__).parameters.values())[1:]
    parameters = [kinds("inputs", kinds.POSITIONAL_OR_KEYWORD)]
    parameters += [p for p in own if p.kind is kinds.POSITIONAL_OR_KEYWORD]
    if shares:
        parameters.append(kinds("reuse", kinds.POSITIONAL_OR_KEYWORD, default=None))
    signature = inspect.Signature(parameters)

    def function(*args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind(*args, **kwargs).arguments)
        inputs = given.pop("inputs")
        if shares:
            given.update(_scope=given.get("name"), _reuse=given.pop("reuse", None))
        return layer_class(**given).apply(inputs)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = f"`inputs` through a layer `{layer_class.__name__}`, whose arguments these are."
    return function
