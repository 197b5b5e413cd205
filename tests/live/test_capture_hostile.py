"""Pages that mean harm, or cannot end: each is answered in time, and harms nothing but itself."""

import asyncio
import time
from collections.abc import Callable

import psutil
import pytest

from linkpeek.capture import Browser, Capture
from linkpeek.capture.stage import Stage
from linkpeek.capture.waiting import Waiting
from linkpeek.errors import CaptureError, CaptureTimeout
from tests.live.capturing import (
    SLACK,
    Loop,
    Outcome,
    colours,
    eventually,
    family,
    image,
    outcome_of,
    request,
)
from tests.live.processes import alive, kill
from tests.live.site import Site

GREEN = (0, 170, 0)
LIMIT = 10

#: Taken together, so that this file takes little longer than its slowest page.
SLOW = (
    "/alerts",
    "/bomb",
    "/buffers",
    "/endless-bytes",
    "/endless-load",
    "/endless-navigation",
    "/endless-parse",
    "/endless-requests",
    "/endless-timers",
    "/heavy-layout",
    "/memory",
    "/never",
    "/never-ends",
    "/unload",
)


@pytest.fixture(scope="module")
def outcomes(loop: Loop, browser: Browser, site: Site) -> dict[str, tuple[Outcome, float]]:
    """What came of each of the slow pages, and in how many seconds; four at once."""
    places = asyncio.Semaphore(4)

    async def one(path: str) -> tuple[Outcome, float]:
        async with places:
            return await outcome_of(browser, request(site.url(path), limit=LIMIT))

    async def all_of_them() -> list[tuple[Outcome, float]]:
        return await asyncio.gather(*map(one, SLOW))

    return dict(zip(SLOW, loop.run(all_of_them(), 120), strict=True))


@pytest.mark.parametrize("path", SLOW)
def test_answers_in_time(outcomes, path: str) -> None:
    assert outcomes[path][1] < LIMIT + SLACK


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/alerts", "Alerts"),
        ("/buffers", "Buffers"),
        ("/endless-load", "Endless after load"),
        ("/endless-navigation", "On and on"),
        ("/endless-requests", "Requests without end"),
        ("/endless-timers", "Busy for ever"),
        ("/heavy-layout", "Heavy"),
        ("/never-ends", "Endless"),
        ("/unload", "Wants to leave"),
    ],
)
def test_best_there_is(outcomes, path: str, title: str) -> None:
    capture = outcomes[path][0]

    assert isinstance(capture, Capture), capture
    assert capture.title == title
    assert len(colours(image(capture))) > 5, "something is drawn"


def test_what_follows_an_endless_script_is_there(outcomes) -> None:
    capture = outcomes["/endless-parse"][0]

    assert isinstance(capture, Capture), capture
    assert GREEN in colours(image(capture))
    assert not capture.complete


def test_nothing_shown_is_a_time_out(outcomes) -> None:
    assert isinstance(outcomes["/never"][0], CaptureTimeout)


def test_page_that_eats_memory_ends_alone(outcomes) -> None:
    error = outcomes["/memory"][0]

    assert isinstance(error, CaptureError), error
    assert (error.code, error.lasting) == ("page-crashed", False)


def test_page_that_is_too_large(loop: Loop, browser: Browser, site: Site) -> None:
    uri = site.url("/endless-bytes?kind=application/json")
    error, _ = loop.run(outcome_of(browser, request(uri, limit=30)))

    assert isinstance(error, CaptureError), error
    assert (error.code, error.lasting) == ("too-large", True)


def test_dialogs_are_dismissed(loop: Loop, browser: Browser, site: Site) -> None:
    assert loop.run(browser.capture(request(site.url("/few-alerts")))).title == "false/null/false"


def test_no_popup_opens(loop: Loop, browser: Browser, site: Site) -> None:
    assert loop.run(browser.capture(request(site.url("/popups")))).title == "0 popups"
    assert site.hits["/popped"] == 0


def test_good_page_beside_bad_ones(loop: Loop, browser: Browser, site: Site) -> None:
    async def both() -> tuple[list[tuple[Outcome, float]], tuple[Outcome, float]]:
        bad = [
            asyncio.create_task(outcome_of(browser, request(site.url(path), limit=5)))
            for path in ("/endless-parse", "/memory", "/alerts")
        ]
        await asyncio.sleep(0.2)
        good = await outcome_of(browser, request(site.url("/static")))
        return await asyncio.gather(*bad), good

    _, (good, seconds) = loop.run(both())

    assert isinstance(good, Capture), good
    assert good.title == "A static page"
    assert seconds < 5 + SLACK


def test_renderer_that_is_killed_fails_its_own_capture(loop: Loop, browser: Browser, site: Site) -> None:
    before = site.hits["/slow-data"]

    async def kill_renderers() -> tuple[Outcome, float]:
        capture = asyncio.create_task(outcome_of(browser, request(site.url("/slow-image"), limit=10)))
        assert await asyncio.to_thread(eventually, lambda: site.hits["/slow-data"] > before)
        kill(family(browser, "--type=renderer"))
        return await capture

    outcome, _ = loop.run(kill_renderers())

    assert isinstance(outcome, CaptureError), outcome
    assert (outcome.code, outcome.lasting) == ("page-crashed", False)
    assert loop.run(browser.capture(request(site.url("/static")))).title == "A static page"


@pytest.mark.parametrize(
    ("crash", "code"),
    [
        (lambda stage: stage.page.post("Page.navigate", url="chrome://crash"), "page-crashed"),
        (lambda stage: stage.page.post("Page.crash"), "page-crashed"),
        (lambda stage: stage.page.connection.browser.post("Browser.crash"), "browser-crashed"),
    ],
    ids=["chrome://crash", "page", "browser"],
)
def test_crash(
    loop: Loop,
    browser: Browser,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    crash: Callable[[Stage], object],
    code: str,
) -> None:
    """As Chromium itself has it, while another page is captured beside it."""
    load = Waiting.load

    async def crashing(self: Waiting) -> None:
        if "victim" in self._watch.uri:
            await self._watch.until(lambda: self._watch.parsed, self._deadline.soft)
            crash(self._page.stage)
        await load(self)

    async def both() -> list[tuple[Outcome, float]]:
        pages = ("/slow-image?victim", "/slow-image")
        return await asyncio.gather(*(outcome_of(browser, request(site.url(page))) for page in pages))

    monkeypatch.setattr(Waiting, "load", crashing)
    (victim, _), (other, _) = loop.run(both())

    assert isinstance(victim, CaptureError), victim
    assert (victim.code, victim.lasting) == (code, False)
    # One that had no page yet when the browser crashed was opened in the next.
    assert isinstance(other, Capture) or code == "browser-crashed"
    assert loop.run(browser.capture(request(site.url("/static")))).title == "A static page"


def test_busy_renderers_are_gone_soon_after(loop: Loop, browser: Browser, site: Site, outcomes) -> None:
    """A page that is done with must not go on burning the processor."""

    def renderers() -> list[psutil.Process]:
        return alive(family(browser, "--type=renderer"))

    assert eventually(lambda: len(renderers()) <= 1), renderers()


def test_time_limit_holds_for_short_limits(loop: Loop, browser: Browser, site: Site) -> None:
    since = time.monotonic()
    outcome, _ = loop.run(outcome_of(browser, request(site.url("/slow?s=30"), limit=1)))

    assert isinstance(outcome, CaptureTimeout), outcome
    assert time.monotonic() - since < 1 + SLACK
