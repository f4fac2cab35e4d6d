"""Which layer is being called, for the layers that it calls and the updates that it adds.

Source: tensorflow/python/keras/engine/base_layer_utils.py (1.15).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any


class CallContext(threading.local):
    """What is going on in a thread.

    Attributes:
      layer: the innermost layer whose call is active, or None.
      inputs: its inputs.
      training: the training flag it was given, which layers inside take over.
    """

    layer: Any = None
    inputs: Any = None
    training: Any = None

    @property
    def in_call(self) -> bool:
        """Whether a layer is being called."""
        return self.layer is not None

    @contextlib.contextmanager
    def enter(self, layer: Any, inputs: Any, training: Any) -> Iterator[None]:
        """Inside, ``layer`` is being called."""
        previous = self.layer, self.inputs, self.training
        self.layer, self.inputs, self.training = layer, inputs, training
        try:
            yield
        finally:
            self.layer, self.inputs, self.training = previous


call_context = CallContext()


def reachable_from(inputs: list[Any], targets: list[Any]) -> set[Any]:
    """Those of ``targets``, operations and tensors, that depend on one of ``inputs``."""
    wanted = {id(target): target for target in targets}
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = list(inputs)
    while waiting and len(found) < len(wanted):
        x = waiting.pop()
        for consumer in x.consumers() if hasattr(x, "consumers") else [x.op]:
            if id(consumer) in seen:
                continue
            seen.add(id(consumer))
            for reached in (consumer, *consumer.outputs):
                if id(reached) in wanted:
                    found[id(reached)] = reached
            waiting.extend(consumer.outputs)
    found.update((id(x), x) for x in inputs if id(x) in wanted)
    return set(map(id, found.values()))
