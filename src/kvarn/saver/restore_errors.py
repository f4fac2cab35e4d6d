"""What a failed restore says: TensorFlow's text, the names and files concerned, and what to do.

Source: `_wrap_restore_error_with_msg` in tensorflow/python/training/saver.py.
"""

from __future__ import annotations

from kvarn import errors

_FAILED = (
    "Restoring from checkpoint failed. This is most likely due to {} from the checkpoint. Please ensure that "
    "you have not altered the graph expected based on the checkpoint. Original error:\n\n{}"
)


def no_checkpoint(prefix: str) -> ValueError:
    """The error for a path where no checkpoint is."""
    from kvarn.formats.detect import find_files

    hint: str | None = None
    try:
        find_files(prefix)
    except errors.OpError as e:
        hint = e.hint
    text = f"The passed save_path is not a valid checkpoint: {prefix}"
    return ValueError(f"{text}\n  {hint}" if hint else text)


def missing(error: errors.OpError, prefix: str) -> errors.OpError:
    """The error for a name that ``prefix`` does not have."""
    return _wrapped(
        error,
        "a Variable name or other graph key that is missing",
        prefix,
        f"`kvarn ls {prefix}` lists the names that are there; give Saver a var_list with only those, or a "
        "dictionary from their names to the variables.",
    )


def mismatch(error: errors.OpError, prefix: str) -> errors.OpError:
    """The error for a value that does not fit its variable."""
    return _wrapped(
        error,
        "a mismatch between the current graph and the graph",
        prefix,
        f"`kvarn ls {prefix}` shows the stored shapes and types; build the variable with them, or leave it "
        "out of the Saver's var_list.",
    )


def _wrapped(error: errors.OpError, reason: str, prefix: str, hint: str) -> errors.OpError:
    # The error's own hint is the last line of its message already.
    return type(error)(
        error.node_def,
        error.op,
        _FAILED.format(reason, error.message),
        name=error.name,
        path=error.path or prefix,
        offset=error.offset,
        hint=hint,
    )
