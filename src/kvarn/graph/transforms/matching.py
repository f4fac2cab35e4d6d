"""Patterns of nodes, found and replaced.

Source: tensorflow/tools/graph_transforms/transform_utils.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kvarn import errors, tf_logging
from kvarn.graph.transforms.node_defs import canonical, copy_of, input_parts, node_name


@dataclass(frozen=True, slots=True)
class Pattern:
    """Nodes of some ops with inputs of some patterns.

    Attributes:
      op: an op type, several with ``|`` between them, or ``*``.
      inputs: patterns of all inputs that are no control inputs; any inputs when empty.
    """

    op: str
    inputs: tuple[Pattern, ...] = ()


@dataclass(slots=True)
class Match:
    """A node that a pattern fits, and those of its inputs that the pattern names."""

    node: Any
    inputs: list[Match] = field(default_factory=list)

    def nodes(self) -> list[Any]:
        """All nodes of the match, each once, those nearest to the first node first."""
        found: dict[str, Any] = {}
        level = [self]
        while level:
            fresh = [m for m in level if m.node.name not in found]
            below: list[Match] = []
            for match in fresh:
                if match.node.name not in found:
                    found[match.node.name] = match.node
                    below.extend(match.inputs)
            level = below
        return list(found.values())


def sorted_by_execution(nodes: Sequence[Any]) -> list[Any]:
    """The nodes, each after its inputs.

    Raises:
      InvalidArgumentError: an input does not exist, or nodes wait for each other.
    """
    done = _in_order(nodes)
    if len(done) < len(nodes):
        raise errors.InvalidArgumentError.of(f"{len(nodes) - len(done)} nodes in a cycle")
    return done


def replace_matching(
    nodes: Sequence[Any],
    pattern: Pattern,
    replace: Callable[[Match, set[str]], Sequence[Any]],
    allow_inconsistencies: bool = False,
) -> list[Any]:
    """The nodes with others in the place of every match.

    Args:
      nodes: NodeDef messages.
      pattern: what is looked for; a node is in one match only.
      replace: gets a match and the names of those of its nodes that others use, and gives the nodes to put there.
      allow_inconsistencies: what others use may be missing from these.

    Raises:
      InvalidArgumentError: an input does not exist.
    """
    matches = _matches(nodes, pattern)
    inside = {node.name for match in matches.values() for node in match.nodes()}
    users: dict[str, list[str]] = {}
    for node in nodes:
        for text in node.input:
            users.setdefault(node_name(text), []).append(node.name)
    result: list[Any] = []
    for node in nodes:
        match = matches.get(node.name)
        if match is None:
            if node.name not in inside:
                result.append(node)
            continue
        originals = match.nodes()
        names = {n.name for n in originals}
        needed = {name for name in names if any(user not in names for user in users.get(name, ()))}
        replaced = list(replace(match, needed))
        missing = needed - {n.name for n in replaced}
        if missing and not allow_inconsistencies:
            tf_logging.warning("'%s' stays as it is: other nodes use %s", node.name, sorted(missing))
            replaced = originals
        result.extend(replaced)
    return result


def with_renamed_inputs(nodes: Sequence[Any], names: dict[str, str]) -> list[Any]:
    """The nodes with other inputs.

    Args:
      nodes: NodeDef messages.
      names: new inputs by old ones, ``a``, ``a:1`` or ``^a``; what is new may be renamed again.

    Raises:
      InvalidArgumentError: renaming goes in a circle.
    """
    new_names = {canonical(old): new for old, new in names.items()}
    result = []
    for node in nodes:
        inputs = []
        for text in node.input:
            seen: set[str] = set()
            while canonical(text) in new_names:
                name = node_name(text)
                if name in seen:
                    raise errors.InvalidArgumentError.of(
                        f"RenameNodeInputs argument contains a cycle for {name}", name=name
                    )
                seen.add(name)
                text = new_names[canonical(text)]
            inputs.append(text)
        result.append(copy_of(node, input=inputs))
    return result


def _in_order(nodes: Sequence[Any]) -> list[Any]:
    index = {node.name: i for i, node in enumerate(nodes)}
    users: list[list[int]] = [[] for _ in nodes]
    pending = []
    for i, node in enumerate(nodes):
        marks = sum(text.startswith("^") for text in node.input)
        # A Merge runs as soon as one of its inputs is there.
        pending.append(marks + 1 if node.op in ("Merge", "RefMerge") else len(node.input))
        for text in node.input:
            source = index.get(input_parts(text)[1])
            if source is None:
                raise errors.InvalidArgumentError.of(
                    f"Node '{node.name}': Unknown input node '{text}'", name=node.name
                )
            users[source].append(i)
    ready = [i for i, node in enumerate(nodes) if not node.input]
    done = []
    while ready:
        i = ready.pop()
        done.append(nodes[i])
        for user in users[i]:
            pending[user] -= 1
            if pending[user] == 0:
                ready.append(user)
    return done


def _matches(nodes: Sequence[Any], pattern: Pattern) -> dict[str, Match]:
    """Matches by the names of their first nodes."""
    by_name = {node.name: node for node in nodes}
    taken: set[str] = set()
    found: dict[str, Match] = {}
    for node in _in_order(nodes):
        match = _match(node, pattern, by_name, taken)
        if match is not None:
            found[node.name] = match
            taken.update(n.name for n in match.nodes())
    return found


def _match(node: Any, pattern: Pattern, by_name: dict[str, Any], taken: set[str]) -> Match | None:
    if node.name in taken or (pattern.op != "*" and node.op not in pattern.op.split("|")):
        return None
    match = Match(node)
    if not pattern.inputs:
        return match
    inputs = [text for text in node.input if not text.startswith("^")]
    if len(inputs) != len(pattern.inputs):
        return None
    for text, wanted in zip(inputs, pattern.inputs, strict=True):
        below = _match(by_name[node_name(text)], wanted, by_name, taken)
        if below is None:
            return None
        match.inputs.append(below)
    return match
