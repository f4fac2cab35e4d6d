"""Buckets of an object store as a file system: ``s3://bucket/…``, ``gs://bucket/…``, ``az://container/…``.

    fs = file_system_of("s3://models/run7")                     credentials from the environment
    fs = RemoteFileSystem("s3://models", {"endpoint": "…"})     or given; then as the argument fs

A store has no directories, no rename and no append.  Here a directory is what the names of the objects say;
a file appears, whole, when its upload ends; a checkpoint is written by kvarn.formats.bundle.commit.  Reading
asks for ranges only, and all ranges of one open file are of one version of the object.

The transport is that of the library obstore (extra [remote]): its credentials, retries and timeouts.
"""

from __future__ import annotations

import errno
import fnmatch
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NoReturn, TypeVar

from kvarn import errors
from kvarn.io.filesystem import io_error, root_of
from kvarn.io.upload import RemoteWriteFile

try:
    import obstore
    from obstore import exceptions
    from obstore.store import ObjectStore, from_url
except ModuleNotFoundError as missing:
    raise errors.UnimplementedError.of(
        f"paths on object stores need the package '{missing.name}', which is missing",
        hint="Install kvarn with its extra [remote] (from a clone: pip install '.[remote]').",
    ) from missing

T = TypeVar("T")

# A first small read asks for this much; each that follows on the one before for twice as much, up to a part.
_FIRST_WINDOW_BYTES = 1 << 17
_PART_BYTES = 8 << 20
# Reads from this size on are no business of windows; ranges that run in parallel are at least as large.
_DIRECT_BYTES = 2 << 20
# Windows that an open file keeps: the end of a table, and where two readers stand.
_WINDOWS = 4
# Ranges that are on their way at once, of all open files together.
_CONNECTIONS = 8
# The largest object that S3 copies in one request.
_LARGEST_COPY_BYTES = 5 << 30

_WILD = re.compile(r"[*?[]")
_ESCAPED = re.compile(r"\[([*?[])\]")  # as glob.escape writes a character that stands for itself
_STATUS = re.compile(r"status code: (\d{3})")
_CHANGED = "Somebody wrote it anew meanwhile: open the checkpoint again."
_HINTS: dict[type[errors.OpError], str] = {
    errors.NotFoundError: "Check bucket and path; names are case-sensitive.",
    errors.PermissionDeniedError: "The store refused the credentials, or they may not do this here: check the "
    "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS; "
    "AZURE_STORAGE_ACCOUNT_NAME).",
    errors.UnavailableError: "The store could not be reached, after the retries: check the network and the "
    "endpoint (AWS_ENDPOINT_URL), and try again.",
    errors.FailedPreconditionError: _CHANGED,
}

_pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="kvarn-remote")


