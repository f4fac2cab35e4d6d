"""`tf.flags` and `tf.app` over absl's flags, whose values they share.

Beyond absl: the command line is read when a flag is first asked for, the older names of arguments are taken, and
`tf.app.run` hands flags that nobody defined on to ``main``.

Source: tensorflow/python/platform/{flags,app}.py (1.15).
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from absl import app
from absl import flags as absl_flags

# Flags belong to the program that defines them, not to this module.
absl_flags.disclaim_key_flags()

_RENAMED_ARGUMENTS: Final = {"flag_name": "name", "default_value": "default", "docstring": "help"}


class _FlagValuesWrapper:
    """absl's FlagValues, that read the command line when a flag is first asked for."""

    def __init__(self, flags_object: Any) -> None:
        object.__setattr__(self, "_wrapped", flags_object)

    def __getattribute__(self, name: str) -> Any:
        wrapped = object.__getattribute__(self, "_wrapped")
        if name in wrapped and not wrapped.is_parsed():
            wrapped(sys.argv)
        return getattr(wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_wrapped(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_wrapped(self), name)

    def __dir__(self) -> list[str]:
        return dir(_wrapped(self))

    def __getitem__(self, name: str) -> Any:
        return _wrapped(self)[name]

    def __setitem__(self, name: str, flag: Any) -> None:
        _wrapped(self)[name] = flag

    def __contains__(self, name: str) -> bool:
        return name in _wrapped(self)

    def __iter__(self) -> Iterator[str]:
        return iter(_wrapped(self))

    def __len__(self) -> int:
        return len(_wrapped(self))

    def __str__(self) -> str:
        return str(_wrapped(self))

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        rest: list[str] = _wrapped(self)(argv, known_only)
        return rest


def _wrapped(flags: _FlagValuesWrapper) -> Any:
    return object.__getattribute__(flags, "_wrapped")


def _with_older_names(define: Callable[..., Any]) -> Callable[..., Any]:
    """``define`` that also takes ``flag_name``, ``default_value`` and ``docstring``."""

    @functools.wraps(define)
    def defining(*args: Any, **kwargs: Any) -> Any:
        if not _RENAMED_ARGUMENTS.keys().isdisjoint(kwargs):
            logging.getLogger("tensorflow").warning(
                "Use of the keyword argument names (flag_name, default_value, docstring) is deprecated, please use "
                "(name, default, help) instead."
            )
        return define(*args, **{_RENAMED_ARGUMENTS.get(k, k): v for k, v in kwargs.items()})

    return defining


FLAGS = _FlagValuesWrapper(absl_flags.FLAGS)
DEFINE_string = _with_older_names(absl_flags.DEFINE_string)
DEFINE_boolean = DEFINE_bool = _with_older_names(absl_flags.DEFINE_boolean)
DEFINE_float = _with_older_names(absl_flags.DEFINE_float)
DEFINE_integer = _with_older_names(absl_flags.DEFINE_integer)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(absl_flags, name)


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> None:
    """Reads the flags, calls ``main`` (by default the program's own) with what is left, and exits with its answer.

    Raises:
      SystemExit: always; with status 1 if the command line does not fit the flags.
    """

    def parse(arguments: Sequence[str] | None) -> list[str]:
        return FLAGS(sys.argv if arguments is None else arguments, known_only=True)

    given = None if argv is None else list(argv)
    app.run(main=main or sys.modules["__main__"].main, argv=given, flags_parser=parse)
