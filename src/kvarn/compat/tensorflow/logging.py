"""`tf.logging`: Python's logging under the logger ``tensorflow``, on stderr, from WARN up.

Source: tensorflow/python/platform/tf_logging.py.
"""

from __future__ import annotations

import logging as python_logging
import sys
from typing import Any, Final

DEBUG: Final = python_logging.DEBUG
INFO: Final = python_logging.INFO
WARN: Final = python_logging.WARNING
ERROR: Final = python_logging.ERROR
FATAL: Final = python_logging.CRITICAL


def _make() -> python_logging.Logger:
    logger = python_logging.getLogger("tensorflow")
    # A program that configured logging itself keeps its own handlers.
    if not python_logging.getLogger().handlers and not logger.handlers:
        handler = python_logging.StreamHandler(sys.stderr)
        handler.setFormatter(python_logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(WARN)
    return logger


_logger = _make()
_seen: dict[str, int] = {}


def get_verbosity() -> int:
    """The least level that is shown."""
    return _logger.getEffectiveLevel()


def set_verbosity(v: int | str) -> None:
    """Shows messages from level ``v`` up."""
    _logger.setLevel(v)


def log(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.log(level, msg, *args, **kwargs)


vlog = log


def debug(msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.debug(msg, *args, **kwargs)


def info(msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.info(msg, *args, **kwargs)


def warning(msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.warning(msg, *args, **kwargs)


warn = warning


def error(msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.error(msg, *args, **kwargs)


def fatal(msg: str, *args: Any, **kwargs: Any) -> None:
    _logger.critical(msg, *args, **kwargs)


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
    for handler in _logger.handlers:
        handler.flush()
