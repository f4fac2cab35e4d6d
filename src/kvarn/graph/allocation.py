"""How the C library keeps the memory of tensors that a run has made and dropped.

By default glibc gives it back to the system at the end of a run, and the next run takes it anew, page by page: of a
step that makes ten megabytes of tensors this was a third.
"""

from __future__ import annotations

import ctypes
import functools
import os

# glibc's numbers of these parameters, and the most that it takes for the first.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BYTES = 32 << 20
_MOST_KEPT_BYTES = 256 << 20


@functools.cache
def keep_freed_memory() -> None:
    """Lets the process keep up to 256 MiB of freed memory, of pieces up to 32 MiB.

    Done once, by the first session.  A program that chose for itself, by glibc's environment variables, is left
    alone; other C libraries are, too.
    """
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if any(name in os.environ for name in chosen):
        return
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
    except (OSError, AttributeError, TypeError):
        return
    library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
    library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
