"""Whether the process that draws still gets to anyone's page, which all pages of a browser share.

A page can give it a frame that takes minutes, by hundreds of layers that each blur
what is below, say. Meanwhile no page's picture can be taken, also when the capture
of the one to blame has ended, and the browser answers all other questions as ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from linkpeek.capture.cdp import Connection, ProtocolError, Session
from linkpeek.capture.failures import failure
from linkpeek.capture.procfs import command_of, member_with, processor_seconds
from linkpeek.errors import CaptureError

#: How Chromium calls it on its command line.
DRAWS = b"--type=gpu-process"

#: Seconds between looks.
PAUSE = 0.5

#: Seconds of its own processor time that it uses until it is asked: an idle one never is.
ASKED_AFTER = 1.0

#: Seconds of its own processor time, as in ``vigil``, until an empty page must be drawn. Four honest
#: pages full of blurred cards, each as large as a picture may be, come close to this together; where
#: they exceed it, they are captured anew, each alone.
BUSY_LIMIT = 6.0

#: Looks at one question. Where it is not that process that is busy, all is slow, and others see to that.
PATIENCE = 60


async def keep_drawing(connection: Connection, browser: int) -> CaptureError:
    """Look after the process that draws until it gets to nobody's page any more.

    :param browser: the browser's process id, which leads a process group.
    :return: what that means for a page that was alone in the browser.
    """
    process, seen = None, 0.0
    while not connection.is_closed:
        await asyncio.wait([connection.closed], timeout=PAUSE)
        if process is None or DRAWS not in command_of(process):  # Chromium starts another where one ends
            process = member_with(DRAWS, browser)
            seen = processor_seconds(process) if process else 0.0
        elif processor_seconds(process) - seen > ASKED_AFTER:
            if not await _draws(connection, process):
                return failure("too-large")
            seen = processor_seconds(process)
    return failure("browser-crashed")


async def _draws(connection: Connection, process: int) -> bool:
    """Have an empty page drawn; whether it was, or something else is to blame that it was not."""
    with contextlib.suppress(ProtocolError):
        async with _empty_page(connection) as page:
            spent = processor_seconds(process)
            answer = page.post("Page.captureScreenshot", format="png", optimizeForSpeed=True)
            for _ in range(PATIENCE):
                await asyncio.wait([answer], timeout=PAUSE)
                if answer.done() or DRAWS not in command_of(process):
                    break
                if processor_seconds(process) - spent > BUSY_LIMIT:
                    return False
    return True


@contextlib.asynccontextmanager
async def _empty_page(connection: Connection) -> AsyncIterator[Session]:
    """Give a page outside any context, which so has no way out."""
    browser = connection.browser
    made = await browser.call("Target.createTarget", url="about:blank", width=1, height=1)
    try:
        attached = await browser.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        page = connection.session(attached["sessionId"])
        try:
            yield page
        finally:
            connection.forget(page)
    finally:
        browser.post("Target.closeTarget", targetId=made["targetId"])
