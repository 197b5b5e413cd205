"""What captures are compared with: each peer a program of its own, all of them with the same Chromium.

Peers that LinkPeek does not need itself are installed into a throw-away folder. All
of them wait for a page's load event and take a PNG of a window of 1024 x 768.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import cpu, family, pinned, stop, usage
from benchmarks.service import CHECKOUT

HERE = Path(__file__).parent
#: All peers, their pages' server and their browsers run on so many cores.
CORES = 2
NPM = ("capture-website", "playwright-core", "generic-pool", "sharp")
#: Seconds between two looks at how much memory is in use.
LOOK = 0.1

LINKPEEK, BARE, RAW = "LinkPeek", "LinkPeek, no thumbnail", "Chromium, raw DevTools"
RAW_BATCH = "raw DevTools, SCHED_BATCH"
SHOT_SCRAPER, CAPTURE_WEBSITE, POOL = "shot-scraper multi", "capture-website", "pool of browsers"


@dataclass
class Round:
    """What came of a round.

    :ivar seconds: the time of all pages; ``cpu``: of processors, for all that the peer runs.
    :ivar latencies: seconds for each page.
    """

    pages: int
    seconds: float
    latencies: list[float]
    cpu: float


@dataclass
class Peer:
    """One way to take pictures, running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = CHECKOUT
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start the program and wait until it is ready.

        :raises RuntimeError: it ended instead.
        """
        self.process = subprocess.Popen(
            pinned(self.command, set(sorted(os.sched_getaffinity(0))[:CORES])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **self.environment},
        )
        self._hear()

    def take(self, uris: Sequence[str], at_once: int) -> Round:
        """Have pages captured.

        :raises RuntimeError: the program ended instead.
        """
        pipe = self._running().stdin
        assert pipe is not None
        before = cpu(family(self._running().pid))
        pipe.write(json.dumps({"uris": list(uris), "at_once": at_once}) + "\n")
        pipe.flush()
        answer = self._hear()
        spent = cpu(family(self._running().pid)) - before
        return Round(len(uris), answer["seconds"], answer["latencies"], spent)

    def memory(self, uris: Sequence[str], at_once: int) -> float:
        """Have pages captured and give the most memory that was in use meanwhile, in MB (PSS)."""
        pid, most, done = self._running().pid, [0.0], threading.Event()

        def look() -> None:
            while not done.wait(LOOK):
                most.append(usage(family(pid)).memory)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            self.take(uris, at_once)
        finally:
            done.set()
            looking.join()
        return max(most)

    def close(self) -> None:
        """End the program and everything that it started."""
        if self.process is not None:
            with self.process:  # closes its pipes
                stop(self.process)

    def _running(self) -> "subprocess.Popen[str]":
        assert self.process is not None, "start() comes first"
        return self.process

    def _hear(self) -> dict[str, Any]:
        process = self._running()
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def own(executable: Path, *, few: bool = False) -> list[Peer]:
    """Give the peers that need nothing installed: the engine, and what it cannot be faster than.

    :param few: only those without which there is nothing to compare.
    """
    module = [sys.executable, "-m"]
    peers = [
        Peer(LINKPEEK, [*module, "benchmarks.peers_linkpeek", str(executable)]),
        Peer(BARE, [*module, "benchmarks.peers_linkpeek", str(executable), "--bare"]),
        Peer(RAW, [*module, "benchmarks.peers_devtools", str(executable)]),
    ]
    if not few:
        peers.append(Peer(RAW_BATCH, [*module, "benchmarks.peers_devtools", str(executable), "--batch"]))
    return peers


def others(executable: Path, folder: Path) -> tuple[list[Peer], dict[str, str]]:
    """Install the other peers into a folder.

    :returns: those that could be had, and why not for those that could not.
    """
    found: list[Peer] = []
    missing: dict[str, str] = {}
    for install, names in ((_shot_scraper, [SHOT_SCRAPER]), (_npm, [CAPTURE_WEBSITE, POOL])):
        try:
            found += install(executable, folder)
        except (OSError, subprocess.SubprocessError) as exc:
            missing |= dict.fromkeys(names, f"could not be installed: {_why(exc)}")
    return found, missing


def _why(exc: Exception) -> str:
    """Give the last line that a failed command wrote."""
    said = getattr(exc, "stderr", None) or str(exc)
    return str(said).strip().splitlines()[-1]


@contextmanager
def running(peers: Sequence[Peer]) -> Iterator[None]:
    """Run peers."""
    try:
        for peer in peers:
            peer.start()
        yield
    finally:
        for peer in peers:
            peer.close()


def versions(folder: Path) -> dict[str, str]:
    """Give the versions of what was installed."""
    found = {}
    for name in NPM:
        described = folder / "node_modules" / name / "package.json"
        if described.exists():
            found[name] = json.loads(described.read_text())["version"]
    for name in ("shot_scraper", "playwright"):
        for path in folder.glob(f"shot-scraper/lib/*/site-packages/{name}-*.dist-info"):
            found[name.replace("_", "-")] = path.name.removesuffix(".dist-info").partition("-")[2]
    return found


def _run(*words: object, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def _shot_scraper(executable: Path, folder: Path) -> list[Peer]:
    place = folder / "shot-scraper"
    _run(sys.executable, "-m", "venv", place, folder=folder)
    _run(place / "bin/pip", "install", "--quiet", "shot-scraper", folder=folder)
    # Playwright takes no other program than its own from this tool: it finds ours in its place.
    browsers = {"PLAYWRIGHT_BROWSERS_PATH": str(folder / "browsers")}
    where = Path(_run(place / "bin/python", "-c", _WHERE, folder=folder, **browsers).strip())
    where.parent.mkdir(parents=True)
    where.symlink_to(executable)
    pictures = folder / "pictures"
    pictures.mkdir()
    command = [sys.executable, "-m", "benchmarks.peers_shots", str(place / "bin/shot-scraper"), str(pictures)]
    return [Peer(SHOT_SCRAPER, command, browsers)]


_WHERE = """
import re
from playwright.sync_api import Error, sync_playwright
with sync_playwright() as playwright:
    try:
        playwright.chromium.launch()
    except Error as exc:
        print(re.search(r"doesn't exist at (\\S+)", str(exc))[1])
"""


def _npm(executable: Path, folder: Path) -> list[Peer]:
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    _run("npm", "install", "--silent", *NPM, folder=folder, PUPPETEER_SKIP_DOWNLOAD="1")
    for path in HERE.glob("peers_*.mjs"):
        shutil.copy(path, folder)
    return [
        Peer(name, ["node", script, str(executable)], folder=folder)
        for name, script in ((CAPTURE_WEBSITE, "peers_capture_website.mjs"), (POOL, "peers_pool.mjs"))
    ]
