"""An S3 server of our own, on this machine alone, and a count of what is asked of it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kvarn.io import FileSystem, file_system_of


@dataclass
class Server:
    """The server's address, and what was asked since `reset`.

    Attributes:
      requests: ``GET /bucket/key bytes=0-99``, in order.
      bytes_sent: in the bodies of all answers.
      refuse: says which requests are answered by ``status`` alone.
    """

    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    status: str = "503 Slow Down"
    refuse: Callable[[str], bool] = field(default=lambda request: False)

    def reset(self) -> None:
        self.requests.clear()
        self.bytes_sent = 0
        self.refuse = lambda request: False


def counting(server: Server, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        query = environ.get("QUERY_STRING", "")
        target = environ["PATH_INFO"] + (f"?{query}" if query else "")
        request = f"{environ['REQUEST_METHOD']} {target} {environ.get('HTTP_RANGE', '')}".rstrip()
        server.requests.append(request)
        if server.refuse(request):
            start_response(server.status, [("Content-Length", "0")])
            return
        for piece in app(environ, start_response):
            server.bytes_sent += len(piece)
            yield piece

    return counted


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *unused: Any) -> None:
            pass

    server = Server()
    app = counting(server, DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.endpoint = f"http://127.0.0.1:{http.server_port}"
    environment = {
        "AWS_ACCESS_KEY_ID": "kvarn",
        "AWS_SECRET_ACCESS_KEY": "kvarn-secret",
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_REGION": "us-east-1",
        # A proxy of this machine must not stand between us and ourselves.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield server
    http.shutdown()
    thread.join()
    http.server_close()


_numbers = itertools.count()


@pytest.fixture
def server(s3_server: Server) -> Iterator[Server]:
    s3_server.reset()
    yield s3_server
    s3_server.reset()


@pytest.fixture
def bucket(server: Server) -> str:
    """The URL of a new bucket."""
    import urllib.request

    name = f"kvarn-{os.getpid()}-{next(_numbers)}"
    request = urllib.request.Request(f"{server.endpoint}/{name}", method="PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request).close()
    server.reset()
    return f"s3://{name}"


@pytest.fixture
def s3(bucket: str) -> FileSystem:
    return file_system_of(bucket)
