"""Pages that hold up or end what all pages of a browser share: the others come out whole all the same."""

import asyncio
from collections.abc import Iterator

import psutil
import pytest

from linkpeek.capture import Browser, Capture, flags
from linkpeek.capture.drawing import DRAWS
from linkpeek.capture.procfs import command_of
from linkpeek.capture.vigil import NETWORK
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
    running_browser,
)
from tests.live.processes import alive, cpu_time
from tests.live.site import Site

#: Seconds; half of them must be left when the browser has been found out, on however busy a machine.
LIMIT = 90

GREEN = (0, 170, 0)


@pytest.fixture
def browser(loop: Loop) -> Iterator[Browser]:
    with running_browser(loop) as browser:
        yield browser


def shared(browser: Browser, words: bytes) -> psutil.Process:
    """The process that all pages share for something; it starts when it is first needed."""

    def found() -> list[psutil.Process]:
        return [p for p in family(browser) if words in command_of(p.pid)]

    assert eventually(found)
    return found()[0]


async def asked_for(site: Site, path: str, times: int) -> None:
    assert await asyncio.to_thread(eventually, lambda: site.hits[path] >= times)


@pytest.mark.parametrize("path", ["/silence", "/endless-interim", "/endless-trailers"])
def test_page_that_holds_up_the_network_fails_alone(
    loop: Loop, browser: Browser, site: Site, path: str
) -> None:
    """Beside a page that is in the middle of loading, and one that is only asked for then."""
    first = browser.pids

    async def all_of_them() -> list[tuple[Outcome, float]]:
        slow = asyncio.create_task(outcome_of(browser, request(site.url("/slow-image"), limit=LIMIT)))
        await asked_for(site, "/slow-data", site.hits["/slow-data"] + 1)
        bad = asyncio.create_task(outcome_of(browser, request(site.url(path), limit=LIMIT)))
        await asked_for(site, path, site.hits[path] + 1)
        late = asyncio.create_task(outcome_of(browser, request(site.url("/static"), limit=LIMIT)))
        return await asyncio.gather(slow, bad, late)

    (slow, _), (bad, _), (late, _) = loop.run(all_of_them(), 120)

    assert isinstance(bad, CaptureError), bad
    assert (bad.code, bad.lasting) == ("too-large", True)
    assert isinstance(slow, Capture), slow
    assert slow.complete
    assert isinstance(late, Capture), late
    assert (slow.title, late.title) == ("A slow image", "A static page")
    assert site.hits[path] % 2 == 0, "it was tried once more, alone"
    assert eventually(lambda: browser.pids not in ([], first)), "the browser is another one"


def test_page_whose_capture_is_over_holds_up_nobody(loop: Loop, browser: Browser, site: Site) -> None:
    first = browser.pids

    async def one_after_the_other() -> list[Outcome]:
        bad, _ = await outcome_of(browser, request(site.url("/silence"), limit=2))
        good, _ = await outcome_of(browser, request(site.url("/static"), limit=LIMIT))
        return [bad, good]

    bad, good = loop.run(one_after_the_other(), 120)

    assert isinstance(bad, CaptureTimeout), bad
    assert isinstance(good, Capture), good
    assert browser.pids != first


@pytest.mark.parametrize("path", ["/endless-headers", "/endless-header", "/endless-hints", "/endless-chunk"])
def test_heads_without_end(loop: Loop, browser: Browser, site: Site, path: str) -> None:
    async def both() -> list[tuple[Outcome, float]]:
        bad = asyncio.create_task(outcome_of(browser, request(site.url(path), limit=6)))
        await asked_for(site, path, site.hits[path] + 1)
        return await asyncio.gather(bad, outcome_of(browser, request(site.url("/static"), limit=LIMIT)))

    (bad, seconds), (good, _) = loop.run(both(), 120)

    assert isinstance(bad, CaptureError), bad
    assert seconds < 6 + SLACK
    assert isinstance(good, Capture), good


