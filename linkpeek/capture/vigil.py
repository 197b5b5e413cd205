"""Whether the process that talks to the network still works, which all pages of a browser share.

A page can keep it busy for minutes, also when its own capture has ended: an answer packed
in several layers, of which nothing comes out for gigabytes, is unpacked there in one go.
Meanwhile nobody's page gets a byte, and the browser answers all other questions as ever.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from linkpeek.capture.cdp import Connection
from linkpeek.capture.failures import failure
from linkpeek.capture.procfs import group_of, member_with, processor_seconds
from linkpeek.errors import CaptureError

#: A question that only that process can answer; it is about what no capture uses.
QUESTION = "Storage.getCookies"

#: How Chromium calls it on its command line.
NETWORK = b"--utility-sub-type=network.mojom.NetworkService"

#: Seconds between looks, and from an answer to the next question.
PAUSE = 0.5

#: Seconds of its own processor time that it may take to answer. A busy machine is slow, but
#: that does not add to these: they pass only where it does something else instead.
BUSY_LIMIT = 2.0

#: Looks at one question, whatever it does: it is stopped, or the browser is. Looks and not
#: seconds, for while nobody comes to look, there may be an answer that nobody came to read.
PATIENCE = 20

#: Likewise for the first question: on a cold and busy disk, it takes long until all of a browser has started.
FIRST_PATIENCE = 60


async def network_process(connection: Connection, browser: int) -> int:
    """Wait for the process, which starts when it is first needed.

    Nothing is to be opened before: Chromium starts another one where it ends, and who
    comes late takes that for the first.

    :param browser: the browser's process id, which leads a process group.
    :return: its process id; the browser's own where it answers without one, or there is none in time.
    """
    answer = connection.browser.post(QUESTION)
    for _ in range(FIRST_PATIENCE * 5):
        await asyncio.wait([answer], timeout=PAUSE / 5)
        is_answered = answer.done()
        found = member_with(NETWORK, browser)
        if found is not None:
            return found
        if is_answered:
            break
    return browser


async def keep_vigil(connection: Connection, process: int) -> CaptureError:
    """Look after the network's process until something is wrong with it.

    :param process: what ``network_process`` gives.
    :return: what that means for a page that was alone in the browser.
    """
    patience = FIRST_PATIENCE
    with _end_of(process) as ended:
        while True:
            if code := await _ask(connection, process, ended, patience):
                return failure(code)
            patience = PATIENCE
            await asyncio.wait([ended], timeout=PAUSE)


async def _ask(connection: Connection, process: int, ended: "asyncio.Future[None]", patience: int) -> str:
    """Ask once; give the code of what is wrong, and none where an answer comes."""
    spent = processor_seconds(process)
    answer = connection.browser.post(QUESTION)
    try:
        for _ in range(patience):
            either: list[asyncio.Future[Any]] = [answer, ended]
            await asyncio.wait(either, timeout=PAUSE, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() or connection.is_closed or group_of(process) is None:
                return "browser-crashed"
            if answer.done():
                return ""
            if processor_seconds(process) - spent > BUSY_LIMIT:
                return "too-large"
        return "browser-crashed"
    finally:
        answer.cancel()


@contextmanager
def _end_of(process: int) -> "Iterator[asyncio.Future[None]]":
    """Give what is done as soon as a process has ended; where the kernel does not tell, it never is."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        handle = os.pidfd_open(process)
    except OSError:  # it has ended already, or there are no such handles here, or none is left
        yield ended
        return

    def end() -> None:
        loop.remove_reader(handle)
        ended.set_result(None)

    loop.add_reader(handle, end)
    try:
        yield ended
    finally:
        loop.remove_reader(handle)
        os.close(handle)
