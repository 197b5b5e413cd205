"""The page at work: asked with patience, run on a clock of its own, stopped when it will not stop.

The clock is Chromium's virtual time (``Emulation.setVirtualTimePolicy``): a page's
timers and animations run as fast as its scripts can keep up, and only while no
request is under way; between grants of time nothing in the page moves.
"""

import asyncio
import contextlib
from typing import Any

from linkpeek.capture.cdp import CommandTimeout, ConnectionClosed, ProtocolError
from linkpeek.capture.deadline import Deadline
from linkpeek.capture.failures import failure
from linkpeek.capture.stage import Stage
from linkpeek.errors import CaptureError

#: Tasks that may run without the page's clock moving before it is moved.
STARVATION = 1000

#: Milliseconds of its own time that a stopped page gets to be drawn in.
LAST_TIME = 6000

#: Seconds for a page that is stopped to become a document that can be drawn.
PARSE_LIMIT = 0.5

#: Seconds a script may hold the page before it is stopped; a busy machine is slow, so
#: a share of the whole time where that is more. And seconds between looks.
HANG_LIMIT, HANG_SHARE = 4.0, 0.2
PULSE = 1.0


class Page:
    """What the pipeline does to a page, each step within a time limit.

    :ivar held: the page was stopped: no more scripts, no more requests.
    :ivar interrupted: a script of it was, at least.
    :ivar on_own_clock: its clock is ours, and stands still unless time is granted.
    """

    def __init__(self, stage: Stage, deadline: Deadline) -> None:
        self.stage = stage
        self.watch = stage.watch
        self.deadline = deadline
        self.held = self.interrupted = self.on_own_clock = False

    async def command(self, method: str, limit: float, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, or for the page's end.

        :param limit: seconds.
        :raises CommandTimeout: no answer in time.
        :raises CaptureError: the page crashed, or refuses the command.
        """
        answer = self.stage.page.post(method, **params)
        answer.add_done_callback(self.watch.changed)
        if not await self.watch.until(answer.done, self.deadline.now() + max(limit, 0.05)):
            answer.cancel()
            raise CommandTimeout(f"{method} took more than {limit:.1f} s")
        try:
            return answer.result()
        except ConnectionClosed:
            raise
        except ProtocolError:
            raise failure("page-crashed") from None

    async def ask(self, method: str, limit: float, **params: Any) -> dict[str, Any] | None:
        """Send a command whose failure does not matter (then None); a page that hangs is stopped."""
        try:
            return await self.command(method, limit, **params)
        except CommandTimeout:
            await self.hold()
        except CaptureError:
            if self.watch.fault is not None:
                raise
        return None

    async def world(self, limit: float) -> int | None:
        """Give a world of our own in the current document; None where that fails."""
        where = {"frameId": self.stage.frame, "worldName": "linkpeek"}
        world = await self.ask("Page.createIsolatedWorld", limit, **where)
        return int(world["executionContextId"]) if world is not None else None

    async def evaluate(self, script: str, limit: float, world: int) -> Any:
        """Run a script in a world of our own and give its value; None where that fails."""
        how = {"contextId": world, "awaitPromise": True, "returnByValue": True}
        answer = await self.ask("Runtime.evaluate", limit, expression=script, **how)
        return answer["result"].get("value") if answer else None

    def run_clock(self, milliseconds: int, *, whatever: bool = False) -> None:
        """Let so much of the page's own time pass; ``watch.expired`` tells when it has.

        :param whatever: even while requests are under way.
        """
        self.on_own_clock = True
        self.watch.expired = False
        self.stage.page.post(
            "Emulation.setVirtualTimePolicy",
            policy="advance" if whatever else "pauseIfNetworkFetchesPending",
            budget=milliseconds,
            maxVirtualTimeTaskStarvationCount=STARVATION,
        )

    async def hold(self) -> None:
        """Stop the page where it is: no more scripts, no more requests."""
        self.held = True
        post = self.stage.page.post
        post("Emulation.setScriptExecutionDisabled", value=True)
        post("Runtime.terminateExecution")
        if self.on_own_clock:  # while its clock waits for a request, a page is not drawn
            self.run_clock(LAST_TIME, whatever=True)
        # A document that is stopped before it has a body is never drawn at all.
        limit = min(self.deadline.hard, self.deadline.now() + PARSE_LIMIT)
        await self.watch.until(lambda: self.watch.parsed, limit)
        post("Page.stopLoading")

    async def watch_pulse(self) -> None:
        """Stop a script that holds the page; the second time, stop all of them.

        What follows an endless script, the rest of the page, so still has its chance.
        Runs beside the capture until it is cancelled.
        """
        while self.watch.fault is None:
            await asyncio.sleep(PULSE)
            if await self._beats():
                continue
            if self.interrupted or self.deadline.is_due():
                with contextlib.suppress(CaptureError):
                    await self.hold()
                return
            self.interrupted = True
            self.stage.page.post("Runtime.terminateExecution")

    async def _beats(self) -> bool:
        """Whether the page's scripts leave room for another one."""
        patience = max(HANG_LIMIT, self.deadline.seconds * HANG_SHARE)
        beat = self.stage.page.post("Runtime.evaluate", expression="0")
        limit = self.deadline.soon(patience) - self.deadline.now()
        await asyncio.wait([beat], timeout=max(limit, 0.1))
        if not beat.done():
            beat.cancel()
            return False
        return True
