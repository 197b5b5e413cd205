"""From an address to a picture: open, wait, take it, and look whether there is anything on it."""

import asyncio
import contextlib
from typing import Any

from linkpeek.capture.cdp import ConnectionClosed, ProtocolError
from linkpeek.capture.deadline import Deadline
from linkpeek.capture.exposure import Shot, expose
from linkpeek.capture.failures import NetworkChanged, failure, navigation_failure
from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.capture.page import Page
from linkpeek.capture.picture import png_size
from linkpeek.capture.stage import Stage
from linkpeek.capture.waiting import Waiting
from linkpeek.errors import CaptureError
from linkpeek.geometry import Extent

#: Milliseconds of the page's own time that pass after load, and on a second try.
USUAL_TIME, LONG_TIME = 2000, 6000

#: Times a picture is taken anew because the page moved on meanwhile.
RETAKES = 2

#: Times a page is opened anew because this machine's network changed. One interface that comes up is two
#: changes, a second apart: its IPv6 address is tried first.
REOPENINGS = 3

#: Seconds that must be left for anything to be tried again.
SPARE = 1.0

#: What addresses of pages start with that are shown, wherever redirects and scripts lead.
SHOWN = ("http://", "https://", "blob:http", "about:blank", "about:srcdoc")

#: Chromium's word for an HTTP error without a page, which it shows one of its own for;
#: and for navigations that ended for another reason, which comes a moment later.
_EMPTY_ANSWER = "net::ERR_HTTP_RESPONSE_CODE_FAILURE"
_VAGUE = ("net::ERR_ABORTED", "net::ERR_FAILED")
_MOMENT = 0.1


class Pipeline:
    """One capture on one stage."""

    def __init__(self, stage: Stage, request: CaptureRequest, started: float, version: str) -> None:
        """:param started: loop time at which the request came; its ``timeout`` runs from there."""
        self._stage = stage
        self._request = request
        self._version = version
        self._deadline = Deadline(started, request.timeout, request.extent)
        self._page = Page(stage, self._deadline)
        self._waiting = Waiting(self._page)
        self._watch = stage.watch
        self._timings: dict[str, float] = {}
        self._lap("context", started)

    async def run(self) -> Capture:
        """Capture the page.

        :raises CaptureError: with the code of what went wrong.
        :raises ConnectionClosed: the browser is gone.
        """
        self._stage.lay_out(self._request.viewport)
        pulse = asyncio.create_task(self._page.watch_pulse())
        try:
            shot = await self._attempt(USUAL_TIME)
            blank = await shot.is_blank()
            if blank:
                shot, blank = await self._once_more(shot)
            return self._finish(shot, blank)
        finally:
            pulse.cancel()

    async def _attempt(self, page_time: int) -> Shot:
        """Open the page, wait and take its picture; anew where this machine's network changed meanwhile.

        A picture that lacks a part for it is better than none, and than one of a page that was stopped.
        """
        watch, left = self._watch, REOPENINGS
        kept: Shot | None = None
        while True:
            try:
                shot = await self._open(page_time)
            except CaptureError as exc:
                if not (isinstance(exc, NetworkChanged) and left and self._has_time()):
                    if kept is None:
                        raise
                    return kept
                # Chromium's error page is still to come, and must not be taken for what is opened next.
                with contextlib.suppress(CaptureError):  # what is wrong with the page comes up again
                    soon = self._deadline.soon(SPARE)
                    await watch.until(lambda: watch.is_error_page and watch.loaded, soon)
            else:
                kept = shot if kept is None or self._is_hopeful() else kept
                if not (kept.lacks and left and self._has_time()):
                    return kept
            left -= 1

    async def _open(self, page_time: int) -> Shot:
        since = self._deadline.now()
        await self._navigate()
        await self._waiting.load()
        since = self._lap("navigation", since)
        await self._waiting.settle(page_time)
        if self._request.extent is Extent.FULL:
            await self._waiting.reveal(page_time)
        self._stage.rests()
        since = self._lap("settle", since)
        shot = await self._shoot()
        for _ in range(RETAKES):
            if not (self._waiting.moves_on() and self._has_time()):
                break
            await self._waiting.settle(page_time)
            shot = await self._shoot()
        self._lap("screenshot", since)
        return shot

    async def _once_more(self, first: Shot) -> tuple[Shot, bool]:
        """Try a page that came out blank again: give it longer, then open it anew."""
        with contextlib.suppress(CaptureError):
            if self._has_time():
                await self._waiting.settle(LONG_TIME)
                first = await self._shoot()
                if not await first.is_blank():
                    return first, False
            if self._has_time():
                second = await self._attempt(LONG_TIME)
                return second, await second.is_blank()
        return first, True

    def _has_time(self) -> bool:
        """Whether there is time, and a page left, to try anything again."""
        return self._is_hopeful() and self._deadline.now() < self._deadline.soft - SPARE

    def _is_hopeful(self) -> bool:
        return not self._page.held and not self._waiting.gave_up

    async def _navigate(self) -> None:
        self._watch.begin()
        answer = self._stage.page.post("Page.navigate", url=self._request.uri)
        answer.add_done_callback(self._watch.changed)
        if not await self._watch.until(answer.done, self._deadline.soft):
            raise failure("page-timeout")
        await self._judge_navigation(_result(answer))
        if self._page.on_own_clock:  # it stood still for a picture: nothing would load
            self._page.run_clock(LONG_TIME)

    async def _judge_navigation(self, result: dict[str, Any]) -> None:
        """Raise what it means that the page did not open."""
        error = result.get("errorText", "")
        if error in _VAGUE:
            await self._watch.until(lambda: self._watch.downloads, self._deadline.soon(_MOMENT))
        if result.get("isDownload"):
            raise failure("download")
        self._judge(error)

    def _judge(self, error: str) -> None:
        if self._watch.fault is not None:
            raise self._watch.fault
        if self._watch.downloads and not self._watch.documents:
            raise failure("download")
        if error and error != _EMPTY_ANSWER:
            raise navigation_failure(error, self._watch.asked or self._request.uri, self._stage.egress)

    async def _shoot(self) -> Shot:
        self._judge_place()
        return await expose(self._page, self._request.viewport, self._request.extent)

    def _judge_place(self) -> None:
        """Raise what it means that a page led the browser to where nothing can be shown."""
        if self._watch.is_error_page:
            self._judge(self._watch.error or "net::ERR_FAILED")
        if not self._watch.uri.startswith(SHOWN):
            raise failure("address-refused")

    def _finish(self, shot: Shot, blank: bool) -> Capture:
        width, height = png_size(shot.image)
        return Capture(
            image=shot.image,
            width=width,
            height=height,
            final_uri=shot.uri,
            status=shot.status,
            title=shot.title,
            truncated=shot.truncated,
            blank=blank,
            browser_version=self._version,
            complete=self._is_hopeful() and not (self._page.interrupted or shot.lacks),
            timings=dict(self._timings),
        )

    def _lap(self, step: str, since: float) -> float:
        """Add the seconds since a loop time to a step's; give the time now."""
        now = self._deadline.now()
        self._timings[step] = round(self._timings.get(step, 0.0) + now - since, 4)
        return now


def _result(answer: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
    """Give a navigation's result; an address that Chromium will not even try is a failure too."""
    try:
        return answer.result()
    except ConnectionClosed:
        raise
    except ProtocolError:
        raise failure("navigation-failed") from None
