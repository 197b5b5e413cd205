"""Helpers of the live capture tests: a browser on a loop of its own, and looks at pictures."""

import asyncio
import contextlib
import io
import ipaddress
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from PIL import Image

from linkpeek.capture import Browser, Capture, CaptureRequest, find_executable
from linkpeek.egress import EgressServer, Guard, ListedResolver
from linkpeek.errors import CaptureError
from linkpeek.geometry import Extent, Viewport
from tests.live import processes

T = TypeVar("T")
#: Seconds that an answer may take beyond its time limit, on however busy a machine.
SLACK = 5.0
IS_ROOT = os.getuid() == 0
Outcome = Capture | CaptureError


class Loop:
    """An event loop on a thread that lives as long as the test module."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], limit: float = 60) -> T:
        """Run a coroutine to its end and give its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def egress() -> EgressServer:
    """The real guard, with loopback opened."""
    guard = Guard(ListedResolver({}), ports=None, allow=(ipaddress.ip_network("127.0.0.0/8"),))
    return EgressServer(guard)


@contextlib.contextmanager
def running_browser(loop: Loop, **options: Any) -> Iterator[Browser]:
    """A browser that is started, and closed in the end."""

    async def make() -> Browser:
        browser = Browser(find_executable(), egress=egress(), sandbox=not IS_ROOT, **options)
        await browser.start()
        return browser

    browser = loop.run(make())
    try:
        yield browser
    finally:
        loop.run(browser.close())


def request(
    uri: str, *, full: bool = False, limit: float = 20, size: tuple[int, int] = (800, 600)
) -> CaptureRequest:
    """A request with what the tests mostly want."""
    return CaptureRequest(uri, Viewport(*size), Extent.FULL if full else Extent.VIEWPORT, limit)


async def outcome_of(browser: Browser, wanted: CaptureRequest) -> tuple[Outcome, float]:
    """Capture, and give the result or the error, and the seconds it took."""
    since = time.monotonic()
    try:
        return await browser.capture(wanted), time.monotonic() - since
    except CaptureError as exc:
        return exc, time.monotonic() - since


def image(capture: Capture) -> Image.Image:
    """Decode a picture, which must be as large as it says."""
    picture = Image.open(io.BytesIO(capture.image)).convert("RGB")
    assert picture.size == (capture.width, capture.height)
    return picture


def colours(picture: Image.Image) -> set[tuple[int, int, int]]:
    """All the colours of a picture."""
    found = picture.getcolors(picture.width * picture.height)
    assert found is not None
    return {colour for _, colour in found}  # type: ignore[misc]


def family(browser: Browser | int, word: str = "") -> list[psutil.Process]:
    """A browser's first process and all it started; only those that have a word in their command line."""
    pid = browser if isinstance(browser, int) else browser.pids[0]
    return processes.named(processes.family(psutil.Process(pid)), word)


def eventually(condition: Callable[[], object], limit: float = 30) -> bool:
    """Look until it is so, or until the time is over."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def throw_away_folders(base: Path) -> list[Path]:
    """The browsers' folders in a temp folder."""
    return list(base.glob("linkpeek-browser-*"))
