"""SOCKS5 on the wire (RFC 1928): CONNECT without authentication, and nothing else.

Pure functions over bytes. A parser gives None while the message is incomplete,
and never looks past its end.
"""

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum

_VERSION = 5
_NO_AUTHENTICATION = 0
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

#: The longest greeting (RFC 1928, section 3) and request (section 4) there can be.
MAX_MESSAGE = max(2 + 255, 4 + 1 + 255 + 2)

GREETING_ACCEPTED = bytes((_VERSION, _NO_AUTHENTICATION))
GREETING_REFUSED = bytes((_VERSION, 0xFF))


class Reply(IntEnum):
    """The answers that are given. One failure for all, so that the reason stays inside."""

    SUCCEEDED = 0
    FAILED = 1
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8

    def message(self) -> bytes:
        """Give the reply as bytes; the bound address is left out (all zero)."""
        return struct.pack("!BBBB4xH", _VERSION, self, 0, _IPV4, 0)


class Malformed(Exception):
    """This is no SOCKS5, or more than we speak of it.

    :ivar answer: what to send before closing, perhaps nothing.
    """

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__("malformed SOCKS5 message")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Request:
    """A wish to connect: the host as the browser wrote it, and how many bytes the message took."""

    host: str
    port: int
    length: int


def read_greeting(data: bytes) -> int | None:
    """Read the client's greeting and give its length in bytes, or None while it is incomplete.

    :raises Malformed: not version 5, or the client insists on authentication.
    """
    if data[:1] and data[0] != _VERSION:
        raise Malformed
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    if _NO_AUTHENTICATION not in data[2 : 2 + data[1]]:
        raise Malformed(GREETING_REFUSED)
    return 2 + data[1]


def read_request(data: bytes) -> Request | None:
    """Read the client's request, or give None while it is incomplete.

    :raises Malformed: not a CONNECT, or to something that is neither a name nor an address.
    """
    if len(data) < 4:
        return None
    version, command, reserved, kind = data[:4]
    if version != _VERSION or reserved != 0:
        raise Malformed
    if command != _CONNECT:
        raise Malformed(Reply.COMMAND_NOT_SUPPORTED.message())
    start, end = _host_span(data, kind)
    if end is None or len(data) < end + 2:
        return None
    host = _host_text(kind, data[start:end])
    (port,) = struct.unpack_from("!H", data, end)
    return Request(host, port, end + 2)


def _host_span(data: bytes, kind: int) -> tuple[int, int | None]:
    if kind == _IPV4:
        return 4, 8
    if kind == _IPV6:
        return 4, 20
    if kind != _NAME:
        raise Malformed(Reply.ADDRESS_TYPE_NOT_SUPPORTED.message())
    return 5, 5 + data[4] if len(data) > 4 else None


def _host_text(kind: int, raw: bytes) -> str:
    if kind != _NAME:
        return str(ipaddress.ip_address(raw))
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(Reply.FAILED.message()) from None