class RemoteFileSystem:
    """`FileSystem` over one bucket.  Thread-safe.

    Args:
      root: the URL of the bucket: ``s3://bucket``.
      config: of the store, by obstore's names (``endpoint``, ``region``, ``access_key_id``, …); what it does
        not say comes from the environment.
      client_options, retry_config: as obstore has them.

    Raises:
      InvalidArgumentError: the store does not know such a configuration, or misses a part of it.
    """

    renames = False

    def __init__(
        self,
        root: str,
        config: Mapping[str, Any] | None = None,
        *,
        client_options: Mapping[str, Any] | None = None,
        retry_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = root_of(root)
        options = dict(client_options or {})
        if _plain_http(config):
            options.setdefault("allow_http", True)
        try:
            self._store: ObjectStore = from_url(
                self.root,
                config=dict(config or {}),  # type: ignore[call-overload]
                client_options=options or None,
                retry_config=dict(retry_config) if retry_config else None,
            )
        except (exceptions.BaseError, ValueError) as error:
            raise errors.InvalidArgumentError.of(
                f"{self.root}; {_reason(error)}",
                path=self.root,
                hint="Check the URL, and the environment variables that configure the store.",
            ) from error

    def __repr__(self) -> str:
        return f"RemoteFileSystem({self.root!r})"

    def open_read(self, path: str) -> RemoteReadFile:
        return RemoteReadFile(self._store, path, self._key(path))

    def open_write(self, path: str) -> RemoteWriteFile:
        return RemoteWriteFile(path, lambda content: self._put(path, content))

    def rename(self, source: str, target: str) -> NoReturn:
        raise errors.UnimplementedError.of(f"{source}; an object store does not rename", path=source)

    def copy(self, source: str, target: str) -> None:
        own, other = self._key(source), self._key(target)
        if self.size(source) <= _LARGEST_COPY_BYTES:
            _ask(source, lambda: obstore.copy(self._store, own, other))
            return
        upload = self.open_write(target)
        file = self.open_read(source)
        try:
            for start in range(0, file.size, _PART_BYTES):
                upload.append(file.read(start, _PART_BYTES))
            upload.close()
        finally:
            upload.discard()
            file.close()

    def remove(self, path: str) -> None:
        self.size(path)  # a store is content with removing what is not there
        _ask(path, lambda: obstore.delete(self._store, self._key(path)))

    def exists(self, path: str) -> bool:
        try:
            self.size(path)
        except (errors.NotFoundError, errors.FailedPreconditionError):
            return self.is_directory(path)
        return True

    def is_directory(self, path: str) -> bool:
        key = self._key(path)
        try:
            found = _ask(path, lambda: next(iter(obstore.list(self._store, key or None, chunk_size=1)), None))
        except errors.NotFoundError:
            return False  # not even the bucket
        return bool(found) or not key

    def size(self, path: str) -> int:
        return int(self._head(path)["size"])

    def modified_secs(self, path: str) -> float:
        return float(self._head(path)["last_modified"].timestamp())

    def glob(self, pattern: str) -> list[str]:
        if not _WILD.search(_ESCAPED.sub("", pattern)):
            path = _ESCAPED.sub(r"\1", pattern)
            return [path] if self.exists(path) else []
        above, _, last = pattern.rpartition("/")
        literal = not _WILD.search(_ESCAPED.sub("", above))
        directories = [_ESCAPED.sub(r"\1", above)] if literal else self.glob(above)
        return sorted(
            f"{directory}/{name}"
            for directory in directories
            for name in self._names(directory)
            if fnmatch.fnmatchcase(name, last)
        )

    def list_directory(self, path: str) -> list[str]:
        names = self._names(path)
        if not names and self._key(path):
            raise io_error(path, OSError(errno.ENOENT, ""))
        return names

    def make_directory(self, path: str) -> None:
        """Nothing: a directory is there as soon as a file is in it."""

    def make_directories(self, path: str) -> None:
        """Nothing: a directory is there as soon as a file is in it."""

    def remove_directory(self, path: str) -> None:
        if self._names(path):
            raise io_error(path, OSError(errno.ENOTEMPTY, ""))

    def sync_directory(self, path: str) -> None:
        """Nothing: what a store has shown it keeps."""

    def _put(self, path: str, content: bytes | Iterator[bytes]) -> None:
        key = self._key(path)
        whole = isinstance(content, bytes)
        _ask(
            path,
            lambda: obstore.put(
                self._store,
                key,
                content,
                use_multipart=not whole,
                chunk_size=RemoteWriteFile.PART_BYTES,
                max_concurrency=RemoteWriteFile.CONNECTIONS,
            ),
        )

    def _head(self, path: str) -> Any:
        key = self._key(path)
        if not key:
            raise io_error(path, OSError(errno.EISDIR, ""))
        return _ask(path, lambda: obstore.head(self._store, key))

    def _names(self, directory: str) -> list[str]:
        key = self._key(directory)
        found = _ask(directory, lambda: obstore.list_with_delimiter(self._store, key or None))
        paths = [meta["path"] for meta in found["objects"]] + list(found["common_prefixes"])
        # A store's own tools mark an empty directory by an object of its name.
        return sorted({path.rpartition("/")[2] for path in paths if path.rstrip("/") != key})

    def _key(self, path: str) -> str:
        if root_of(path) != self.root:
            raise errors.InvalidArgumentError.of(
                f"'{path}' is not in {self.root}",
                path=path,
                hint="A RemoteFileSystem is one bucket; without the argument fs every URL finds its own.",
            )
        return path[len(self.root) :].strip("/")


class RemoteReadFile:
    """An object, read by ranges.

    Small reads are answered from windows: the first is 128 KiB (for a read at the end of the object, its
    last 128 KiB), and reads that follow one another get larger windows, up to 8 MiB, the next one fetched
    meanwhile: what is fetched ahead grows with what was read.  Reads of 2 MiB and more, and several at
    once, go to the caller's memory in parallel ranges.
    """

    def __init__(self, store: ObjectStore, path: str, key: str) -> None:
        self.path = path
        self._store = store
        self._key = key
        self._lock = threading.Lock()
        self._windows: OrderedDict[tuple[int, int], Future[bytes]] = OrderedDict()
        self._window_bytes = _FIRST_WINDOW_BYTES
        if not key:
            raise io_error(path, OSError(errno.EISDIR, ""))
        meta = _ask(path, lambda: obstore.head(store, key))
        self.size = int(meta["size"])
        self._version = meta["e_tag"]

    def read(self, offset: int, size: int) -> bytes:
        target = bytearray(max(0, min(size, self.size - offset)))
        return bytes(target[: self.read_into(offset, memoryview(target))])

    def read_into(self, offset: int, target: memoryview) -> int:
        size = max(0, min(len(target), self.size - offset))
        if size >= _DIRECT_BYTES:
            self._fetch_all([(offset, target[:size])])
            return size
        done = 0
        while done < size:
            start, window = self._window(offset + done)
            piece = memoryview(window)[offset + done - start : offset + size - start]
            target[done : done + len(piece)] = piece
            done += len(piece)
        return size

    def read_many(self, offsets: Sequence[int], targets: Sequence[memoryview]) -> list[int]:
        if len(targets) == 1:
            return [self.read_into(offsets[0], targets[0])]
        sizes = [
            max(0, min(len(target), self.size - offset))
            for offset, target in zip(offsets, targets, strict=True)
        ]
        self._fetch_all([(offsets[n], targets[n][:size]) for n, size in enumerate(sizes) if size])
        return sizes

    def view(self) -> memoryview:
        """The whole object, fetched: there is no map of a remote file."""
        return memoryview(self.read(0, self.size)).toreadonly()

    def close(self) -> None:
        with self._lock:
            for window in self._windows.values():
                window.cancel()
            self._windows.clear()

    def _window(self, offset: int) -> tuple[int, bytes]:
        """A window with the byte at ``offset``: where it begins, and its bytes."""
        with self._lock:
            place = self._covering(offset)
            if place is None:
                place = self._open_window(offset)
            window = self._windows[place]
            streams = self._window_bytes > 2 * _FIRST_WINDOW_BYTES
            if streams and offset == place[0] and self._covering(place[1]) is None:
                self._window_bytes = min(2 * self._window_bytes, _PART_BYTES)
                self._begin(place[1], place[1] + self._window_bytes)
        try:
            return place[0], window.result()
        except BaseException:
            with self._lock:
                self._windows.pop(place, None)
            raise

    def _covering(self, offset: int) -> tuple[int, int] | None:
        return next((place for place in self._windows if place[0] <= offset < place[1]), None)

    def _open_window(self, offset: int) -> tuple[int, int]:
        follows = any(offset == stop for _, stop in self._windows)
        if follows:
            self._window_bytes = min(2 * self._window_bytes, _PART_BYTES)
        else:
            self._window_bytes = _FIRST_WINDOW_BYTES
        last = max(0, self.size - _FIRST_WINDOW_BYTES)
        start = last if offset >= last and not follows else offset
        return self._begin(start, start + self._window_bytes)

    def _begin(self, start: int, stop: int) -> tuple[int, int]:
        place = start, min(stop, self.size)
        if place[0] < place[1]:
            self._windows[place] = _pool.submit(self._fetch, *place)
            while len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        return place

    def _fetch(self, start: int, stop: int) -> bytes:
        return bytes(self._get(start, stop))

    def _fetch_all(self, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Fills targets from their offsets, all at once."""
        total = sum(len(target) for _, target in wanted)
        part_bytes = min(max(-(-total // _CONNECTIONS), _DIRECT_BYTES), _PART_BYTES)

        def fetch(offset: int, part: memoryview) -> None:
            part[:] = self._get(offset, offset + len(part))

        running = [
            _pool.submit(fetch, offset + start, target[start : start + part_bytes])
            for offset, target in wanted
            for start in range(0, len(target), part_bytes)
        ]
        try:
            for part in running:
                part.result()
        finally:
            for part in running:
                part.cancel()
            wait(running)  # nobody writes to the targets any more

    def _get(self, start: int, stop: int) -> memoryview:
        # With its tag the answer is of the version that `size` is of, or none.
        options: Any = {"range": (start, stop), "if_match": self._version}
        data = _ask(
            self.path, lambda: memoryview(obstore.get(self._store, self._key, options=options).bytes())
        )
        if len(data) != stop - start:
            raise errors.UnavailableError.of(
                f"{self.path}; the store sent {len(data)} bytes for {start}..{stop - 1}",
                path=self.path,
                offset=start,
                hint="Try again.",
            )
        return data


def _ask(path: str, request: Callable[[], T]) -> T:
    """The answer of the store; what it refuses becomes an error of kvarn."""
    try:
        return request()
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise _named(path, error) from error


def _named(path: str, error: Exception) -> errors.OpError:
    text = str(error)
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    if "NoSuchBucket" in text:
        return errors.NotFoundError.of(
            f"{path}; No such bucket: {root_of(path)}", path=path, hint="Check its name and the endpoint."
        )
    cls: type[errors.OpError]
    if isinstance(error, FileNotFoundError) or status == 404:
        return errors.NotFoundError.of(
            f"{path}; No such file or directory", path=path, hint=_HINTS[errors.NotFoundError]
        )
    if isinstance(error, (exceptions.PermissionDeniedError, PermissionError)) or status == 403:
        cls = errors.PermissionDeniedError
    elif isinstance(error, exceptions.UnauthenticatedError) or status == 401:
        cls = errors.UnauthenticatedError
    elif isinstance(error, exceptions.PreconditionError):
        cls = errors.FailedPreconditionError
    elif isinstance(error, exceptions.NotSupportedError):
        cls = errors.UnimplementedError
    elif isinstance(error, (exceptions.InvalidPathError, ValueError)) or 400 <= status < 500:
        cls = errors.InvalidArgumentError
    else:
        cls = errors.UnavailableError
    hint = _HINTS.get(errors.PermissionDeniedError if cls is errors.UnauthenticatedError else cls)
    return cls.of(f"{path}; {_reason(error)}", path=path, hint=hint)


def _reason(error: Exception) -> str:
    """The first line of what the library says; the rest is its inside."""
    return str(error).strip().partition("\n")[0]


def _plain_http(config: Mapping[str, Any] | None) -> bool:
    """Whether the endpoint says ``http://``: then that is what is meant."""
    import os

    given = config or {}
    endpoint = given.get("endpoint") or given.get("aws_endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
    return str(endpoint).startswith("http://")
