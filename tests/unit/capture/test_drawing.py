"""The look after what draws, over a process of the test's own and a connection that answers as it is told."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linkpeek.capture import drawing
from linkpeek.capture.cdp import Answer, Connection, ProtocolError
from linkpeek.capture.drawing import DRAWS, keep_drawing

#: Says in its command line what it is, and then is idle or busy.
PROGRAM = "import time; print(flush=True)\nwhile True: {}"

#: How a browser answers that is asked for an empty page.
ANSWERS = {"Target.createTarget": {"targetId": "T"}, "Target.attachToTarget": {"sessionId": "S"}}


class Browser(Connection):
    """Opens empty pages at once, and draws them or not."""

    def __init__(self, *, draws: bool, opens: bool = True) -> None:
        super().__init__()
        self.draws, self.opens = draws, opens
        self.sent: list[str] = []

    def post(self, method: str, params: Any, session_id: str | None) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        self.sent.append(method)
        if method in ANSWERS and not self.opens:
            answer.set_exception(ProtocolError("no"))
        elif method in ANSWERS or self.draws:
            answer.set_result(ANSWERS.get(method, {}))
        return answer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PAUSE", 0.01)
    monkeypatch.setattr(drawing, "ASKED_AFTER", 0.05)
    monkeypatch.setattr(drawing, "BUSY_LIMIT", 0.1)
    monkeypatch.setattr(drawing, "PATIENCE", 10**6)


@pytest.fixture
def start() -> Iterator[Callable[[str], int]]:
    """Starts something that leads a process group and looks like the process that draws."""
    started: list[subprocess.Popen[str]] = []

    def start(work: str) -> int:
        words = [sys.executable, "-c", PROGRAM.format(work), DRAWS.decode()]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_busy_without_drawing_an_empty_page(start) -> None:
    async def run() -> tuple[str, list[str]]:
        browser = Browser(draws=False)
        async with asyncio.timeout(30):
            return (await keep_drawing(browser, start("pass"))).code, browser.sent

    code, sent = asyncio.run(run())
    assert code == "too-large"
    assert sent[-1] == "Target.closeTarget"


@pytest.mark.parametrize("opens", [True, False])
def test_busy_and_draws_or_cannot_be_asked(start, opens: bool) -> None:
    """Where no page can be opened, it is not this process that is to blame."""

    async def run() -> None:
        browser = Browser(draws=True, opens=opens)
        keeping = asyncio.create_task(keep_drawing(browser, start("pass")))
        async with asyncio.timeout(30):
            while browser.sent.count("Target.createTarget") < 3:
                await asyncio.wait([keeping], timeout=0.01)
                assert not keeping.done()
        assert opens == ("Page.captureScreenshot" in browser.sent)
        browser.close()
        async with asyncio.timeout(30):
            assert (await keeping).code == "browser-crashed"

    asyncio.run(run())


def test_idle_is_never_asked(start) -> None:
    async def run() -> list[str]:
        browser = Browser(draws=False)
        keeping = asyncio.create_task(keep_drawing(browser, start("time.sleep(60)")))
        await asyncio.wait([keeping], timeout=0.3)
        assert not keeping.done()
        keeping.cancel()
        return browser.sent

    assert asyncio.run(run()) == []
