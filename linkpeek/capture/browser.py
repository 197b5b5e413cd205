"""The warm browser: takes captures, replaces itself when it is old, ill or dead."""

import asyncio
import logging
from pathlib import Path

from linkpeek.capture.cdp import ConnectionClosed
from linkpeek.capture.failures import BrowserLost, failure
from linkpeek.capture.fleet import READY, RECYCLE_AFTER, Fleet
from linkpeek.capture.generation import Generation
from linkpeek.capture.model import Capture, CaptureRequest, Egress
from linkpeek.capture.pipeline import Pipeline
from linkpeek.capture.stage import Stage
from linkpeek.errors import CaptureError, Unavailable

log = logging.getLogger(__name__)

#: Seconds beyond its own limit after which a capture is given up from outside.
GRACE = 1.0

#: Share of a capture's time that must be left for it to be made anew.
ANEW_SHARE = 0.5


class Browser:
    """One Chromium that captures pages, several at once, each in a context of its own.

    All methods belong to one event loop, on a thread that lives as long as the
    browser should (see ``process``).
    """

    def __init__(
        self,
        executable: Path,
        *,
        egress: Egress,
        sandbox: bool = True,
        recycle_after: int = RECYCLE_AFTER,
        ready: int = READY,
    ) -> None:
        """:param executable: what ``find_executable`` gives.

        :param egress: where each capture gets its way out from.
        :param sandbox: False only where the process is root.
        :param recycle_after: captures after which Chromium is replaced.
        :param ready: empty pages kept ready.
        """
        self._fleet = Fleet(executable, egress, sandbox=sandbox, recycle_after=recycle_after, ready=ready)

    async def start(self) -> None:
        """Start the browser, so that the first capture does not wait for it.

        :raises Unavailable: it does not start, and why.
        """
        await self._fleet.current()

    async def capture(self, request: CaptureRequest) -> Capture:
        """Capture a page; the answer comes within ``request.timeout`` seconds, and about a second of grace.

        :raises CaptureError: (CaptureTimeout, CaptureRefused) with a code of ``failures``.
        :raises Unavailable: ``browser-unavailable``, where it does not start; the log says why.
        """
        started = asyncio.get_running_loop().time()
        if not request.uri.startswith(("http://", "https://")):  # whoever calls: nothing of this machine
            raise failure("scheme-refused")
        try:
            async with asyncio.timeout(request.timeout + GRACE):
                return await self._capture(request, started)
        except TimeoutError:
            raise failure("page-timeout") from None
        except Unavailable as exc:  # what is wrong with this machine is not for whoever asked for a picture
            log.error("%s", exc.message)
            raise Unavailable("There is no browser just now.", code="browser-unavailable") from exc

    async def _capture(self, request: CaptureRequest, started: float) -> Capture:
        """Capture beside others; alone where the browser is lost meanwhile, for nobody can tell by whom."""
        try:
            return await self._beside_others(request, started)
        except BrowserLost:
            passed = asyncio.get_running_loop().time() - started
            if self._fleet.is_closed or passed > request.timeout * (1 - ANEW_SHARE):
                raise failure("browser-crashed") from None
        try:
            return await self._on(*await self._fleet.lone_stage(), request, started)
        except BrowserLost as exc:
            raise exc.meaning from None

    async def _beside_others(self, request: CaptureRequest, started: float) -> Capture:
        """Capture; once more where the stage turns out to have died before the page was there."""
        for is_last in (False, True):
            generation, stage = await self._fleet.stage()
            try:
                return await self._on(generation, stage, request, started)
            except CaptureError as exc:
                if is_last or exc.code != "page-crashed" or stage.watch.documents:
                    raise
        raise AssertionError("unreachable")

    async def _on(
        self, generation: Generation, stage: Stage, request: CaptureRequest, started: float
    ) -> Capture:
        """Capture on a stage, and give it back.

        :raises BrowserLost: the browser was lost meanwhile. What came of the page until
            then is not to be trusted: it may be half loaded.
        """
        try:
            capture = await Pipeline(stage, request, started, generation.version).run()
        except ConnectionClosed:
            raise generation.loss() from None
        except CaptureError:  # it may be for the loss that the page did not open
            if generation.lost.done():
                raise generation.loss() from None
            raise
        finally:
            self._fleet.give_back(generation, stage)
        if generation.lost.done():
            raise generation.loss()
        return capture

    async def close(self) -> None:
        """End the browser and everything of it; captures under way fail."""
        await self._fleet.close()

    @property
    def version(self) -> str:
        """The name and version of the Chromium that started last; empty before the first."""
        return self._fleet.version

    @property
    def pids(self) -> list[int]:
        """The browser process that takes new captures, if there is one; for tests and health checks."""
        present = self._fleet.present
        return [present.chromium.pid] if present is not None else []
