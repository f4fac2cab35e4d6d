"""Variables chosen by name that start from the values of a checkpoint.

Source: tensorflow/python/training/warm_starting_util.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kvarn import errors
from kvarn.checkpoint.load import checkpoint_filename
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, get_collection
from kvarn.ops import state
from kvarn.saver.object_graph import object_graph_key_mapping
from kvarn.saver.saveable_object_util import op_list_to_dict
from kvarn.train.checkpoint_ops import _load_and_remap_matrix_initializer
from kvarn.train.checkpoint_utils import init_from_checkpoint
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.scope import _PartitionInfo
from kvarn.variables.variable import Variable


class _VocabInfo(NamedTuple):
    new_vocab: Any
    new_vocab_size: int
    num_oov_buckets: int
    old_vocab: Any
    old_vocab_size: int = -1
    backup_initializer: Any = None
    axis: int = 0


class VocabInfo(_VocabInfo):
    """How the rows or columns of a variable have changed their meaning.

    Args:
      new_vocab, new_vocab_size: a file with an entry a line, and how many of them count.
      num_oov_buckets: how many rows or columns come after these.
      old_vocab, old_vocab_size: the same of the checkpoint; -1 for all lines.
      backup_initializer: for what the checkpoint does not have; zeros by default.
      axis: 0 for rows, 1 for columns.

    Raises:
      ValueError: another axis.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> VocabInfo:
        made = super().__new__(cls, *args, **kwargs)
        _check_axis(made.axis)
        return made


def _check_axis(axis: Any) -> None:
    if axis not in (0, 1):
        raise ValueError(
            f"The only supported values for the axis argument are 0 and 1.  Provided axis: {axis}"
        )


def _infer_var_name(var: list[Any]) -> str:
    """The name in a checkpoint of a variable in a list, or of the one whose parts are there.

    Raises:
      TypeError: several variables.
    """
    found = op_list_to_dict(var)
    if len(found) > 1:
        raise TypeError(f"`var` = {var} passed as arg violates the constraints.  name_to_var_dict = {found}")
    (name,) = found
    return name


def _variables_of(var: Any) -> list[Any]:
    """A variable, the parts of one in a list or in a PartitionedVariable, as a list.

    Raises:
      TypeError: ``var`` is none of these.
    """
    if isinstance(var, Variable):
        return [var]
    if isinstance(var, list) and all(isinstance(v, Variable) for v in var):
        return var
    if isinstance(var, PartitionedVariable):
        return list(var._get_variable_list())
    raise TypeError(
        f"var MUST be one of the following: a Variable, list of Variable or PartitionedVariable, but is {type(var)}"
    )


def _get_var_info(var: Any, prev_tensor_name: str | None = None) -> tuple[str, Any]:
    """The name to read in the checkpoint (the variable's own if none is given), and what to initialize."""
    parts = _variables_of(var)
    return prev_tensor_name or _infer_var_name(parts), var if isinstance(var, Variable) else parts


