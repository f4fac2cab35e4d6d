"""Variables chosen by name that start from the values of a checkpoint.

Source: tensorflow/python/training/warm_starting_util.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import errors
from kvarn.graph.graph import GraphKeys, get_collection
from kvarn.saver.saveable_object_util import op_list_to_dict
from kvarn.train.checkpoint_utils import init_from_checkpoint
from kvarn.variables.variable import Variable


def warm_start(
    ckpt_to_initialize_from: Any,
    vars_to_warm_start: Any = ".*",
    var_name_to_vocab_info: dict[str, Any] | None = None,
    var_name_to_prev_var_name: dict[str, str] | None = None,
) -> None:
    """Makes the initializers of variables read a checkpoint; see `init_from_checkpoint`.

    Args:
      ckpt_to_initialize_from: a prefix, or a directory whose newest checkpoint is taken.
      vars_to_warm_start: a regular expression that the names of trainable variables begin with, None for all
        of these; a list of such for variables of any kind; or a list of variables.
      var_name_to_prev_var_name: the name in the checkpoint where it is another.

    Raises:
      ValueError: ``vars_to_warm_start`` is none of these, a name of ``var_name_to_prev_var_name`` was not
        chosen, and as `init_from_checkpoint`.
      UnimplementedError: vocabularies are given.
    """
    if var_name_to_vocab_info:
        raise errors.UnimplementedError.of(
            "warm_start does not map vocabularies.",
            hint="Leave var_name_to_vocab_info out and choose variables whose rows mean the same in both.",
        )
    groups: dict[str, list[Any]] = {}
    for variable in _chosen(vars_to_warm_start):
        (name,) = op_list_to_dict([variable])
        groups.setdefault(name, []).append(variable)
    earlier = dict(var_name_to_prev_var_name or {})
    sources: dict[str, Any] = {}
    if vars_to_warm_start:
        for name, group in groups.items():
            sources[earlier.pop(name, "") or name] = group[0] if len(group) == 1 else group
    init_from_checkpoint(ckpt_to_initialize_from, sources)
    if earlier:
        raise ValueError(
            "You provided the following variables in var_name_to_prev_var_name that were not used: "
            f"{set(earlier)}.  Perhaps you misspelled them?  Here is the list of viable variable names: "
            f"{list(groups)}"
        )


def _chosen(choice: Any) -> list[Any]:
    if choice is None or isinstance(choice, str):
        return list(get_collection(GraphKeys.TRAINABLE_VARIABLES, choice))
    if isinstance(choice, list):
        if all(isinstance(c, str) for c in choice):
            return [v for c in choice for v in get_collection(GraphKeys.GLOBAL_VARIABLES, c)]
        if all(isinstance(c, Variable) for c in choice):
            return choice
        raise ValueError(
            "If `vars_to_warm_start` is a list, it must be all `Variable` or all `str`.  Given types are "
            f"{[type(c) for c in choice]}"
        )
    raise ValueError(f"`vars_to_warm_start must be a `list` or `str`.  Given type is {type(choice)}")
