"""`tf.flags` and `tf.app` where absl is not installed: the commonest kinds of flags.

The command line is read when a flag is first asked for.

Source: tensorflow/python/platform/{flags,app}.py (1.15); the behaviour is absl's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class FlagValues:
    """The values of all flags as attributes.

    Raises:
      AttributeError: no flag of that name is defined.
      SystemExit: the command line has an unknown flag or a value that does not fit (status 2), or asks for
        help (0).
    """

    def __init__(self) -> None:
        self.__dict__["_parser"] = argparse.ArgumentParser(allow_abbrev=False)
        self.__dict__["_values"] = {}
        self.__dict__["_parsed"] = False
        self.__dict__["_rest"] = []

    def _define(self, name: str, default: Any, help_text: str | None, **how: Any) -> None:
        if name in self._values:
            raise ValueError(f"The flag '{name}' is defined twice.")
        self._values[name] = default
        options = [f"--{name}"] + ([f"-{name}"] if len(name) == 1 else [])
        self._parser.add_argument(*options, dest=name, default=argparse.SUPPRESS, help=help_text, **how)

    def _parse(self, arguments: Sequence[str] | None = None, known_only: bool = False) -> list[str]:
        """Reads the command line once; returns what no flag took, the program's name first.

        ``known_only`` leaves flags that nobody defined there, too.
        """
        if not self._parsed or arguments is not None:
            given = list(sys.argv if arguments is None else arguments)
            found, rest = self._parser.parse_known_args(given[1:])
            unknown = [r for r in rest if r.startswith("-") and r not in ("-", "--")]
            if unknown and not known_only:
                self._parser.error(f"unknown flag {unknown[0]!r}")
            self._values.update(vars(found))
            self.__dict__["_rest"] = [*given[:1], *rest]
            self.__dict__["_parsed"] = True
        return list(self._rest)

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Reads ``argv``, the program's name first, and returns what no flag took."""
        return self._parse(argv, known_only)

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise AttributeError(f"No flag '{name}' is defined (tf.flags.DEFINE_…).")
        self._parse()
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._values:
            raise AttributeError(f"No flag '{name}' is defined (tf.flags.DEFINE_…).")
        self._parse()
        self._values[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Any:
        return iter(self._values)

    def flag_values_dict(self) -> dict[str, Any]:
        """All flags and their values."""
        self._parse()
        return dict(self._values)


FLAGS = FlagValues()


def DEFINE_string(name: str, default: str | None, help: str | None = None) -> None:
    FLAGS._define(name, default, help)


def DEFINE_integer(name: str, default: int | None, help: str | None = None, **limits: Any) -> None:
    FLAGS._define(name, default, help, type=_limited(int, **limits))


def DEFINE_float(name: str, default: float | None, help: str | None = None, **limits: Any) -> None:
    FLAGS._define(name, None if default is None else float(default), help, type=_limited(float, **limits))


def DEFINE_bool(name: str, default: bool | None, help: str | None = None) -> None:
    """``--name``, ``--name=false`` or ``--noname``."""
    FLAGS._define(name, default, help, nargs="?", const=True, type=_boolean)
    FLAGS._parser.add_argument(
        f"--no{name}", dest=name, action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


DEFINE_boolean = DEFINE_bool


def DEFINE_enum(name: str, default: str | None, enum_values: Sequence[str], help: str | None = None) -> None:
    FLAGS._define(name, default, help, choices=list(enum_values))


def DEFINE_list(name: str, default: Any, help: str | None = None) -> None:
    """Items separated by commas."""
    FLAGS._define(name, _items(default) if isinstance(default, str) else default, help, type=_items)


def mark_flag_as_required(name: str) -> None:
    """Makes a command line without the flag an error."""
    for action in FLAGS._parser._actions:
        if action.dest == name:
            action.required = True


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Reads the flags, calls ``main`` (by default the program's own) with what is left, and exits with its answer."""
    rest = FLAGS(sys.argv if argv is None else argv, known_only=True)
    sys.exit((main or sys.modules["__main__"].main)(rest))


def _limited(kind: Any, lower_bound: Any = None, upper_bound: Any = None) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if (lower_bound is not None and value < lower_bound) or (
            upper_bound is not None and value > upper_bound
        ):
            raise argparse.ArgumentTypeError(f"{text} is not between {lower_bound} and {upper_bound}")
        return value

    convert.__name__ = kind.__name__
    return convert


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "t", "1"):
        return True
    if lowered in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"tf.flags has no '{name}' here: that takes absl. Install absl-py (or kvarn[tf1]), as TensorFlow does."
    )
