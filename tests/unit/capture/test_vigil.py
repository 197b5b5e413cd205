"""The vigil over a process of the test's own, with a connection that answers as it is told."""

import asyncio
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linkpeek.capture import vigil
from linkpeek.capture.cdp import Answer, Connection, ProtocolError
from linkpeek.capture.vigil import NETWORK, keep_vigil, network_process
from linkpeek.errors import CaptureError

Reply = Callable[[Answer], None]

#: Says in its command line what it is, and then is idle or busy.
PROGRAM = "import os, sys, time; print(flush=True)\nwhile True: {}"


class Browser(Connection):
    """Answers each question in the way that is next in turn; the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.replies = list(replies)
        self.questions = 0

    def post(self, method: str, params: Any, session_id: str | None) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        self.questions += 1
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        reply(answer)
        return answer


def says(answer: Answer) -> None:
    answer.set_result({"cookies": []})


def fails(answer: Answer) -> None:
    answer.set_exception(ProtocolError("no"))
    answer.exception()


def is_silent(answer: Answer) -> None:
    pass


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "PAUSE", 0.01)
    monkeypatch.setattr(vigil, "BUSY_LIMIT", 0.1)


@pytest.fixture
def start() -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Starts something that leads a process group and looks like the network's process."""
    started: list[subprocess.Popen[str]] = []

    def start(work: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", PROGRAM.format(work), NETWORK.decode()]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def keep(browser: Browser, process: int) -> CaptureError:
    """Find the process, and look after it."""
    return await keep_vigil(browser, await network_process(browser, process))


def verdict(browser: Callable[[], Browser], process: int) -> CaptureError:
    """What the vigil comes to."""

    async def run() -> CaptureError:
        async with asyncio.timeout(30):
            return await keep(browser(), process)

    return asyncio.run(run())


def test_busy_without_an_answer(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "PATIENCE", 10**6)
    error = verdict(lambda: Browser(says, says, is_silent), start("pass").pid)

    assert (error.code, error.lasting) == ("too-large", True)


def test_idle_without_an_answer(start) -> None:
    error = verdict(lambda: Browser(says, says, is_silent), start("time.sleep(60)").pid)

    assert (error.code, error.lasting) == ("browser-crashed", False)


def test_ends(start) -> None:
    process = start("time.sleep(60)")

    async def run() -> CaptureError:
        keeping = asyncio.create_task(keep(Browser(says), process.pid))
        assert not keeping.done()
        process.kill()
        async with asyncio.timeout(30):
            return await keeping

    assert asyncio.run(run()).code == "browser-crashed"


def test_ended_before_anyone_looked(start) -> None:
    process = start("time.sleep(60)")
    process.kill()
    process.wait()

    assert verdict(lambda: Browser(is_silent), process.pid).code == "browser-crashed"


def test_ends_where_the_kernel_does_not_tell(start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = start("time.sleep(60)")

    async def run() -> CaptureError:
        keeping = asyncio.create_task(keep(Browser(says), process.pid))
        await asyncio.wait([keeping], timeout=0.1)
        assert not keeping.done()
        process.kill()
        async with asyncio.timeout(30):
            return await keeping

    assert asyncio.run(run()).code == "browser-crashed"


def test_first_answer_may_take_long(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cold and busy disk; so may the start of the process."""
    monkeypatch.setattr(vigil, "FIRST_PATIENCE", 10**6)
    monkeypatch.setattr(vigil, "PATIENCE", 2)
    process, looks = start("time.sleep(60)"), itertools.count()
    find = vigil.member_with
    monkeypatch.setattr(vigil, "member_with", lambda *which: find(*which) if next(looks) > 20 else None)

    def late(answer: Answer) -> None:
        asyncio.get_running_loop().call_later(0.3, says, answer)

    async def run() -> None:
        browser = Browser(is_silent, late, says)
        keeping = asyncio.create_task(keep(browser, process.pid))
        while browser.questions < 4 and not keeping.done():
            await asyncio.wait([keeping], timeout=0.01)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(run())


def test_connection_that_closes(start) -> None:
    process = start("time.sleep(60)")

    def closes(_: Answer) -> None:
        asyncio.get_running_loop().call_soon(browser[0].close)

    browser: list[Browser] = []

    def make() -> Browser:
        browser.append(Browser(says, says, closes))
        return browser[0]

    assert verdict(make, process.pid).code == "browser-crashed"


@pytest.mark.parametrize("reply", [says, fails])
def test_any_answer_will_do_however_busy(start, reply: Reply) -> None:
    process = start("pass")

    async def run() -> int:
        browser = Browser(reply)
        keeping = asyncio.create_task(keep(browser, process.pid))
        await asyncio.wait([keeping], timeout=0.5)
        assert not keeping.done()
        keeping.cancel()
        return browser.questions

    assert asyncio.run(run()) > 2


def test_slow_answers_will_do(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their time does not add up."""
    monkeypatch.setattr(vigil, "BUSY_LIMIT", 1.0)
    monkeypatch.setattr(vigil, "PATIENCE", 10**6)
    process = start("pass")

    async def run() -> None:
        asked = asyncio.Event()

        def later(answer: Answer) -> None:
            asyncio.get_running_loop().call_later(0.4, says, answer)
            if browser.questions == 6:
                asked.set()

        browser = Browser(says, later)
        keeping = asyncio.create_task(keep(browser, process.pid))
        asking = asyncio.create_task(asked.wait())
        await asyncio.wait([keeping, asking], return_when=asyncio.FIRST_COMPLETED)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(run())
