"""From an address to a picture: open, wait well, and take the best there is in time.

Waiting is done in the page's own time. Once a page has loaded, its clock is made
to run freely, as fast as its scripts can keep up and only while no request is
under way: two seconds of timers and animations pass in a few milliseconds on a
quiet page, which so pays for no fixed wait, and in as long as it takes on a busy
one. Then the clock stands still and nothing moves while the picture is taken.
"""

import asyncio
import base64
import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

from linkpeek.capture import scripts
from linkpeek.capture.cdp import CommandTimeout, ConnectionClosed, ProtocolError
from linkpeek.capture.failures import failure, navigation_failure
from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.capture.picture import is_blank, may_be_blank, png_size
from linkpeek.capture.stage import Stage
from linkpeek.errors import CaptureError
from linkpeek.geometry import MAX_PAGE_HEIGHT, Extent

#: Milliseconds of the page's own time that pass after load; on a second try; and
#: when the network does not come to rest.
USUAL_TIME, LONG_TIME, FORCED_TIME = 2000, 6000, 500

#: Tasks that may run without the page's clock moving before it is moved.
STARVATION = 1000

#: Seconds: to the first paint after load (a blank page never paints); without any
#: network activity before requests are taken for endless; all waiting after load.
PAINT_LIMIT, QUIET_LIMIT, SETTLE_LIMIT = 0.25, 3.0, 10.0

#: Seconds after which a page that is there but never finishes loading is taken as it
#: is: without network activity, and in any case.
STALL_LIMIT, LOAD_LIMIT = 5.0, 15.0

#: Seconds a script may hold the page before it is stopped; a busy machine is slow, so
#: a share of the whole time where that is more.
HANG_LIMIT, HANG_SHARE = 4.0, 0.2

#: Seconds for a page that is stopped to become a document that can be drawn.
PARSE_LIMIT = 0.5

#: What is kept of the time for taking the picture: at most these seconds, at most this share.
RESERVE = {Extent.VIEWPORT: 4.0, Extent.FULL: 8.0}
RESERVE_SHARE = 0.35

#: Times a picture is taken anew because the page moved on meanwhile.
RETAKES = 2

#: Characters of a title.
MAX_TITLE = 300

#: What addresses of pages start with that are shown, wherever redirects and scripts lead.
SHOWN = ("http://", "https://", "blob:http", "about:blank", "about:srcdoc")

_VAGUE = ("net::ERR_ABORTED", "net::ERR_FAILED")
_EMPTY_ANSWER = "net::ERR_HTTP_RESPONSE_CODE_FAILURE"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\s]+")


@dataclass(slots=True)
class _Shot:
    image: bytes
    truncated: bool


