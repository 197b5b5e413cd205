"""Stands in for the application behind Nginx: remembers what arrives, answers what it is told to."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """What to answer for a path."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"from the application"
    delay: float = 0


@dataclass
class Arrived:
    """A request as it arrived; header names as sent, in lower case, with every value."""

    method: str
    path: str
    headers: dict[str, list[str]]
    body: bytes


class Upstream(ThreadingHTTPServer):
    """Listens on 127.0.0.1:5200."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 5200), _Handler)
        self.replies: dict[str, Reply] = {}
        self.arrived: list[Arrived] = []
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, object]:
        """Take a connection, and remember it."""
        taken = super().get_request()
        self.connections.append(taken[0])
        return taken

    def vanish(self) -> None:
        """Stop listening and cut every connection, those that Nginx keeps too."""
        self.shutdown()
        self.server_close()
        for one in self.connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    @property
    def last(self) -> Arrived:
        """The latest request."""
        return self.arrived[-1]

    def handle_error(self, *_: object) -> None:
        """Clients hang up when they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.arrived.append(Arrived(self.command, self.path, headers, body))
        reply = self.server.replies.get(self.path.partition("?")[0], Reply())
        time.sleep(reply.delay)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_POST = do_HEAD = _answer


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run one."""
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.vanish()
        thread.join()
