"""Peer: Chromium driven raw over the DevTools protocol, the least that makes an isolated picture.

One fresh browser context a page: navigate, wait for the load event, take the
picture; no proxy, nothing checked, nothing waited for, and cleaning up is not
waited for either. The browser has the engine's command line but for the proxy. It is
scheduled as any program is; with ``--batch`` as second argument, as the engine has it.
"""

import asyncio
import base64
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks.peers_rounds import answer_rounds
from linkpeek.capture import flags
from linkpeek.capture.cage import Cage
from linkpeek.capture.cdp import Connection
from linkpeek.capture.spawn import Spawned, spawn

WIDTH, HEIGHT = 1024, 768
#: Of the engine's switches, those that leave no way out but a proxy.
PROXY = ("--proxy-", "--host-resolver-rules")
#: Runs a program as processes are scheduled that ask for nothing (chrt(1)).
AS_USUAL = ["/usr/bin/chrt", "--other", "0"]


async def main(executable: Path, batch: bool) -> None:
    """Run a browser and answer rounds."""
    folder = Path(tempfile.mkdtemp())
    spawned, connection = await _start(executable, folder, [] if batch else AS_USUAL)
    cleaning: list[asyncio.Future[dict[str, object]]] = []

    async def take(uri: str) -> int:
        browser = connection.browser
        made = await browser.call("Target.createBrowserContext", disposeOnDetach=True)
        context = made["browserContextId"]
        where = {"browserContextId": context, "width": WIDTH, "height": HEIGHT}
        target = (await browser.call("Target.createTarget", url="about:blank", **where))["targetId"]
        attached = await browser.call("Target.attachToTarget", targetId=target, flatten=True)
        page = connection.session(attached["sessionId"])
        loaded = asyncio.Event()
        page.on("Page.loadEventFired", lambda _: loaded.set())
        page.post("Page.enable")
        await page.call("Page.navigate", url=uri)
        await asyncio.wait_for(loaded.wait(), 30)
        shot = await page.call("Page.captureScreenshot", format="png", optimizeForSpeed=True)
        image = base64.b64decode(shot["data"])
        connection.forget(page)
        cleaning.append(browser.post("Target.disposeBrowserContext", browserContextId=context))
        return len(image)

    async def settle() -> None:
        await asyncio.gather(*cleaning)
        cleaning.clear()

    try:
        await answer_rounds(take, settle)
    finally:
        connection.close()
        spawned.process.kill()
        spawned.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _start(executable: Path, folder: Path, prefix: list[str]) -> tuple[Spawned, Connection]:
    words = flags.command_line(executable, profile=folder, sandbox=os.geteuid() != 0)
    words = prefix + [word for word in words if not word.startswith(PROXY)]
    spawned = spawn(words, limits=Cage(None).limits, environment=flags.environment(folder), folder=folder)
    threading.Thread(target=os.fdopen(spawned.errors, "rb").read, daemon=True).start()
    connection = Connection()
    await connection.open(spawned.answers, spawned.commands)
    await connection.browser.call("Browser.getVersion")
    return spawned, connection


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "--batch" in sys.argv[2:]))