def _warm_start_var_with_vocab(
    var: Any,
    current_vocab_path: Any,
    current_vocab_size: int,
    prev_ckpt: Any,
    prev_vocab_path: Any,
    previous_vocab_size: int = -1,
    current_oov_buckets: int = 0,
    prev_tensor_name: str | None = None,
    initializer: Any = None,
    axis: int = 0,
) -> None:
    """Makes the initializer of a variable, or of its parts, read rows or columns by their entries of a vocabulary.

    Raises:
      ValueError: a path or a size is missing, or the axis is neither 0 nor 1.
    """
    if not (current_vocab_path and current_vocab_size and prev_ckpt and prev_vocab_path):
        raise ValueError(
            "Invalid args: Must provide all of [current_vocab_path, current_vocab_size, prev_ckpt, prev_vocab_path}."
        )
    _check_axis(axis)
    parts = _variables_of(var)
    name = prev_tensor_name or _infer_var_name(parts)
    n_rows = sum(v.get_shape().as_list()[0] for v in parts)
    for part in parts:
        shape = part.get_shape().as_list()
        info = part._get_save_slice_info()
        rows = axis == 0
        initialize = _load_and_remap_matrix_initializer(
            ckpt_path=checkpoint_filename(prev_ckpt),
            old_tensor_name=name,
            new_row_vocab_size=current_vocab_size if rows else n_rows,
            new_col_vocab_size=shape[1] if rows else current_vocab_size,
            old_row_vocab_size=previous_vocab_size if rows else -1,
            old_row_vocab_file=prev_vocab_path if rows else None,
            new_row_vocab_file=current_vocab_path if rows else None,
            old_col_vocab_file=None if rows else prev_vocab_path,
            new_col_vocab_file=None if rows else current_vocab_path,
            num_row_oov_buckets=current_oov_buckets if rows else 0,
            num_col_oov_buckets=0 if rows else current_oov_buckets,
            initializer=initializer,
        )
        partition = (
            None if info is None else _PartitionInfo(full_shape=info.full_shape, var_offset=info.var_offset)
        )
        value = convert_to_tensor(initialize(shape=shape, partition_info=partition))
        part._initializer_op = state.assign(part, value)
        part._initial_value = value


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
      var_name_to_vocab_info: a VocabInfo by name, for variables whose rows or columns belong to a vocabulary.
      var_name_to_prev_var_name: the name in the checkpoint where it is another.

    Raises:
      ValueError: ``vars_to_warm_start`` is none of these, a name of the dictionaries was not chosen, and as
        `init_from_checkpoint`.
    """
    groups: dict[str, list[Any]] = {}
    for variable in _chosen(vars_to_warm_start):
        groups.setdefault(_infer_var_name([variable]), []).append(variable)
    earlier = dict(var_name_to_prev_var_name or _object_based_names(ckpt_to_initialize_from, groups))
    vocabularies = dict(var_name_to_vocab_info or {})
    sources: dict[str, Any] = {}
    for name, group in groups.items():
        earlier_name = earlier.pop(name, None)
        info = vocabularies.pop(name, None)
        if info is not None:
            _warm_start_var_with_vocab(
                group,
                current_vocab_path=info.new_vocab,
                current_vocab_size=info.new_vocab_size,
                prev_ckpt=ckpt_to_initialize_from,
                prev_vocab_path=info.old_vocab,
                previous_vocab_size=info.old_vocab_size,
                current_oov_buckets=info.num_oov_buckets,
                prev_tensor_name=earlier_name,
                initializer=info.backup_initializer,
                axis=info.axis,
            )
        elif vars_to_warm_start:
            source, variable = _get_var_info(group[0] if len(group) == 1 else group, earlier_name)
            sources[source] = variable
    init_from_checkpoint(ckpt_to_initialize_from, sources)
    for what, unused in (
        ("var_name_to_prev_var_name", earlier),
        ("var_name_to_vocab_info", vocabularies),
    ):
        if unused:
            raise ValueError(
                f"You provided the following variables in {what} that were not used: {set(unused)}.  Perhaps you "
                f"misspelled them?  Here is the list of viable variable names: {list(groups)}"
            )


def _object_based_names(path: Any, names: Iterable[str]) -> dict[str, str]:
    """The keys of variables in an object-based checkpoint, by their names; nothing for another one.

    Raises:
      ValueError: the checkpoint lacks one of them.
    """
    try:
        keys = object_graph_key_mapping(checkpoint_filename(path))
    except errors.NotFoundError:
        return {}
    missing = set(names) - set(keys)
    if missing:
        raise ValueError(
            "Attempting to warm-start from an object-based checkpoint, but found that the checkpoint did not contain "
            f"values for all variables. The following variables were missing: {missing}"
        )
    return {name: keys[name] for name in names}


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
