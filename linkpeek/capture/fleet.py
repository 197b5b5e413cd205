"""The browsers: the one that takes new captures, those at their last, and those for a single capture."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from linkpeek.capture.cdp import ProtocolError
from linkpeek.capture.failures import failure
from linkpeek.capture.generation import Generation
from linkpeek.capture.model import Egress
from linkpeek.capture.process import Chromium
from linkpeek.capture.profile import remove_stale
from linkpeek.capture.stage import Stage
from linkpeek.errors import Unavailable

log = logging.getLogger(__name__)

#: Captures after which a browser is replaced: what leaks, leaks no further.
RECYCLE_AFTER = 500

#: Empty stages that are kept ready, so that a capture starts with its navigation.
READY = 1

#: Seconds from a browser's unexpected end to the start of the next, lest one that
#: cannot live keeps the machine busy.
REVIVE_PAUSE = 0.5


class Fleet:
    """Starts browsers, hands out stages in them, and ends each when its time has come.

    :ivar version: name and version of the Chromium that started last.
    :ivar is_closed: no more browsers start.
    """

    def __init__(
        self, executable: Path, egress: Egress, *, sandbox: bool, recycle_after: int, ready: int
    ) -> None:
        """See ``Browser``."""
        self._executable = executable
        self._egress = egress
        self._sandbox = sandbox
        self._recycle_after = recycle_after
        self._ready = ready
        self._starting = asyncio.Lock()
        self._present: Generation | None = None
        #: All that are not yet closed.
        self._living: set[Generation] = set()
        self._working: set[asyncio.Task[None]] = set()
        self.is_closed = False
        self.version = ""

    @property
    def present(self) -> Generation | None:
        """The one that takes new captures, if there is one."""
        return self._present

    async def current(self) -> Generation:
        """Give the one that takes new captures; start it where there is none.

        :raises Unavailable: it does not start, and why.
        """
        async with self._starting:
            old = self._present
            if old is not None and old.is_fit(self._recycle_after):
                return old
            if old is not None:
                self._retire(old)
                self._present = None
            self._present = await self._start(self._ready, shared=True)
            return self._present

    async def stage(self) -> tuple[Generation, Stage]:
        """Give a fresh stage, to be given back; a browser that cannot make one is replaced, once.

        :raises CaptureError: neither could.
        :raises Unavailable: there is no browser, or no way out of it.
        """
        for _ in range(2):
            generation = await self.current()
            try:
                return generation, await self._enter(generation)
            except ProtocolError as exc:
                log.warning("the browser does not open pages (%s): replacing it", exc)
        raise failure("browser-crashed")

    async def lone_stage(self) -> tuple[Generation, Stage]:
        """Give the only stage of a browser of its own, which ends when the stage is given back.

        :raises CaptureError: the browser makes none.
        :raises Unavailable: it does not start, or there is no way out of it.
        """
        async with self._starting:
            generation = await self._start(0, shared=False)
        try:
            return generation, await self._enter(generation)
        except ProtocolError:
            raise failure("browser-crashed") from None
        finally:
            self._retire(generation)

    async def _start(self, ready: int, *, shared: bool) -> Generation:
        if self.is_closed:
            raise Unavailable("The browser is closed.")
        await asyncio.to_thread(remove_stale)
        chromium = await Chromium.start(self._executable, sandbox=self._sandbox)
        self.version = chromium.version
        generation = Generation(chromium, self._egress, ready, shared=shared)
        self._living.add(generation)
        generation.lost.add_done_callback(lambda _: self._gone(generation))
        return generation

    async def _enter(self, generation: Generation) -> Stage:
        generation.enter()
        try:
            return await generation.stage()
        except OSError as exc:
            self._leave(generation)
            raise Unavailable(f"The worker cannot open a way out for a page: {exc}") from exc
        except BaseException as exc:
            generation.retired |= isinstance(exc, ProtocolError)
            self._leave(generation)
            raise

    def give_back(self, generation: Generation, stage: Stage) -> None:
        """Take a stage down, and its browser too where this was its last capture; not waited for."""
        self._later(self._strike(generation, stage))

    async def _strike(self, generation: Generation, stage: Stage) -> None:
        try:
            await stage.strike()
        finally:
            self._leave(generation)

    def _retire(self, generation: Generation) -> None:
        generation.retired = True
        if generation.users == 0:
            self._later(self._end(generation))

    def _leave(self, generation: Generation) -> None:
        generation.users -= 1
        if generation.retired and generation.users == 0:
            self._later(self._end(generation))

    def _gone(self, generation: Generation) -> None:
        """End what is left of a browser; bring one back where it was the one that took captures."""
        if self.is_closed or generation not in self._living:
            return
        self._later(self._end(generation))
        if generation is self._present:
            self._present = None
            self._later(self._revive())

    async def _revive(self) -> None:
        """Start a browser; where that fails, the next capture tries again."""
        await asyncio.sleep(REVIVE_PAUSE)
        try:
            if not self.is_closed:
                await self.current()
        except Unavailable as exc:
            log.error("the browser does not come back: %s", exc)

    async def _end(self, generation: Generation) -> None:
        await generation.close()
        self._living.discard(generation)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def close(self) -> None:
        """End all browsers and everything of them; captures under way fail."""
        self.is_closed = True  # whoever waits for a start need not wait for it any more
        # A start under way comes to its end first, so that nothing of it is left behind.
        async with self._starting:
            self._present = None
        await asyncio.gather(*map(self._end, self._living))
        while self._working:
            await asyncio.gather(*self._working, return_exceptions=True)
