"""What a browser that is lost means for the page that it had open."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from linkpeek.capture import Browser, Capture, CaptureRequest, browser
from linkpeek.capture.failures import BrowserLost, failure
from linkpeek.capture.model import Egress
from linkpeek.errors import CaptureError
from linkpeek.geometry import Extent, Viewport

REQUEST = CaptureRequest("http://example.com/", Viewport(800, 600), Extent.VIEWPORT, 20)


class Fleet:
    """Browsers without a Chromium, of which the first is lost."""

    def __init__(self) -> None:
        self.is_closed = False
        self.given_back = 0

    def _stage(self) -> tuple[Any, Any]:
        lost: asyncio.Future[CaptureError] = asyncio.get_running_loop().create_future()

        def loss() -> BrowserLost:
            return BrowserLost(lost.result())

        return SimpleNamespace(version="", lost=lost, loss=loss), None

    async def stage(self) -> tuple[Any, Any]:
        generation, stage = self._stage()
        generation.lost.set_result(failure("too-large"))
        return generation, stage

    async def lone_stage(self) -> tuple[Any, Any]:
        return self._stage()

    def give_back(self, *_: object) -> None:
        self.given_back += 1


def test_page_that_fails_as_its_browser_is_lost_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chromium may tell of what did not come sooner than anyone of why."""
    picture = cast("Capture", object())
    outcomes = iter([failure("navigation-failed"), picture])

    class Pipeline:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> Capture:
            outcome = next(outcomes)
            if isinstance(outcome, CaptureError):
                raise outcome
            return outcome

    monkeypatch.setattr(browser, "Pipeline", Pipeline)
    fleet = Fleet()

    async def run() -> Capture:
        made = Browser(Path("chromium"), egress=cast("Egress", None))
        monkeypatch.setattr(made, "_fleet", fleet)
        return await made.capture(REQUEST)

    assert asyncio.run(run()) is picture
    assert fleet.given_back == 2
