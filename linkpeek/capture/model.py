"""What goes into a capture, what comes out, and what it needs of the egress guard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from linkpeek.geometry import Extent, Viewport


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """One page to capture.

    :ivar uri: absolute http or https address, already judged.
    :ivar viewport: window the page is laid out in.
    :ivar extent: that window, or the whole page.
    :ivar timeout: seconds; the hard limit for the answer, whatever the page does.
    """

    uri: str
    viewport: Viewport
    extent: Extent
    timeout: float


@dataclass(frozen=True, slots=True)
class Capture:
    """A captured page.

    :ivar image: PNG of ``width`` x ``height`` pixels.
    :ivar final_uri: where redirects led.
    :ivar status: HTTP status of the page, None where it had none.
    :ivar title: one line, bounded, without control characters; may be empty.
    :ivar truncated: the page is taller than ``geometry.MAX_PAGE_HEIGHT`` and cut there.
    :ivar blank: every pixel has one colour, and so it stayed on a second try.
    :ivar complete: False where the time ran out, the page was stopped or lacks a part: the best there was.
    :ivar timings: seconds spent in ``context``, ``navigation``, ``settle``, ``screenshot``.
    """

    image: bytes
    width: int
    height: int
    final_uri: str
    status: int | None
    title: str
    truncated: bool
    blank: bool
    browser_version: str
    complete: bool = True
    timings: Mapping[str, float] = field(default_factory=dict)


class EgressSession(Protocol):
    """One capture's way out: a SOCKS5 endpoint of its own."""

    bytes_in: int
    bytes_out: int

    @property
    def proxy_url(self) -> str:
        """``socks5://127.0.0.1:PORT``, as Chromium's ``proxyServer`` wants it."""

    def failure(self, host: str, port: int) -> str | None:
        """Give the code of what last went wrong on the way to a host, if anything did."""

    async def close(self) -> None:
        """Cut every connection and free the port."""


class Egress(Protocol):
    """The guard that every byte of a page goes through."""

    async def open_session(self) -> EgressSession:
        """Open a way out for one capture."""
