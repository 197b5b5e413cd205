"""What every test shares: no network but loopback, and the marker of live tests."""

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

#: For `make fuzz`, where properties are tried with new examples, the more the longer it may take.
settings.register_profile("fuzz", max_examples=50 * int(os.environ.get("FUZZ_SECONDS", "60")), deadline=None)

LIVE = Path(__file__).parent / "live"


class NetworkBlocked(Exception):
    """A test tried to leave this machine (not an OSError, so that no code can take it for a bad line)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in tests/live."""
    for item in items:
        if LIVE in item.path.parents:
            item.add_marker("live")


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_elsewhere(sock: socket.socket, address: Any) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
        raise NetworkBlocked(f"a test may only connect to loopback, not to {address[0]}")


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    """A shell has what it starts in the background ignore INT, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> Iterator[None]:
    """Let this process connect, send and look names up on loopback only.

    Programs that a test starts are not covered: they run against local fixture
    sites, and the browser's own traffic is the egress guard's to stop.
    """
    patch = pytest.MonkeyPatch()
    real = socket.socket

    def connect(self: socket.socket, address: Any) -> None:
        _refuse_elsewhere(self, address)
        super(real, self).connect(address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_elsewhere(self, address)
        return super(real, self).connect_ex(address)

    def sendto(self: socket.socket, data: bytes, *rest: Any) -> int:
        _refuse_elsewhere(self, rest[-1])
        return super(real, self).sendto(data, *rest)

    lookup = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_here(host) and not _is_address(host):
            raise NetworkBlocked(f"a test may not ask the DNS for {host!r}")
        return lookup(host, *args, **kwargs)

    patch.setattr(real, "connect", connect)
    patch.setattr(real, "connect_ex", connect_ex)
    patch.setattr(real, "sendto", sendto)
    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    patch.undo()


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return True
