"""The capture engine as threads see it: one event loop, one browser, blocking calls.

Celery's threads, and the command line, each wait here for their own capture
while all of them run on one loop that owns the browser and the egress guard.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any, TypeVar

from linkpeek.capture.browser import Browser
from linkpeek.capture.executable import find_executable
from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.egress import EgressServer, Guard
from linkpeek.egress.resolver import DnsResolver
from linkpeek.errors import CaptureTimeout, ConfigurationError
from linkpeek.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

START_TIME, STOP_TIME = 30, 10
#: Seconds beyond its own time limit after which a capture is given up from outside.
OVERTIME = 5
#: Seconds between looks of a thread that waits here: a signal that another thread takes
#: does not wake the main one, which alone can act on it.
LOOK = 0.2


class Interrupted(Exception):
    """The capture was cut off because the engine stops; it says nothing about the page."""


class Engine:
    """A browser on a loop in a thread of its own.

    :param settings: which browser, and what it may reach.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._running: set[Future[Capture]] = set()
        self._interrupted = False
        self._lock = threading.Lock()
        self._browser: Browser | None = None

    @property
    def browser_version(self) -> str | None:
        """The browser's name and version, once it runs."""
        return self._browser.version if self._browser else None

    def start(self) -> None:
        """Start the browser.

        :raises ConfigurationError: when it must not or cannot be started.
        """
        require_safe_user(self._settings)
        executable = find_executable(self._settings.chromium)
        self._thread.start()
        try:
            self._run(self._start(executable), START_TIME)
        except TimeoutError:
            raise ConfigurationError(
                f"the browser {executable} did not start within {START_TIME:g} seconds"
            ) from None

    def capture(self, request: CaptureRequest) -> Capture:
        """Capture one page; blocks for ``request.timeout`` seconds at most, and a little.

        :raises CaptureError: when there is no picture of the page to be had.
        :raises Interrupted: when the engine was stopped meanwhile.
        """
        with self._lock:
            if self._interrupted:
                raise Interrupted
            future = asyncio.run_coroutine_threadsafe(self._capture(request), self._loop)
            self._running.add(future)
        try:
            return _result(future, request.timeout + OVERTIME)
        except CancelledError:
            raise Interrupted from None
        except TimeoutError:
            future.cancel()
            raise CaptureTimeout("The page took too long.") from None
        finally:
            self._running.discard(future)

    def interrupt(self) -> None:
        """Cut off every capture that is running, and let no other begin."""
        with self._lock:
            self._interrupted = True
            running = list(self._running)
        for future in running:
            future.cancel()

    def stop(self) -> None:
        """Close the browser and end the thread."""
        if not self._thread.is_alive():
            if not self._loop.is_running():
                self._loop.close()
            return
        self.interrupt()
        try:
            self._run(self._stop(), STOP_TIME)
        except Exception:
            log.exception("the browser did not close in order")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIME)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None], time_limit: float) -> None:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            _result(future, time_limit)
        except BaseException:
            # A stop signal, or the time limit: what is half done takes itself back.
            future.cancel()
            raise

    async def _start(self, executable: Path) -> None:
        settings = self._settings
        if settings.egress_allow:
            log.warning("the egress guard also opens %s", " ".join(map(str, settings.egress_allow)))
        guard = Guard(DnsResolver(), ports=settings.egress_ports, allow=settings.egress_allow)
        self._browser = Browser(executable, egress=EgressServer(guard), sandbox=os.geteuid() != 0)
        await self._browser.start()

    async def _capture(self, request: CaptureRequest) -> Capture:
        if self._browser is None:
            raise Interrupted
        return await self._browser.capture(request)

    async def _stop(self) -> None:
        if self._browser is not None:
            await self._browser.close()


def _result(future: "Future[T]", seconds: float) -> T:
    """Wait for a result, in pieces.

    :raises TimeoutError: it did not come within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not future.done() and (left := deadline - time.monotonic()) > 0:
        wait([future], timeout=min(LOOK, left))
    return future.result(0)


def require_safe_user(settings: Settings) -> None:
    """See to it that no browser opens strangers' pages as root by accident.

    :raises ConfigurationError: as root, unless the settings allow it.
    """
    if os.geteuid() == 0 and not settings.allow_root:
        raise ConfigurationError(
            "the worker does not run as root, where Chromium has no sandbox: run it as another user, "
            "or set linkpeek.allow_root = true if this machine is only for trying out"
        )
