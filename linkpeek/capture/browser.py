"""The warm browser: takes captures, replaces itself when it is old, ill or dead."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

from linkpeek.capture.cdp import ConnectionClosed, ProtocolError
from linkpeek.capture.failures import failure
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
        self._engine: _Engine | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.version = ""

    async def start(self) -> None:
        """Start the browser, so that the first capture does not wait for it.

        :raises Unavailable: it does not start, and why.
        """
        await asyncio.to_thread(remove_stale)
        await self._current()

    async def capture(self, request: CaptureRequest) -> Capture:
        """Capture a page; the answer comes within ``request.timeout`` seconds, and about a second of grace.

        :raises CaptureError: (CaptureTimeout, CaptureRefused) with a code of ``failures``.
        :raises Unavailable: the browser does not start.
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

    async def _capture(self, request: CaptureRequest, started: float) -> Capture:
        """Capture; once more where the stage turns out to have died before the page was there."""
        for is_last in (False, True):
            engine, stage = await self._stage()
            waited = asyncio.get_running_loop().time() - started
            pipeline = Pipeline(stage, request, started, engine.version, {"context": round(waited, 4)})
            try:
                return await pipeline.run()
            except ConnectionClosed:
                raise failure("browser-crashed") from None
            except CaptureError as exc:
                if is_last or exc.code != "page-crashed" or stage.watch.documents:
                    raise
            finally:
                self._later(self._give_back(engine, stage))
        raise AssertionError("unreachable")

    def _suspect(self) -> None:
        if self._engine is not None:
            self._later(self._examine(self._engine))

    async def _examine(self, engine: "_Engine") -> None:
        """See whether it was the page that did not answer, or the browser; that is replaced at once."""
        try:
            await engine.chromium.connection.browser.call("Browser.getVersion", limit=EXAMINE_TIMEOUT)
        except ProtocolError:
            if engine.chromium.is_running:
                log.warning("the browser (process %d) does not answer: replacing it", engine.chromium.pid)
                engine.retired = True
                await engine.close()

    async def _stage(self) -> "tuple[_Engine, Stage]":
        """Give a fresh stage; a browser that cannot make one is replaced, once."""
        for _ in range(2):
            engine = await self._current()
            engine.enter()
            try:
                return engine, await engine.stage()
            except (ProtocolError, TimeoutError) as exc:
                log.warning("the browser does not open pages (%s): replacing it", exc)
                engine.retired = True
                self._leave(engine)
            except OSError as exc:
                self._leave(engine)
                raise Unavailable(f"The worker cannot open a way out for a page: {exc}") from exc
            except BaseException:
                self._leave(engine)
                raise
        raise failure("browser-crashed")

    async def _current(self) -> "_Engine":
        """Give the engine that takes new captures, starting one where there is none."""
        async with self._starting:
            if self._closed:
                raise Unavailable("The browser is closed.")
            old = self._engine
            if old is not None and old.is_fit(self._recycle_after):
                return old
            if old is not None:
                self._retire(old)
                self._engine = None
            chromium = await Chromium.start(self._executable, sandbox=self._sandbox)
            self.version = chromium.version
            self._engine = engine = _Engine(chromium, self._egress, self._ready)
            chromium.connection.closed.add_done_callback(lambda _: self._gone(engine))
            return engine

    def _gone(self, engine: "_Engine") -> None:
        """Bring a browser back that ended by itself; where that fails, the next capture tries again."""
        if engine is self._engine and not self._closed and not engine.retired:
            log.warning("the browser (process %d) is gone: starting another", engine.chromium.pid)
            self._later(self._revive())

    async def _revive(self) -> None:
        try:
            await self._current()
        except Unavailable as exc:
            log.error("the browser does not come back: %s", exc)

    def _retire(self, engine: "_Engine") -> None:
        engine.retired = True
        if engine.users == 0:
            self._later(engine.close())

    def _leave(self, engine: "_Engine") -> None:
        engine.users -= 1
        if engine.retired and engine.users == 0:
            self._later(engine.close())

    async def _give_back(self, engine: "_Engine", stage: Stage) -> None:
        """Take the stage down, and the engine too where this was its last capture."""
        try:
            await stage.strike()
        finally:
            self._leave(engine)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End the browser and everything of it; captures under way fail."""
        # A start under way comes to its end first, so that nothing of it is left behind.
        async with self._starting:
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.retired = True
            await engine.close()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    @property
    def pids(self) -> list[int]:
        """The browser process that takes new captures, if there is one; for tests and health checks."""
        return [self._engine.chromium.pid] if self._engine is not None else []


class _Engine:
    """One Chromium with its captures and its stages in waiting."""

    def __init__(self, chromium: Chromium, egress: Egress, ready: int) -> None:
        self.chromium = chromium
        self.version = chromium.version
        self.retired = False
        self.users = 0
        self._taken = 0
        self._egress = egress
        self._ready: list[asyncio.Task[Stage]] = []
        self._target = ready
        browser = chromium.connection.browser
        browser.on("Target.targetCreated", self._refuse_window)
        browser.post("Target.setDiscoverTargets", discover=True, filter=[{"type": "page"}])
        self._refill()

    def is_fit(self, most: int) -> bool:
        """Whether it may take another capture."""
        return self.chromium.is_running and not self.retired and self._taken < most

    def enter(self) -> None:
        """Count a capture in."""
        self.users += 1
        self._taken += 1

    async def stage(self) -> Stage:
        """Give a stage nobody used before."""
        try:
            while True:
                waiting = self._ready.pop(0) if self._ready else self._build()
                stage = await self._finished(waiting)
                if stage.watch.fault is None:
                    return stage
                await stage.strike()  # its renderer died while it waited
        finally:
            self._refill()

    async def _finished(self, waiting: "asyncio.Task[Stage]") -> Stage:
        """Wait for a stage; who gives up waiting leaves it to the next one."""
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._ready.append(waiting)
            raise

    def _refuse_window(self, params: dict[str, Any]) -> None:
        """Close a window that a page opened, where the browser did not refuse it by itself."""
        target = params["targetInfo"]
        if target.get("openerId"):
            self.chromium.connection.browser.post("Target.closeTarget", targetId=target["targetId"])

    def _build(self) -> "asyncio.Task[Stage]":
        building = Stage.build(self.chromium.connection, self._egress, self.version)
        return asyncio.get_running_loop().create_task(building)

    def _refill(self) -> None:
        while not self.retired and self.chromium.is_running and len(self._ready) < self._target:
            self._ready.append(self._build())

    async def close(self) -> None:
        """Drop the stages in waiting and end the browser."""
        self.retired = True
        ready, self._ready = self._ready, []
        for waiting in ready:
            waiting.cancel()
        await self.chromium.close()
        for stage in await asyncio.gather(*ready, return_exceptions=True):
            if isinstance(stage, Stage):
                with contextlib.suppress(Exception):
                    await stage.strike()
