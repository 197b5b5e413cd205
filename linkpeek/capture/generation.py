"""One generation of the browser: a Chromium, its captures and its stages in waiting."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from linkpeek.capture.drawing import keep_drawing
from linkpeek.capture.failures import BrowserLost, failure
from linkpeek.capture.model import Egress
from linkpeek.capture.process import Chromium
from linkpeek.capture.stage import SET_UP_TIMEOUT, Stage
from linkpeek.capture.vigil import keep_vigil, network_process
from linkpeek.errors import CaptureError

log = logging.getLogger(__name__)

#: What the browser tells of whenever a page makes one.
NOTICED = ("page", "worker", "shared_worker")

#: Seconds from a stage's use until the next one is built, where its page has not come to rest by then.
#: While a browser makes a page, those that are loading wait for it.
REFILL_AFTER = 0.3


class Generation:
    """One Chromium with its captures and its stages in waiting.

    :ivar retired: it takes no more captures, and is closed after its last one.
    :ivar users: captures under way.
    :ivar lost: done when its pages can do no more, wanted or not, with what that means for one that
        was alone.
    """

    def __init__(self, chromium: Chromium, egress: Egress, ready: int, *, shared: bool = True) -> None:
        """Take over a browser.

        :param ready: empty stages kept ready.
        :param shared: False where it is for a single page, which may take its time over drawing.
        """
        self.chromium = chromium
        self.version = chromium.version
        self.retired = False
        self.users = 0
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[CaptureError] = loop.create_future()
        self._taken = 0
        self._egress = egress
        self._ready: list[asyncio.Task[Stage]] = []
        self._dropped: asyncio.Task[None] | None = None
        #: By browser context, for as long as anyone has them.
        self._stages: WeakValueDictionary[str, Stage] = WeakValueDictionary()
        self._wanted = ready
        browser = chromium.connection.browser
        browser.on("Target.targetCreated", self._created)
        browser.post("Target.setDiscoverTargets", discover=True, filter=[{"type": kind} for kind in NOTICED])
        self._refill()
        chromium.connection.closed.add_done_callback(lambda _: self._lose(failure("browser-crashed")))
        self._network = loop.create_task(network_process(chromium.connection, chromium.pid))
        self._vigils = [loop.create_task(self._keep("reaches the network", self._keep_network))]
        if shared:
            self._vigils.append(loop.create_task(self._keep("draws pages", self._keep_drawing)))

    def is_fit(self, most: int) -> bool:
        """Whether it may take another capture, of ``most`` in its life."""
        return self.chromium.is_running and not self.retired and self._taken < most

    def enter(self) -> None:
        """Count a capture in."""
        self.users += 1
        self._taken += 1

    async def _keep_network(self) -> CaptureError:
        return await keep_vigil(self.chromium.connection, await self._network)

    async def _keep_drawing(self) -> CaptureError:
        return await keep_drawing(self.chromium.connection, self.chromium.pid)

    async def _keep(self, what: str, vigil: Callable[[], Awaitable[CaptureError]]) -> None:
        meaning = await vigil()
        if not self.lost.done():
            log.warning("the browser (process %d) no longer %s: replacing it", self.chromium.pid, what)
            self._lose(meaning)

    def _lose(self, meaning: CaptureError) -> None:
        """End the captures under way."""
        if self.lost.done():
            return
        self.retired = True
        self.lost.set_result(meaning)
        for stage in list(self._stages.values()):
            stage.watch.fail(self.loss())

    def loss(self) -> BrowserLost:
        """Give the error for a page that it had open when it was lost."""
        return BrowserLost(self.lost.result() if self.lost.done() else failure("browser-crashed"))

    async def stage(self) -> Stage:
        """Give a stage nobody used before.

        :raises ProtocolError: the browser makes none, and should be replaced.
        :raises OSError: there is no way out to be had.
        """
        # From here on, whatever becomes of that process is noticed. (One that hangs makes no stage, either.)
        await asyncio.wait([self._network], timeout=SET_UP_TIMEOUT)
        try:
            stage = await self._fresh()
        except BaseException:
            self._refill()
            raise
        self._stages[stage.context] = stage
        stage.at_rest.add_done_callback(self._refill)
        asyncio.get_running_loop().call_later(REFILL_AFTER, self._refill)
        return stage

    async def _fresh(self) -> Stage:
        while True:
            waiting = self._ready.pop(0) if self._ready else self._build()
            stage = await self._finished(waiting)
            if stage.watch.fault is None:
                return stage
            await stage.strike()  # its renderer died while it waited

    async def _finished(self, waiting: "asyncio.Task[Stage]") -> Stage:
        """Wait for a stage; who gives up waiting leaves it to the next one."""
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._ready.append(waiting)
            if self._dropped is not None:
                self._drop()
            raise

    def _created(self, params: dict[str, Any]) -> None:
        """Close a window that a page opened, where the browser did not refuse it by itself; count workers."""
        target = params["targetInfo"]
        if target["type"] != "page":
            stage = self._stages.get(target.get("browserContextId", ""))
            if stage is not None:
                stage.watch.worker_started()
                stage.watch.told(len(target["url"]))  # which is none of its session's events
        elif target.get("openerId"):
            self.chromium.connection.browser.post("Target.closeTarget", targetId=target["targetId"])

    def _build(self) -> "asyncio.Task[Stage]":
        building = Stage.build(self.chromium.connection, self._egress, self.version)
        return asyncio.get_running_loop().create_task(building)

    def _refill(self, *_: object) -> None:
        while not self.retired and self.chromium.is_running and len(self._ready) < self._wanted:
            self._ready.append(self._build())

    async def close(self) -> None:
        """Drop the stages in waiting and end the browser."""
        self.retired = True
        for vigil in self._vigils:
            vigil.cancel()
        dropped = self._drop()
        await self.chromium.close()
        await dropped

    def _drop(self) -> "asyncio.Task[None]":
        """Take down the stages in waiting, those still being built too."""
        ready, self._ready = self._ready, []
        for waiting in ready:
            waiting.cancel()
        self._dropped = asyncio.get_running_loop().create_task(_strike(ready))
        return self._dropped


async def _strike(ready: "list[asyncio.Task[Stage]]") -> None:
    for stage in await asyncio.gather(*ready, return_exceptions=True):
        if isinstance(stage, Stage):
            with contextlib.suppress(Exception):
                await stage.strike()
