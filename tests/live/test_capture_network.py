"""The machine's network changes while a page is opened: it is opened anew."""

import asyncio
import itertools
import subprocess
from collections.abc import Iterator

import pytest

from linkpeek.capture import Browser, Capture
from linkpeek.capture.pipeline import REOPENINGS
from linkpeek.egress import EgressSession
from linkpeek.egress.tunnel import Tunnel, Upstream
from linkpeek.errors import CaptureError
from tests.live.capturing import IS_ROOT, Loop, Outcome, image, outcome_of, request
from tests.live.network import own_network
from tests.live.site import Site

NUMBERS = itertools.count(1)

GREEN = (0, 170, 0)

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root makes a network to change")


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[Loop]:
    """Before all else: site and browser are in this network, too."""
    with own_network():
        loop = Loop()
        yield loop
        loop.close()


@pytest.fixture
def opened_amid(loop: Loop, browser: Browser, site: Site, monkeypatch: pytest.MonkeyPatch):
    """Capture a page while the network changes; give what came of it.

    It does at so many connections, after so many others.
    """
    connect = EgressSession.connect

    def opened_amid(changes: int, path: str = "/static", others: int = 0) -> Outcome:
        first, left = iter(range(others)), iter(range(changes))

        async def changing(self: EgressSession, tunnel: Tunnel, host: str, port: int) -> Upstream | None:
            if next(first, None) is not None or next(left, None) is None:
                return await connect(self, tunnel, host, port)
            await asyncio.to_thread(add_address)
            return await asyncio.Event().wait()  # whatever Chromium waits for at this moment

        monkeypatch.setattr(EgressSession, "connect", changing)
        outcome, _ = loop.run(outcome_of(browser, request(site.url(path))))
        assert next(left, None) is None
        return outcome

    return opened_amid


def add_address() -> None:
    subprocess.run(["ip", "address", "add", f"198.51.100.{next(NUMBERS)}/32", "dev", "lo"], check=True)


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_page_is_opened_anew(opened_amid, changes: int) -> None:
    outcome = opened_amid(changes)

    assert isinstance(outcome, Capture), outcome
    assert (outcome.title, outcome.status, outcome.complete) == ("A static page", 200, True)


def test_page_that_lacks_a_part_is_opened_anew(opened_amid) -> None:
    outcome = opened_amid(1, "/two-parts", 1)

    assert isinstance(outcome, Capture), outcome
    assert outcome.complete
    assert image(outcome).getpixel((0, 0)) == GREEN


def test_network_that_does_not_come_to_rest(opened_amid) -> None:
    outcome = opened_amid(REOPENINGS + 1)

    assert isinstance(outcome, CaptureError), outcome
    assert (outcome.code, outcome.lasting) == ("navigation-failed", False)
