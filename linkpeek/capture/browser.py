"""The warm browser: takes captures, replaces itself when it is old, ill or dead."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from linkpeek.capture.cdp import ConnectionClosed, ProtocolError
from linkpeek.capture.failures import failure
from linkpeek.capture.generation import Generation
from linkpeek.capture.model import Capture, CaptureRequest, Egress
from linkpeek.capture.pipeline import Pipeline
from linkpeek.capture.process import Chromium
from linkpeek.capture.profile import remove_stale
from linkpeek.capture.stage import Stage
from linkpeek.errors import CaptureError, CaptureTimeout, Unavailable

log = logging.getLogger(__name__)

#: Captures after which a browser is replaced: what leaks, leaks no further.
RECYCLE_AFTER = 500

#: Empty stages that are kept ready, so that a capture starts with its navigation.
READY = 1

#: Seconds within which a browser answers the simplest of questions.
EXAMINE_TIMEOUT = 5.0

#: Seconds from a browser's unexpected end to the start of the next, lest one that
#: cannot live keeps the machine busy.
REVIVE_PAUSE = 0.5

#: Seconds beyond its own limit after which a capture is given up from outside.
GRACE = 1.0


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
        :param ready: empty pages kept ready.
        """
        self._executable = executable
        self._egress = egress
        self._sandbox = sandbox
        self._recycle_after = recycle_after
        self._ready = ready
        self._starting = asyncio.Lock()
        self._generation: Generation | None = None
        #: All that are not yet closed: the present one, and retired ones at their last captures.
        self._living: set[Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.version = ""

    async def start(self) -> None:
        """Start the browser, so that the first capture does not wait for it.

        :raises Unavailable: it does not start, and why.
        """
        await self._current()

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
        except CaptureTimeout:
            self._suspect()
            raise
        except TimeoutError:
            self._suspect()
            raise failure("page-timeout") from None
        except Unavailable as exc:  # what is wrong with this machine is not for whoever asked for a picture
            log.error("%s", exc.message)
            raise Unavailable("There is no browser just now.", code="browser-unavailable") from exc

    async def _capture(self, request: CaptureRequest, started: float) -> Capture:
        """Capture; once more where the stage turns out to have died before the page was there."""
        for is_last in (False, True):
            generation, stage = await self._stage()
            try:
                return await Pipeline(stage, request, started, generation.version).run()
            except ConnectionClosed:
                raise failure("browser-crashed") from None
            except CaptureError as exc:
                if is_last or exc.code != "page-crashed" or stage.watch.documents:
                    raise
            finally:
                self._later(self._give_back(generation, stage))
        raise AssertionError("unreachable")

    def _suspect(self) -> None:
        if self._generation is not None:
            self._later(self._examine(self._generation))

    async def _examine(self, generation: Generation) -> None:
        """See whether it was the page that did not answer, or the browser; that is replaced at once."""
        try:
            await generation.chromium.connection.browser.call("Browser.getVersion", limit=EXAMINE_TIMEOUT)
        except ProtocolError:
            if generation.chromium.is_running:
                log.warning("the browser (process %d) does not answer: replacing it", generation.chromium.pid)
                await self._end(generation)

    async def _stage(self) -> tuple[Generation, Stage]:
        """Give a fresh stage; a browser that cannot make one is replaced, once."""
        for _ in range(2):
            generation = await self._current()
            generation.enter()
            try:
                return generation, await generation.stage()
            except (ProtocolError, TimeoutError) as exc:
                log.warning("the browser does not open pages (%s): replacing it", exc)
                generation.retired = True
                self._leave(generation)
            except OSError as exc:
                self._leave(generation)
                raise Unavailable(f"The worker cannot open a way out for a page: {exc}") from exc
            except BaseException:
                self._leave(generation)
                raise
        raise failure("browser-crashed")

    async def _current(self) -> Generation:
        """Give the generation that takes new captures; start one where there is none."""
        async with self._starting:
            if self._closed:
                raise Unavailable("The browser is closed.")
            old = self._generation
            if old is not None and old.is_fit(self._recycle_after):
                return old
            if old is not None:
                self._retire(old)
                self._generation = None
            await asyncio.to_thread(remove_stale)
            chromium = await Chromium.start(self._executable, sandbox=self._sandbox)
            self.version = chromium.version
            self._generation = generation = Generation(chromium, self._egress, self._ready)
            self._living.add(generation)
            chromium.connection.closed.add_done_callback(lambda _: self._gone(generation))
            return generation

    def _gone(self, generation: Generation) -> None:
        """Bring a browser back that ended by itself; where that fails, the next capture tries again."""
        if generation is self._generation and not self._closed and not generation.retired:
            log.warning("the browser (process %d) is gone: starting another", generation.chromium.pid)
            self._later(self._revive())

    async def _revive(self) -> None:
        await asyncio.sleep(REVIVE_PAUSE)
        try:
            if not self._closed:
                await self._current()
        except Unavailable as exc:
            log.error("the browser does not come back: %s", exc)

    def _retire(self, generation: Generation) -> None:
        generation.retired = True
        if generation.users == 0:
            self._later(self._end(generation))

    def _leave(self, generation: Generation) -> None:
        generation.users -= 1
        if generation.retired and generation.users == 0:
            self._later(self._end(generation))

    async def _end(self, generation: Generation) -> None:
        await generation.close()
        self._living.discard(generation)

    async def _give_back(self, generation: Generation, stage: Stage) -> None:
        """Take the stage down, and the generation too where this was its last capture."""
        try:
            await stage.strike()
        finally:
            self._leave(generation)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End the browser and everything of it; captures under way fail."""
        # A start under way comes to its end first, so that nothing of it is left behind.
        async with self._starting:
            self._closed = True
            self._generation = None
        await asyncio.gather(*map(self._end, self._living))
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    @property
    def pids(self) -> list[int]:
        """The browser process that takes new captures, if there is one; for tests and health checks."""
        return [self._generation.chromium.pid] if self._generation is not None else []
