"""The pipeline with a browser that opens nothing; with a real one, see tests/live."""

import asyncio
import base64
from typing import Any
from unittest.mock import create_autospec

import pytest

from linkpeek.capture import pipeline
from linkpeek.capture.cdp import Answer, Connection
from linkpeek.capture.model import CaptureRequest, EgressSession
from linkpeek.capture.pipeline import REOPENINGS, SPARE, Pipeline
from linkpeek.capture.stage import Stage
from linkpeek.errors import CaptureError
from linkpeek.geometry import Extent, Viewport
from tests.contracts.storage import noise

PAGE = "http://a.example/"
MAIN = "F"


ANSWERS: dict[str, dict[str, Any]] = {
    "Page.createIsolatedWorld": {"executionContextId": 1},
    "Page.captureScreenshot": {"data": base64.b64encode(noise(80)).decode()},
    "Page.getNavigationHistory": {"entries": [{"title": "A page"}], "currentIndex": 0},
    "Runtime.evaluate": {"result": {}},
}


def resolved(result: dict[str, Any]) -> Answer:
    answer: Answer = asyncio.get_running_loop().create_future()
    answer.set_result(result)
    return answer


class OpeningBrowser(Connection):
    """Opens a page and takes its picture.

    :param lacking: a part of it fails, the first so many times.
    :param errors: by the number of the time, why it is not opened at all.
    """

    def __init__(self, lacking: int, errors: dict[int, str]) -> None:
        super().__init__()
        self.lacking = lacking
        self.errors = errors
        self.opened = 0
        self.stage = Stage(self, create_autospec(EgressSession, instance=True), "C", MAIN, "S")

    def post(self, method: str, params: Any, session_id: str | None) -> Answer:
        tell = self.stage.page.dispatch
        if method == "Page.navigate":
            self.opened += 1
            if error := self.errors.get(self.opened):
                return resolved({"frameId": MAIN, "errorText": error})
            tell("Page.frameNavigated", {"frame": {"id": MAIN, "url": PAGE}})
            if self.opened <= self.lacking:
                request = {"requestId": "1", "type": "Image", "request": {"url": PAGE}}
                tell("Network.requestWillBeSent", request)
                tell("Network.loadingFailed", {"requestId": "1", "errorText": "net::ERR_NETWORK_CHANGED"})
            tell("Page.lifecycleEvent", {"name": "firstPaint", "frameId": MAIN})
            tell("Page.loadEventFired", {})
        elif method == "Emulation.setVirtualTimePolicy":
            asyncio.get_running_loop().call_soon(tell, "Emulation.virtualTimeBudgetExpired", {})
        return resolved(ANSWERS.get(method, {}))


class FailingBrowser(Connection):
    """Says why it opens no page, and shows its error page a little later."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error
        self.opened: list[str] = []
        self.shown = 0
        way_out = create_autospec(EgressSession, instance=True)
        way_out.failure.return_value = None
        self.stage = Stage(self, way_out, "C", MAIN, "S")

    def post(self, method: str, params: Any, session_id: str | None) -> Answer:
        if method == "Page.navigate":
            assert self.shown == len(self.opened), "an error page is still to come"
            self.opened.append(params["url"])
            asyncio.get_running_loop().call_later(0.01, self._show_error)
            return resolved({"frameId": MAIN, "errorText": self.error})
        return asyncio.get_running_loop().create_future()

    def _show_error(self) -> None:
        self.shown += 1
        frame = {"id": MAIN, "url": "chrome-error://chromewebdata/", "unreachableUrl": PAGE}
        self.stage.page.dispatch("Page.frameNavigated", {"frame": frame})
        self.stage.page.dispatch("Page.loadEventFired", {})


def times_opened(error: str, seconds: float = 30) -> int:
    """Let the pipeline fail for want of a page; give how often it tried to open it."""

    async def run() -> int:
        browser, now = FailingBrowser(error), asyncio.get_running_loop().time()
        wanted = CaptureRequest(PAGE, Viewport(800, 600), Extent.VIEWPORT, seconds)
        with pytest.raises(CaptureError) as caught:
            await Pipeline(browser.stage, wanted, now, "HeadlessChrome/1").run()
        assert (caught.value.code, caught.value.lasting) == ("navigation-failed", False)
        assert set(browser.opened) == {PAGE}
        return len(browser.opened)

    return asyncio.run(run())


def test_opens_anew_when_the_network_changed() -> None:
    assert times_opened("net::ERR_NETWORK_CHANGED") == 1 + REOPENINGS


def test_opens_once_what_fails_for_another_reason() -> None:
    assert times_opened("net::ERR_INVALID_HTTP_RESPONSE") == 1


def test_opens_nothing_anew_without_time() -> None:
    assert times_opened("net::ERR_NETWORK_CHANGED", seconds=SPARE) == 1


CHANGED, RESET = "net::ERR_NETWORK_CHANGED", "net::ERR_CONNECTION_RESET"


@pytest.mark.parametrize(
    ("lacking", "errors", "opened", "complete"),
    [
        (0, {}, 1, True),
        (1, {}, 2, True),
        (REOPENINGS, {}, 1 + REOPENINGS, True),
        (99, {}, 1 + REOPENINGS, False),
        (1, {2: CHANGED}, 3, True),
        (1, {2: RESET}, 2, False),
        (99, {2: CHANGED, 3: CHANGED, 4: CHANGED}, 1 + REOPENINGS, False),
    ],
)
def test_opens_anew_what_lacks_a_part(
    lacking: int, errors: dict[int, str], opened: int, complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture of a page that lacks a part is better than none."""
    monkeypatch.setattr(pipeline, "SPARE", 0.01)  # of waiting for error pages

    async def run() -> None:
        browser, now = OpeningBrowser(lacking, errors), asyncio.get_running_loop().time()
        wanted = CaptureRequest(PAGE, Viewport(80, 60), Extent.VIEWPORT, 30)
        capture = await Pipeline(browser.stage, wanted, now, "HeadlessChrome/1").run()
        assert (browser.opened, capture.complete, capture.title) == (opened, complete, "A page")

    asyncio.run(run())
