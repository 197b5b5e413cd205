"""Captures per second and latency: the engine against a bare DevTools driver, in one run.

The bare driver is the least that makes a picture: one fresh browser context a
page, navigate, wait for the load event, ``captureScreenshot``; no proxy, no
waiting for anything, nothing checked. Everything runs on two cores, the parties
take turns round by round. ``--playwright`` adds Playwright with a context a page.

    python benchmarks/captures.py [--rounds 5] [--pages 24] [--json FILE] [--playwright]
"""

import argparse
import asyncio
import base64
import functools
import ipaddress
import json
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from linkpeek.capture import Browser, CaptureRequest, find_executable
from linkpeek.capture.cage import Cage
from linkpeek.capture.cdp import Connection
from linkpeek.capture.spawn import spawn
from linkpeek.egress import EgressServer, Guard, ListedResolver
from linkpeek.geometry import Extent, Viewport

DOCS = Path("/usr/share/doc/python3.11/html")
FIXTURES = Path(__file__).parent.parent / "tests" / "live" / "pages"
CONCURRENCY = (1, 2, 4)
WIDTH, HEIGHT = 1024, 768

Take = Callable[[str], Awaitable[int]]


@dataclass
class Party:
    """One way to take pictures: how to start it, use it and end it, and its results."""

    name: str
    take: Take
    close: Callable[[], Awaitable[None]]
    rates: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CONCURRENCY})
    latencies: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as any real server: else each answer waits for an acknowledgement

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: Path) -> int:
    """Serve a folder from a process of its own; give the port on 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    server.daemon_threads = True
    multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True).start()
    server.server_close()
    return server.server_port


def choose_pages(folder: Path, amount: int) -> list[str]:
    """Choose the same pages every time."""
    if folder == DOCS:
        pages = sorted(p.relative_to(folder).as_posix() for p in folder.glob("library/*.html"))
    else:
        names = ("static", "longish", "emoji", "animation", "lazy")
        pages = [f"{name}.html" for name in names]
    pages = [p for p in pages if (folder / p).stat().st_size < 300_000]
    random.Random(1).shuffle(pages)
    return (pages * amount)[:amount]


# The parties


async def linkpeek(executable: Path) -> Party:
    """The engine, with the real egress guard."""
    guard = Guard(ListedResolver({}), ports=None, allow=(ipaddress.ip_network("127.0.0.0/8"),))
    browser = Browser(executable, egress=EgressServer(guard), sandbox=os.getuid() != 0)
    await browser.start()

    async def take(uri: str) -> int:
        request = CaptureRequest(uri, Viewport(WIDTH, HEIGHT), Extent.VIEWPORT, 30)
        return len((await browser.capture(request)).image)

    return Party("linkpeek", take, browser.close)


async def bare(executable: Path) -> Party:
    """A bare DevTools driver: context, page, navigate, load, screenshot, dispose."""
    profile = Path(tempfile.mkdtemp())
    flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars"]
    flags += ["--disable-gpu", "--no-first-run", "--mute-audio"] + ["--no-sandbox"] * (os.getuid() == 0)
    spawned = spawn(
        [str(executable), *flags], limits=Cage(None).limits, environment=dict(os.environ), folder=profile
    )
    connection = await Connection.open(spawned.answers, spawned.commands)
    drain = threading.Thread(target=lambda: os.fdopen(spawned.errors, "rb").read(), daemon=True)
    drain.start()

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
        await page.call("Page.enable")
        await page.call("Page.navigate", url=uri)
        await asyncio.wait_for(loaded.wait(), 30)
        shot = await page.call("Page.captureScreenshot", format="png")
        image = base64.b64decode(shot["data"])
        connection.forget(page)
        await browser.call("Target.disposeBrowserContext", browserContextId=context)
        return len(image)

    async def close() -> None:
        connection.close()
        spawned.process.kill()
        await asyncio.to_thread(spawned.process.wait)
        drain.join()
        shutil.rmtree(profile, ignore_errors=True)

    return Party("bare", take, close)


async def playwright(executable: Path) -> Party:
    """Playwright, driving the same browser."""
    from playwright.async_api import async_playwright

    manager = await async_playwright().start()
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    browser = await manager.chromium.launch(executable_path=str(executable), args=root)

    async def take(uri: str) -> int:
        context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        page = await context.new_page()
        await page.goto(uri, wait_until="load")
        image = await page.screenshot()
        await context.close()
        return len(image)

    async def close() -> None:
        await browser.close()
        await manager.stop()

    return Party("playwright", take, close)


# Measuring


async def round_of(party: Party, uris: Sequence[str], concurrency: int) -> None:
    """Take each page once, so many at once."""
    waiting = list(uris)

    async def work() -> None:
        while waiting:
            uri = waiting.pop()
            since = time.perf_counter()
            party.sizes.append(await party.take(uri))
            if concurrency == 1:
                party.latencies.append(time.perf_counter() - since)

    since = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    party.rates[concurrency].append(len(uris) / (time.perf_counter() - since))
    await asyncio.sleep(0.3)  # what is closed in the background must not cost the next party


async def measure(parties: Sequence[Party], uris: Sequence[str], rounds: int) -> None:
    """Let the parties take turns."""
    for party in parties:  # warm up
        await round_of(party, uris[:6], 2)
        party.rates[2].clear()
    for number in range(rounds):
        for concurrency in CONCURRENCY:
            order = list(parties) if number % 2 == 0 else list(reversed(parties))
            for party in order:
                await round_of(party, uris, concurrency)
        sys.stderr.write(f"round {number + 1} of {rounds}\n")


def report(parties: Sequence[Party]) -> dict[str, Any]:
    """Print the table and give it as data."""
    base = next(p for p in parties if p.name == "bare")
    result: dict[str, Any] = {}
    print(f"{'':12}" + "".join(f"{f'{n} at once':>12}" for n in CONCURRENCY) + f"{'best':>9}{'of bare':>9}"
          f"{'latency':>10}{'of bare':>9}{'bytes':>9}")  # fmt: skip
    best_bare = max(statistics.median(base.rates[n]) for n in CONCURRENCY)
    for party in parties:
        rates = {n: statistics.median(party.rates[n]) for n in CONCURRENCY}
        best, latency = max(rates.values()), statistics.median(party.latencies)
        row = {
            "per_second": rates,
            "best": best,
            "best_of_bare": best / best_bare,
            "latency_ms": latency * 1000,
            "latency_of_bare": latency / statistics.median(base.latencies),
            "mean_bytes": statistics.mean(party.sizes),
        }
        result[party.name] = row
        print(f"{party.name:12}" + "".join(f"{rates[n]:>10.2f}/s" for n in CONCURRENCY)
              + f"{best:>7.2f}/s{row['best_of_bare']:>8.0%}{row['latency_ms']:>8.0f}ms"
              f"{row['latency_of_bare']:>8.2f}x{row['mean_bytes']:>9.0f}")  # fmt: skip
    return result


async def main(arguments: argparse.Namespace) -> None:
    """Start the parties, let them take turns, print and write the results."""
    executable = find_executable(arguments.chromium)
    folder = arguments.folder
    port = serve(folder)
    uris = [f"http://127.0.0.1:{port}/{page}" for page in choose_pages(folder, arguments.pages)]
    makers = [linkpeek, bare] + ([playwright] if arguments.playwright else [])
    parties = [await make(executable) for make in makers]
    try:
        await measure(parties, uris, arguments.rounds)
    finally:
        for party in parties:
            await party.close()
    result = {"pages": str(folder), "cores": len(os.sched_getaffinity(0)), "parties": report(parties)}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=24, help="pages a round")
    default = DOCS if DOCS.is_dir() else FIXTURES
    parser.add_argument("--folder", type=Path, default=default, help="folder of pages")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--chromium", type=Path, help="the browser's program")
    parser.add_argument("--playwright", action="store_true", help="measure Playwright too")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[: options.cores]))
    asyncio.run(main(options))
