"""`tf.logging`: Python's logging under the logger ``tensorflow``, on stderr, from WARN up.

Source: tensorflow/python/platform/tf_logging.py.
"""

from __future__ import annotations

import functools
import logging as python_logging
import sys
from typing import Any, Final

__all__ = [
    "DEBUG",
    "ERROR",
    "FATAL",
    "INFO",
    "WARN",
    "debug",
    "error",
    "fatal",
    "flush",
    "get_logger",
    "get_verbosity",
    "info",
    "log",
    "log_every_n",
    "log_first_n",
    "log_if",
    "set_verbosity",
    "vlog",
    "warn",
    "warning",
]

DEBUG: Final = python_logging.DEBUG
INFO: Final = python_logging.INFO
WARN: Final = python_logging.WARNING
ERROR: Final = python_logging.ERROR
FATAL: Final = python_logging.CRITICAL


@functools.cache
def get_logger() -> python_logging.Logger:
    """The logger ``tensorflow``, which gets a handler unless the program has configured logging itself."""
    logger = python_logging.getLogger("tensorflow")
    if not python_logging.getLogger().handlers and not logger.handlers:
        handler = python_logging.StreamHandler(sys.stderr)
        handler.setFormatter(python_logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(WARN)
    return logger


_seen: dict[str, int] = {}


def get_verbosity() -> int:
    """The least level that is shown."""
    return get_logger().getEffectiveLevel()


def set_verbosity(v: int | str) -> None:
    """Shows messages from level ``v`` up."""
    get_logger().setLevel(v)


def log(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().log(level, msg, *args, **kwargs)


vlog = log


def debug(msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().debug(msg, *args, **kwargs)


def info(msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().info(msg, *args, **kwargs)


def warning(msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().warning(msg, *args, **kwargs)


warn = warning


def error(msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().error(msg, *args, **kwargs)


def fatal(msg: str, *args: Any, **kwargs: Any) -> None:
    get_logger().critical(msg, *args, **kwargs)


def log_if(level: int, msg: str, condition: bool, *args: Any) -> None:
    """Logs if ``condition`` holds."""
    if condition:
        log(level, msg, *args)


def log_every_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Logs the first of every ``n`` calls with this message."""
    count = _seen[msg] = _seen.get(msg, -1) + 1
    log_if(level, msg, count % n == 0, *args)


def log_first_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Logs the first ``n`` calls with this message."""
    count = _seen[msg] = _seen.get(msg, -1) + 1
    log_if(level, msg, count < n, *args)


def flush() -> None:
    for handler in get_logger().handlers:
        handler.flush()
