"""An object in the making: its bytes leave in parts while more are written, and it appears at the end."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

from kvarn.errors import OutOfRangeError
from kvarn.io.filesystem import Buffer


class RemoteWriteFile:
    """An upload.  Up to one part it is a single request, at `close`; a larger one is sent part by part.

    Memory: at most seven parts, however large the file.  A store takes 10,000 parts: 160 GB a file.

    Args:
      put: uploads an object: its bytes, or parts of them as they come; if that iterator raises, nothing of
        the object stays.
    """

    PART_BYTES = 16 << 20
    # Parts on their way at once.
    CONNECTIONS = 3
    MOST_PARTS = 10_000

    def __init__(self, path: str, put: Callable[[bytes | Iterator[bytes]], None]) -> None:
        self.path = path
        self._put = put
        self._part = bytearray()
        self._count = 0
        self._parts: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._sender: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._discarded = False
        self._open = True

    def append(self, data: Buffer) -> None:
        rest = memoryview(data).cast("B")
        while len(rest):
            room = self.PART_BYTES - len(self._part)
            self._part += rest[:room]
            rest = rest[room:]
            if len(self._part) == self.PART_BYTES:
                self._send(bytes(self._part))
                self._part.clear()

    def sync(self) -> None:
        """Nothing: `close` is what makes an object."""

    def close(self) -> None:
        if not self._open:
            return
        try:
            if self._sender is None:
                self._put(bytes(self._part))
            else:
                if self._part:
                    self._send(bytes(self._part))
                self._send(None)
                self._sender.join()
                self._raise_failure()
        except BaseException:
            self.discard()
            raise
        self._open = False
        self._part.clear()

    def discard(self) -> None:
        if not self._open:
            return
        self._open = False
        self._discarded = True
        self._part.clear()
        if self._sender is not None:
            with contextlib.suppress(queue.Full):
                self._parts.put_nowait(None)
            self._sender.join()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.discard()

    def _send(self, part: bytes | None) -> None:
        self._count += part is not None
        if self._count > self.MOST_PARTS:
            raise OutOfRangeError.of(
                f"{self.path}; File too large: a store takes {self.MOST_PARTS} parts of {self.PART_BYTES} bytes",
                path=self.path,
                hint="Save in several data files (shards).",
            )
        if self._sender is None:
            self._sender = threading.Thread(target=self._run, name=f"upload {self.path}", daemon=True)
            self._sender.start()
        while True:
            self._raise_failure()
            with contextlib.suppress(queue.Full):
                self._parts.put(part, timeout=0.2)
                return

    def _run(self) -> None:
        try:
            self._put(self._arriving())
        except BaseException as error:
            self._failure = error

    def _arriving(self) -> Iterator[bytes]:
        while True:
            part = self._parts.get()
            if self._discarded:
                raise _Discarded
            if part is None:
                return
            yield part

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class _Discarded(Exception):
    """Ends an upload from within."""