def test_page_beside_a_dying_network_is_no_half_page(loop: Loop, browser: Browser, site: Site) -> None:
    process = shared(browser, NETWORK)

    async def end_it() -> Outcome:
        capture = asyncio.create_task(outcome_of(browser, request(site.url("/slow-style"), limit=LIMIT)))
        await asked_for(site, "/slow-data", site.hits["/slow-data"] + 1)
        process.kill()
        return (await capture)[0]

    outcome = loop.run(end_it(), 120)

    assert isinstance(outcome, Capture), outcome
    assert outcome.complete
    assert colours(image(outcome)) == {GREEN}


def test_network_that_stands_still_is_replaced(loop: Loop, browser: Browser, site: Site) -> None:
    process = shared(browser, NETWORK)
    process.suspend()

    outcome, _ = loop.run(outcome_of(browser, request(site.url("/static"), limit=LIMIT)), 120)

    assert isinstance(outcome, Capture), outcome
    assert eventually(lambda: not alive([process]))


def test_browser_that_is_lost_twice_is_the_page_s_own(loop: Loop, browser: Browser, site: Site) -> None:
    """As where a page fills the browser itself until it ends."""

    async def kill_both() -> Outcome:
        before = site.hits["/never"]
        capture = asyncio.create_task(outcome_of(browser, request(site.url("/never"), limit=LIMIT)))
        await asked_for(site, "/never", before + 1)
        psutil.Process(browser.pids[0]).kill()
        await asked_for(site, "/never", before + 2)
        lone = [one for one in psutil.Process().children() if one.pid not in browser.pids]
        for one in lone:
            one.kill()
        return (await capture)[0]

    outcome = loop.run(kill_both(), 120)

    assert isinstance(outcome, CaptureError), outcome
    assert (outcome.code, outcome.lasting) == ("browser-crashed", False)
    assert loop.run(browser.capture(request(site.url("/static"), limit=LIMIT))).title == "A static page"


@pytest.fixture
def unwatched(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """A browser whose own watchdog, which may come first on a busy machine, is off."""
    command_line = flags.command_line
    monkeypatch.setattr(
        flags, "command_line", lambda *some, **more: [*command_line(*some, **more), "--disable-gpu-watchdog"]
    )
    with running_browser(loop) as browser:
        yield browser


def test_page_that_holds_up_drawing_fails_alone(loop: Loop, unwatched: Browser, site: Site) -> None:
    """Its one frame takes minutes, and no other page can be drawn before it is over."""
    browser, first = unwatched, unwatched.pids
    process = shared(browser, DRAWS)

    def is_busy() -> bool:
        return cpu_time(process) > 1

    async def both() -> list[tuple[Outcome, float]]:
        bad = asyncio.create_task(outcome_of(browser, request(site.url("/endless-drawing"), limit=20)))
        assert await asyncio.to_thread(eventually, is_busy, 20)
        return await asyncio.gather(bad, outcome_of(browser, request(site.url("/static"), limit=LIMIT)))

    (bad, seconds), (good, _) = loop.run(both(), 120)

    assert isinstance(bad, CaptureError), bad
    assert not bad.lasting
    assert seconds < 20 + SLACK
    assert isinstance(good, Capture), good
    assert good.complete
    assert not alive([process])
    assert browser.pids != first


@pytest.mark.parametrize("kind", ["script", "style", "font"])
def test_parts_of_a_page_are_counted_unpacked(loop: Loop, browser: Browser, site: Site, kind: str) -> None:
    """They come packed, so the guard sees little of them; the page is stopped where it stands."""
    outcome, _ = loop.run(outcome_of(browser, request(site.url(f"/endless-{kind}"), limit=30)), 60)

    assert isinstance(outcome, Capture) or outcome.code == "too-large", outcome
    assert not (isinstance(outcome, Capture) and outcome.complete)
