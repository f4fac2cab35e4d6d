"""Variables that start from the values of a checkpoint.

Source: tensorflow/python/training/checkpoint_utils.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import errors
from kvarn.checkpoint.load import CheckpointReader, checkpoint_filename
from kvarn.graph.graph import device
from kvarn.ops import checkpoint as io_ops
from kvarn.saver.saveable_object_util import op_list_to_dict, saveable_objects_for_op
from kvarn.variables import scope as variable_scope
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.variable import Variable


def init_from_checkpoint(ckpt_dir_or_file: Any, assignment_map: dict[str, Any]) -> None:
    """Makes the initializers of variables read a checkpoint.

    Nothing is read before the initializers run.  What a variable's initial value was is lost.

    Args:
      ckpt_dir_or_file: a prefix, or a directory whose newest checkpoint is taken.
      assignment_map: by the name in the checkpoint, a variable, the slices of one in a list, or the name of
        one that `get_variable` made; ``"old/": "new/"`` takes all variables of a scope, and ``"/"`` stands for
        the outermost.

    Raises:
      ValueError: a tensor is not in the checkpoint or has another shape, slices belong to several variables,
        or a scope is to come from a name that is none.
      NotFoundError, DataLossError and the like: the checkpoint can not be read.
      UnimplementedError: an embedding variable is to be initialized so.
    """
    prefix = checkpoint_filename(ckpt_dir_or_file)
    shapes = CheckpointReader(prefix).get_variable_to_shape_map()
    made = variable_scope._get_default_variable_store()._vars
    # All is checked before any variable is changed.
    wanted: list[tuple[Any, str]] = []
    for source, target in sorted(assignment_map.items(), key=lambda item: item[0]):
        variable = _find(target, made) if isinstance(target, str) else target
        if variable is None:
            wanted.extend(_of_scope(ckpt_dir_or_file, source, target, made, shapes))
        else:
            _check(ckpt_dir_or_file, source, variable, shapes)
            wanted.append((variable, source))
    for variable, source in wanted:
        for part, slice_spec in _parts(variable):
            _set_initializer(part, prefix, source, slice_spec)


def _check(given: Any, source: str, variable: Any, shapes: dict[str, list[int]]) -> None:
    for part, _ in _parts(variable):
        if isinstance(part, EmbeddingVariable):
            raise errors.UnimplementedError.of(
                "init_from_checkpoint does not initialize embedding variables.",
                name=part.name,
                hint="Restore it with a tf.train.Saver({name_in_the_checkpoint: variable}).",
            )
    if source not in shapes:
        raise ValueError(f"Tensor {source} is not found in {given} checkpoint {shapes}")
    if isinstance(variable, Variable) and not variable.get_shape().is_compatible_with(shapes[source]):
        raise ValueError(
            f"Shape of variable {variable.name} ({variable.get_shape()}) doesn't match with shape of tensor "
            f"{source} ({shapes[source]}) from checkpoint reader."
        )


def _of_scope(
    given: Any, source: str, target: str, made: dict[str, Any], shapes: dict[str, list[int]]
) -> Iterator[tuple[Any, str]]:
    """All variables whose names begin with the scope ``target``, from the same names under ``source``."""
    scope = target.rpartition("/")[0]
    if not source.endswith("/"):
        raise ValueError(
            f"Assignment map with scope only name {scope} should map to scope only {source}. "
            "Should be 'scope/': 'other_scope/'."
        )
    inside = {name.partition("/part_")[0] for name in made if not scope or name.startswith(scope + "/")}
    for name in sorted(inside):
        rest = name[len(scope) :]
        wanted = rest if target == "/" else rest[1:]
        wanted = (wanted if source == "/" else source + wanted).removesuffix("/")
        if wanted not in shapes:
            raise ValueError(
                f"Tensor {wanted} ({name[len(scope) + 1 :]} in {source}) is not found in {given} checkpoint"
            )
        yield _find(name, made), wanted


def _find(name: str, made: dict[str, Any]) -> Any:
    """The variable that `get_variable` made under a name, or a list of its parts, or None."""
    if name in made:
        return made[name]
    parts: list[Any] = []
    while f"{name}/part_{len(parts)}" in made:
        parts.append(made[f"{name}/part_{len(parts)}"])
    return parts or None


def _parts(variable: Any) -> list[tuple[Any, str]]:
    """The variables to initialize, each with its slice of the tensor in the checkpoint."""
    if isinstance(variable, Variable):
        return [(variable, "")]
    slices = [part._get_save_slice_info() for part in variable]
    for info in slices:
        if info.full_name != slices[0].full_name:
            raise ValueError(
                f"Slices must all be from the same tensor: {slices[0].full_name} != {info.full_name}"
            )
    return [(part, info.spec) for part, info in zip(variable, slices, strict=True)]


def _set_initializer(variable: Any, prefix: str, source: str, slice_spec: str) -> None:
    with device(variable.device), device("/cpu:0"):
        value = io_ops.restore_v2(
            prefix, [source], [slice_spec], [variable.dtype.base_dtype], name="checkpoint_initializer"
        )[0]
        ((name, op),) = op_list_to_dict([variable]).items()
        (saveable,) = saveable_objects_for_op(op, name)
    variable._initializer_op = saveable.restore([value], restored_shapes=None)
    value.set_shape(variable.shape)
    variable._initial_value = value
