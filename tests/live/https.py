"""A plain HTTP client for the tests of the stack: sees every answer as it is, and follows nothing."""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from tests.live.nginx import NAME, Nginx


@dataclass(frozen=True)
class Answer:
    """One answer; header names in lower case, with every value of each."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        """Give the one value of a header; empty when it is not there."""
        values = self.headers.get(name.lower(), [])
        assert len(values) < 2, f"{name} is doubled: {values}"
        return values[0] if values else ""


class Client:
    """Asks one Nginx, under the name of its certificate.

    :param source: the address that requests come from.
    """

    def __init__(self, nginx: Nginx, source: str | None = None) -> None:
        self.nginx = nginx
        self._source = (source, 0) if source else None
        self._tls = ssl.create_default_context(cafile=str(nginx.certificate))

    def get(self, path: str, *, method: str = "GET", timeout: float = 60, **headers: str) -> Answer:
        """Ask over HTTPS."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(path, method=method, timeout=timeout, headers=named)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        timeout: float = 60,
        headers: Mapping[str, str] | None = None,
        tls: bool = True,
    ) -> Answer:
        """Ask; ``path`` is sent as it is."""
        port = self.nginx.https if tls else self.nginx.http
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        connection.sock = self.connect() if tls else self._tcp(port)
        connection.sock.settimeout(timeout)
        try:
            with _answered_early():
                connection.request(method, path, body, {"Host": NAME, **(headers or {})})
            response = connection.getresponse()
            got: dict[str, list[str]] = {}
            for name, value in response.getheaders():
                got.setdefault(name.lower(), []).append(value)
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, timeout: float = 10) -> bytes:
        """Send bytes over TLS and give everything that comes back until the server closes."""
        with self.connect() as sock:
            sock.settimeout(timeout)
            with _answered_early():
                sock.sendall(data)
            got = b""
            try:
                while chunk := sock.recv(65536):
                    got += chunk
            except (TimeoutError, ConnectionError, ssl.SSLError):
                pass
            return got

    def connect(self) -> ssl.SSLSocket:
        """Open a TLS connection."""
        return self._tls.wrap_socket(self._tcp(self.nginx.https), server_hostname=NAME)

    def _tcp(self, port: int) -> socket.socket:
        here = "::1" if self._source and ":" in self._source[0] else "127.0.0.1"
        return socket.create_connection((here, port), timeout=10, source_address=self._source)


def _answered_early() -> contextlib.AbstractContextManager[None]:
    """For sending: what is too large may be answered, and the connection closed, before all of it is sent."""
    return contextlib.suppress(ConnectionError, ssl.SSLEOFError)