@dataclass(slots=True)
class Pipeline:
    """One capture on one stage.

    :ivar started: loop time at which the request came; its ``timeout`` runs from there.
    :ivar timings: seconds by step, filled on the way.
    """

    stage: Stage
    request: CaptureRequest
    started: float
    version: str
    timings: dict[str, float] = field(default_factory=dict)
    _title: str = ""
    _held: bool = False
    _virtual: bool = False
    _complete: bool = True
    _pulse: "asyncio.Task[None] | None" = None

    async def run(self) -> Capture:
        """Capture the page.

        :raises CaptureError: with the code of what went wrong; ConnectionClosed when the browser is gone.
        """
        self.stage.lay_out(self.request.viewport)
        self._pulse = asyncio.create_task(self._watch_pulse())
        try:
            shot = await self._attempt(USUAL_TIME)
            blank = await _is_blank(shot.image)
            if blank:
                shot, blank = await self._once_more(shot)
            return self._finish(shot, blank)
        finally:
            self._pulse.cancel()

    # Time

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def _deadline(self) -> float:
        """Loop time by which the answer must be given; a little is kept for giving it."""
        return self.started + self.request.timeout - min(0.2, self.request.timeout * 0.05)

    @property
    def _soft_deadline(self) -> float:
        """Loop time at which waiting ends and the picture is taken."""
        return self._deadline - min(RESERVE[self.request.extent], self.request.timeout * RESERVE_SHARE)

    def _clock(self, step: str, since: float) -> float:
        now = self._now()
        self.timings[step] = round(self.timings.get(step, 0.0) + now - since, 4)
        return now

    # Steps

    async def _attempt(self, page_time: int) -> _Shot:
        """Open the page, wait and take its picture."""
        since = self._now()
        await self._navigate()
        await self._load()
        since = self._clock("navigation", since)
        await self._settle(page_time)
        if self.request.extent is Extent.FULL:
            await self._reveal(page_time)
        since = self._clock("settle", since)
        shot = await self._shoot()
        for _ in range(RETAKES):
            if not self._moves():
                break
            await self._settle(page_time)
            shot = await self._shoot()
        self._clock("screenshot", since)
        return shot

    async def _once_more(self, first: _Shot) -> tuple[_Shot, bool]:
        """Try a page that came out blank again: give it longer, then open it anew."""
        with contextlib.suppress(CaptureError):
            if self._has_time():
                await self._settle(LONG_TIME)
                first = await self._shoot()
                if not await _is_blank(first.image):
                    return first, False
            if self._has_time():
                second = await self._attempt(LONG_TIME)
                return second, await _is_blank(second.image)
        return first, True

    def _has_time(self) -> bool:
        return self._now() < self._soft_deadline - 1 and not self._held

    async def _navigate(self) -> None:
        watch = self.stage.watch
        watch.begin()
        answer = self.stage.page.post("Page.navigate", url=self.request.uri)
        answer.add_done_callback(watch.changed)
        if not await watch.until(answer.done, self._soft_deadline):
            raise failure("page-timeout")
        try:
            result = answer.result()
        except ConnectionClosed:
            raise
        except ProtocolError:
            raise failure("navigation-failed") from None
        error = result.get("errorText", "")
        if error in _VAGUE:  # a crash says so, but a moment later
            await watch.until(lambda: watch.downloads, self._soon(0.1))
        self._judge(error, bool(result.get("isDownload")))
        if self._virtual:  # the clock stood still for a picture: nothing would load
            self._grant("pauseIfNetworkFetchesPending", LONG_TIME)

    def _judge(self, error: str, is_download: bool) -> None:
        """Raise what a failed navigation means."""
        watch = self.stage.watch
        if watch.fault is not None:
            raise watch.fault
        if is_download or watch.downloads:
            raise failure("download")
        if error and error != _EMPTY_ANSWER:
            raise navigation_failure(error, watch.uri or self.request.uri, self.stage.egress)

    async def _load(self) -> None:
        """Wait for the load event, as long as there is hope for it."""
        watch = self.stage.watch
        while not await watch.until(lambda: watch.loaded or bool(watch.excess), self._soon(0.5)):
            if self._now() >= self._soft_deadline or (watch.parsed and self._stalls()):
                self._complete = False
                break
        if watch.excess:
            await self._hold()

    def _stalls(self) -> bool:
        """Whether a page that is there, but for some of what it asked for, has had its time."""
        watch = self.stage.watch
        return self._now() > min(watch.activity + STALL_LIMIT, watch.parsed_at + LOAD_LIMIT)

    def _soon(self, seconds: float) -> float:
        """Loop time in so many seconds, but not beyond where waiting ends."""
        return min(self._soft_deadline, self._now() + seconds)

    def _refuse_error_page(self) -> None:
        """Raise what it means that a page led the browser to where nothing can be shown."""
        watch = self.stage.watch
        if watch.is_error_page and watch.error != _EMPTY_ANSWER:
            self._judge(watch.error or "net::ERR_FAILED", watch.downloads)
        if not watch.uri.startswith(SHOWN):
            raise failure("address-refused")

    async def _settle(self, page_time: int) -> None:
        """Let the page come to rest; follow it where it sends itself elsewhere."""
        watch = self.stage.watch
        limit = min(self._soft_deadline, self._now() + SETTLE_LIMIT)
        while True:
            await watch.until(lambda: watch.painted or watch.leaving, min(limit, self._now() + PAINT_LIMIT))
            await self._pass_time(page_time, limit)
            if watch.excess:
                await self._hold()
            if self._held or self._now() >= limit or not (watch.leaving or not watch.loaded):
                return
            if watch.leaving and not await watch.until(lambda: not watch.leaving, limit):
                return
            self._grant("pauseIfNetworkFetchesPending", page_time)
            await self._load()
            if not watch.loaded:
                return

    async def _pass_time(self, page_time: int, limit: float) -> None:
        """Let so many milliseconds of the page's own time pass, however long the network takes."""
        watch = self.stage.watch
        documents = watch.documents

        def rests() -> bool:
            return watch.expired or watch.leaving or bool(watch.excess) or watch.documents != documents

        if watch.loaded and not self._held:
            self._grant("pauseIfNetworkFetchesPending", page_time)
            while not await watch.until(rests, min(limit, self._now() + 0.25)):
                if self._now() >= limit or self._now() - watch.activity > QUIET_LIMIT:
                    break
        if not rests() or not watch.loaded or self._held:
            self._grant("advance", FORCED_TIME)
            await watch.until(lambda: watch.expired, min(self._deadline, self._now() + 1))

    def _grant(self, policy: str, page_time: int) -> None:
        self._virtual = True
        self.stage.watch.expired = False
        self.stage.page.post(
            "Emulation.setVirtualTimePolicy",
            policy=policy,
            budget=page_time,
            maxVirtualTimeTaskStarvationCount=STARVATION,
        )

    def _moves(self) -> bool:
        """Whether the page went on while its picture was taken, and there is time to follow."""
        watch = self.stage.watch
        moves = watch.leaving or not watch.loaded or watch.in_flight > 0
        return moves and self._complete and self._has_time()

    async def _reveal(self, page_time: int) -> None:
        """Scroll through the page so that what loads late is there."""
        if self._held or not self._complete:
            return
        limit = (self._soft_deadline - self._now()) / 2
        world = await self._world(limit)
        if world is not None:
            await self._evaluate(scripts.REVEAL % MAX_PAGE_HEIGHT, limit, world)
        await self._settle(page_time)

    async def _shoot(self) -> _Shot:
        self._refuse_error_page()
        world = await self._world(self._patience())
        if world is not None:
            await self._evaluate(scripts.FREEZE, self._patience(), world)
        area, truncated = await self._area()
        image = await self._expose(area)
        if world is not None:
            title = await self._evaluate(scripts.TITLE, self._patience(), world)
            self._title = title if isinstance(title, str) else self._title
        return _Shot(image, truncated)

    def _patience(self) -> float:
        """Seconds that a question to the page may take when its picture is due."""
        return min(2.0, max(0.1, (self._deadline - self._now()) / 4))

    async def _expose(self, area: dict[str, Any]) -> bytes:
        """Take the picture; where the page does not let itself be drawn, stop it and try once more."""
        try:
            return await self._screenshot(area, (self._deadline - self._now()) * 0.6)
        except CommandTimeout:
            await self._hold()
        try:
            return await self._screenshot({}, self._deadline - self._now())
        except CommandTimeout:
            raise failure("page-timeout") from None

    async def _area(self) -> tuple[dict[str, Any], bool]:
        """Give what of the page to take, as parameters, and whether that leaves out its end."""
        if self.request.extent is Extent.VIEWPORT:
            return {}, False
        viewport = self.request.viewport
        metrics = await self._ask("Page.getLayoutMetrics", 2.0)
        content = round(metrics["cssContentSize"]["height"]) if metrics else 0
        height = min(max(content, viewport.height), MAX_PAGE_HEIGHT)
        clip = {"x": 0, "y": 0, "width": viewport.width, "height": height, "scale": 1}
        return {"captureBeyondViewport": True, "clip": clip}, content > MAX_PAGE_HEIGHT

    async def _screenshot(self, area: dict[str, Any], limit: float) -> bytes:
        wanted = {"format": "png", "optimizeForSpeed": self.request.extent is Extent.VIEWPORT, **area}
        result = await self._command("Page.captureScreenshot", limit, **wanted)
        return base64.b64decode(result["data"])

    def _finish(self, shot: _Shot, blank: bool) -> Capture:
        watch = self.stage.watch
        width, height = png_size(shot.image)
        return Capture(
            image=shot.image,
            width=width,
            height=height,
            final_uri=watch.uri or self.request.uri,
            status=watch.status,
            title=clean(self._title),
            truncated=shot.truncated,
            blank=blank,
            browser_version=self.version,
            complete=self._complete and not self._held,
            timings=dict(self.timings),
        )

    # Talking to the page

    async def _command(self, method: str, limit: float, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, or for the page's end.

        :raises CommandTimeout: no answer within ``limit`` seconds.
        :raises CaptureError: the page crashed, or refuses the command.
        """
        watch = self.stage.watch
        answer = self.stage.page.post(method, **params)
        answer.add_done_callback(watch.changed)
        if not await watch.until(answer.done, self._now() + max(limit, 0.05)):
            answer.cancel()
            raise CommandTimeout(f"{method} took more than {limit:.1f} s")
        try:
            return answer.result()
        except ConnectionClosed:
            raise
        except ProtocolError:
            raise failure("page-crashed") from None

    async def _ask(self, method: str, limit: float, **params: Any) -> dict[str, Any] | None:
        """Send a command whose failure does not matter; a page that hangs is stopped."""
        try:
            return await self._command(method, limit, **params)
        except CommandTimeout:
            await self._hold()
        except CaptureError:
            if self.stage.watch.fault is not None:
                raise
        return None

    async def _world(self, limit: float) -> int | None:
        """Give a world of our own in the current document; None where that fails."""
        where = {"frameId": self.stage.frame, "worldName": "linkpeek"}
        world = await self._ask("Page.createIsolatedWorld", limit, **where)
        return int(world["executionContextId"]) if world is not None else None

    async def _evaluate(self, script: str, limit: float, world: int) -> Any:
        """Run a script in a world of our own; None where that fails."""
        how = {"contextId": world, "awaitPromise": True, "returnByValue": True}
        answer = await self._ask("Runtime.evaluate", limit, expression=script, **how)
        return answer["result"].get("value") if answer else None

    async def _hold(self) -> None:
        """Stop the page where it is: no more scripts, no more requests."""
        self._held = True
        watch, post = self.stage.watch, self.stage.page.post
        post("Emulation.setScriptExecutionDisabled", value=True)
        post("Runtime.terminateExecution")
        if self._virtual:  # with its clock waiting for a request, a page is not drawn
            self._grant("advance", LONG_TIME)
        # A document that is stopped before it has a body is never drawn at all.
        await watch.until(lambda: watch.parsed, min(self._deadline, self._now() + PARSE_LIMIT))
        post("Page.stopLoading")

    async def _watch_pulse(self) -> None:
        """Stop a script that holds the page; the second time, stop all of them.

        What follows an endless script, the rest of the page, so still has its chance.
        """
        page = self.stage.page
        patience = max(HANG_LIMIT, self.request.timeout * HANG_SHARE)
        stopped = 0
        while self._now() < self._deadline and self.stage.watch.fault is None:
            await asyncio.sleep(1)
            beat = page.post("Runtime.evaluate", expression="0")
            limit = min(self._now() + patience, self._soft_deadline)
            await asyncio.wait([beat], timeout=max(limit - self._now(), 0.1))
            if beat.done():
                continue
            stopped += 1
            if stopped > 1 or self._now() >= self._soft_deadline:
                with contextlib.suppress(CaptureError):
                    await self._hold()
                return
            self._complete = False
            page.post("Runtime.terminateExecution")
            beat.cancel()


async def _is_blank(image: bytes) -> bool:
    """Look at a picture beside the loop, and only where its size leaves the question open."""
    return may_be_blank(image) and await asyncio.to_thread(is_blank, image)


def clean(title: str) -> str:
    """Give a title as one bounded line: no control or direction characters, nothing UTF-8 cannot say."""
    text = _CONTROL.sub(" ", title.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1].rstrip() + "…"
