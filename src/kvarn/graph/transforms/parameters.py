"""Transforms and their parameters as text: ``strip_unused_nodes remove_nodes(op=Identity, op="CheckNumerics")``.

Source: tensorflow/tools/graph_transforms/transform_graph.cc and transform_utils.cc (1.15).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kvarn import errors
from kvarn.graph.transforms.node_defs import node_name

_WORD = re.compile(r"[A-Za-z0-9_]+")
_VALUE = re.compile(r"[A-Za-z0-9_\-./]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SEPARATOR = re.compile(r",?\s*")


@dataclass(frozen=True, slots=True)
class Context:
    """What a transform is told besides the graph.

    Attributes:
      inputs: names of nodes or tensors that are fed.
      outputs: names of nodes or tensors that are fetched.
      parameters: its parameters' values, in order, by name.
    """

    inputs: list[str]
    outputs: list[str]
    parameters: dict[str, list[str]]

    def values(self, name: str) -> list[str]:
        """All values of a parameter."""
        return self.parameters.get(name, [])

    def text(self, name: str, default: str) -> str:
        """The value of a parameter.

        Raises:
          InvalidArgumentError: it is there several times.
        """
        values = self.values(name)
        if len(values) > 1:
            raise errors.InvalidArgumentError.of(
                f"Expected a single '{name}' parameter, but found {len(values)} occurrences"
            )
        return values[0] if values else default

    def integer(self, name: str, default: int) -> int:
        """The value of a parameter that is an integer.

        Raises:
          InvalidArgumentError: it is none, or it is there several times.
        """
        text = self.text(name, str(default))
        if not re.fullmatch(r"\s*-?\d+\s*", text):
            raise errors.InvalidArgumentError.of(f"Couldn't interpret the {name} argument as a number:{text}")
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """The value of a parameter that is true or false.

        Raises:
          InvalidArgumentError: it is neither, or it is there several times.
        """
        text = self.text(name, str(default).lower())
        if text not in ("true", "1", "false", "0"):
            raise errors.InvalidArgumentError.of(
                f"Couldn't interpret the {name} argument as a boolean:{text} (expected true, false, 0 or 1)"
            )
        return text in ("true", "1")

    def required_nodes(self) -> set[str]:
        """The nodes that are fed or fetched."""
        return {node_name(text) for text in (*self.inputs, *self.outputs)}


def parse(text: str) -> list[tuple[str, dict[str, list[str]]]]:
    """The transforms of a text, each with the values of its parameters by name.

    As in TensorFlow, a transform whose parenthesis is not closed is left out.

    Raises:
      InvalidArgumentError: the text is something else.
    """
    result: list[tuple[str, dict[str, list[str]]]] = []
    at = 0

    def expect(pattern: re.Pattern[str], what: str) -> Any:
        found = pattern.match(text, at)
        if found is None:
            raise errors.InvalidArgumentError.of(f"Looking for {what}, but found {text[at:]}")
        return found

    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        found = expect(_WORD, "transform name")
        name, at = found[0], found.end()
        parameters: dict[str, list[str]] = {}
        if not text.startswith("(", at):
            result.append((name, parameters))
            continue
        at += 1
        while at < len(text):
            if text.startswith(")", at):
                at += 1
                result.append((name, parameters))
                break
            separator = _SEPARATOR.match(text, at)
            at = separator.end() if separator else at
            found = expect(_WORD, "parameter name")
            parameter, at = found[0], found.end()
            if not text.startswith("=", at):
                raise errors.InvalidArgumentError.of(f"Looking for =, but found {text[at:]}")
            at += 1
            if at == len(text):
                break
            found = expect(_QUOTED if text.startswith('"', at) else _VALUE, "parameter name")
            parameters.setdefault(parameter, []).append(found[1] if found.re is _QUOTED else found[0])
            at = found.end()
            for quote in ('"', "'"):
                at += text.startswith(quote, at)
    return result
