"""What a reverse proxy says about the client: believed only from a proxy that is trusted.

Nginx stands before the service and tells the client's address, the scheme and
the host in ``X-Forwarded-*``. From anyone else these headers are dropped.
"""

import ipaddress
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any

from linkpeek.settings import Network

_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED")


class TrustedProxies:
    """WSGI middleware that applies, or drops, the forwarded headers.

    :param app: the application.
    :param networks: where trusted proxies call from.
    """

    def __init__(self, app: Any, networks: Iterable[Network]) -> None:
        self.app = app
        self._networks = tuple(networks)
        #: The proxy in front calls again and again.
        self._trusts = lru_cache(maxsize=256)(self._judge)

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        forwarded = {name: environ.pop(name) for name in _FORWARDED if name in environ}
        if forwarded and self._trusts(environ.get("REMOTE_ADDR", "")):
            _apply(environ, forwarded)
        response: Iterable[bytes] = self.app(environ, start_response)
        return response

    def _judge(self, address: str) -> bool:
        ip = _address(address)
        return ip is not None and any(ip in network for network in self._networks)


def _apply(environ: MutableMapping[str, Any], forwarded: dict[str, str]) -> None:
    # The proxy appends the peer it saw; whatever stands before that came from the client.
    client = _address(forwarded.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip())
    if client is not None:
        environ["REMOTE_ADDR"] = str(client)
    scheme = forwarded.get("HTTP_X_FORWARDED_PROTO", "")
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme


def subscriber(client: str) -> str:
    """Give what stands for one subscriber: the IPv4 address, or the /64 of an IPv6 one (RFC 6177).

    Whoever has one address of a /64 has all of them, and would else be a new caller with each.
    """
    ip = _address(client)
    if ip is None or ip.version == 4:
        return client
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
