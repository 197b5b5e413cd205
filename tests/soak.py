"""The soak: thousands of captures of good, bad and hostile pages while workers and browsers are killed.

``make soak`` runs it. Two workers share one queue. One of them is killed again and
again, by TERM and by KILL; of both, browser processes are killed, and stopped for good.
In the end nothing may be lost or stuck, nothing may be left over, and the worker that
lived all the time must not have grown, nor its browser.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import psutil
import sqlalchemy as sa

from linkpeek.db import transaction
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import ACTIVE_STATES, Snapshot, State
from linkpeek.resources import Resources
from linkpeek.services.limits import LimitService
from linkpeek.services.renditions import master_path
from linkpeek.services.snapshots import SnapshotService, Target
from linkpeek.settings import Rate
from linkpeek.tasks import broker_folder
from tests.factories import make_service
from tests.live.processes import alive, family, named, wait_until
from tests.live.site import Site

GOOD = (
    "/static",
    "/emoji",
    "/animation",
    "/lazy",
    "/longish",
    "/fonts",
    "/state",
    "/late",
    "/redirect?to=/static",
)
BAD = ("/missing", "/status?code=500", "/hang-up", "/nonsense", "/attachment", "/redirect-loop", "/204")
HOSTILE = (
    "/alerts",
    "/endless-parse",
    "/endless-load",
    "/endless-timers",
    "/popups",
    "/memory",
    "/endless-bytes",
    "/endless-drawing",
    "/endless-hints",
    "/endless-interim",
    "/endless-navigation",
    "/endless-script",
    "/endless-trailers",
    "/silence",
    "/bomb",
    "/never",
    "/buffers",
    "/canvas",
    "/connects",
    "/deep",
    "/drawings",
    "/frames",
    "/huge-picture",
    "/long-addresses",
    "/nested-workers",
    "/stores",
    "/wasm",
    "/worker-bytes",
    "/workers",
)
#: What is done to whom: a worker, or a process of a browser that has this in its command line.
HARM = (
    ("worker", signal.SIGKILL),
    ("worker", signal.SIGTERM),
    ("--type=renderer", signal.SIGKILL),
    ("--type=gpu", signal.SIGKILL),
    ("--type=utility", signal.SIGKILL),
    ("--headless ", signal.SIGKILL),
    ("--headless ", signal.SIGSTOP),
)
#: How much more the last hundred captures may take than the first, a share and an amount:
#: bytes of the worker, of its browser, and descriptors. So many captures, and it counts.
GROWTH = ((0.1, 10 * 2**20), (0.25, 100 * 2**20), (0.0, 10))
ENOUGH = 1000
#: Captures that wait or are under way at any time: four are worked on.
WAITING = 12
#: To read the memory of a browser takes long enough to slow down what is measured.
SAMPLE_SECONDS = 1.0
INI = """\
[app:main]
use = egg:linkpeek
linkpeek.data_dir = {folder}
linkpeek.egress_allow = 127.0.0.0/8
linkpeek.egress_ports = *
linkpeek.allow_root = true
linkpeek.concurrency = 2
linkpeek.capture_timeout = 6
"""


def is_good(uri: str) -> bool:
    """Tell whether an address that was asked for is one of ``GOOD``'s."""
    asked = "/" + uri.split("/", 3)[3]
    return any(asked.startswith((f"{path}?soak=", f"{path}&soak=")) for path in GOOD)


class Soak:
    """One run.

    :param folder: where the service and its log live.
    :param count: captures in all.
    :param seed: of everything random.
    """

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.folder, self.count = folder, count
        self.random = random.Random(seed)
        self.service: Resources = make_service(folder, egress_allow="127.0.0.0/8", egress_ports="*")
        self.ini = folder / "soak.ini"
        self.ini.write_text(INI.format(folder=folder))
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = (folder / "worker.log").open("ab")
        self.steady, self.mortal = self.start(), self.start()
        self.kills: Counter[str] = Counter()
        #: Captures asked for so far; bytes of the steady worker, of its browser; its descriptors.
        self.samples: list[tuple[int, int, int, int]] = []
        self.seen: set[psutil.Process] = set()

    def start(self) -> psutil.Popen:
        command = [sys.executable, "-m", "linkpeek", "worker", str(self.ini)]
        environment = os.environ | {"TMPDIR": str(self.temporary)}
        return psutil.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    def run(self) -> dict[str, object]:
        started = time.monotonic()
        with Site() as site:
            asked, next_kill, next_sample, next_word = 0, 5.0, 0.0, 100
            while (active := self.active()) or asked < self.count:
                for _ in range(min(WAITING - active, self.count - asked)):
                    self.ask(site, asked)
                    asked += 1
                elapsed = time.monotonic() - started
                if asked >= next_word:
                    print(f"{asked} of {self.count} asked for after {elapsed:.0f} s", file=sys.stderr)
                    next_word += 100
                if elapsed > next_kill and asked < self.count:
                    self.kill_something()
                    next_kill = elapsed + self.random.uniform(2, 8)
                if self.mortal.poll() is not None:
                    self.mortal = self.start()
                if elapsed > next_sample:
                    self.sample(asked)
                    next_sample = elapsed + SAMPLE_SECONDS
                assert self.steady.poll() is None, "the worker that nobody killed has ended"
                assert elapsed < self.count * 2 + 120, f"stuck with {active} captures under way"
                time.sleep(0.05)
        return self.judge(time.monotonic() - started)

    def active(self) -> int:
        with transaction(self.service.sessions) as session:
            count = sa.select(sa.func.count()).where(Snapshot.state.in_(ACTIVE_STATES))
            return session.scalar(count) or 0

    def ask(self, site: Site, number: int) -> None:
        kind = self.random.choices((GOOD, BAD, HOSTILE), (80, 12, 8))[0]
        path = self.random.choice(kind)
        uri = site.url(path + ("&" if "?" in path else "?") + f"soak={number}")
        extent = Extent.FULL if self.random.random() < 0.2 else Extent.VIEWPORT
        with transaction(self.service.sessions) as session:
            limits = LimitService(self.service.limit_storage, Rate(10**6, 1), "soak")
            snapshots = SnapshotService(session, limits, lambda: None, ttl=0, queue_limit=10**6)
            snapshots.request(
                Target(uri, Viewport(800, 600), extent), max_age=0, requester=f"key:{number % 3}"
            )
        self.service.wake()

    def kill_something(self) -> None:
        what, how = self.random.choice(HARM)
        if what == "worker":
            self.mortal.send_signal(how)
            self.mortal.wait(20)
        else:
            victims = named(family(self.random.choice((self.steady, self.mortal))), what)
            if not victims:
                return
            self.random.choice(victims).send_signal(how)
        self.kills[f"{what.strip('- ')} {how.name}"] += 1

    def sample(self, asked: int) -> None:
        try:
            mine = family(psutil.Process(self.steady.pid))
            self.seen.update(mine, family(psutil.Process(self.mortal.pid)))
            worker = mine[0].memory_full_info().uss  # its own alone, for the other comes and goes
            browser = sum(one.memory_full_info().pss for one in mine[1:])
            self.samples.append((asked, worker, browser, mine[0].num_fds()))
        except psutil.Error:
            return

    def judge(self, seconds: float) -> dict[str, object]:
        with transaction(self.service.sessions) as session:
            rows = session.execute(
                sa.select(
                    Snapshot.uri, Snapshot.state, Snapshot.token, Snapshot.error_code, Snapshot.attempts
                )
            ).all()
        assert len(rows) == self.count, f"{self.count - len(rows)} captures are lost"
        assert {row.state for row in rows} <= {State.READY, State.FAILED}
        for row in rows:
            if row.state == State.READY:
                self.service.storage.get(master_path(row.token))
            else:
                assert row.error_code, "a failure without a reason"
        assert set(self.service.storage.tokens(0)) <= {row.token for row in rows}, "a picture of nothing"
        self.stop(self.steady, self.mortal)
        # What a killed worker left behind, the next one on the machine clears away.
        last = self.start()
        wait_until(lambda: named(family(last), "chromium"), 30, "the browser of the last worker runs")
        self.stop(last)
        wait_until(lambda: not alive(self.seen), 10, "all processes are gone")
        # A worker that is killed while it writes leaves half a file to the sweep, which waits an hour.
        self.service.storage.sweep_temporary(0)
        assert not self.left_over(), f"left over: {self.left_over()}"
        assert self.count < ENOUGH or not self.grown(), f"grown: {self.grown()}"
        return {
            "captures": self.count,
            "seconds": round(seconds, 1),
            "states": dict(Counter(row.state for row in rows)),
            "errors": dict(Counter(row.error_code for row in rows if row.error_code)),
            "errors of good pages": dict(
                Counter(row.error_code for row in rows if row.error_code and is_good(row.uri))
            ),
            "attempts": dict(Counter(row.attempts for row in rows)),
            "kills": dict(self.kills),
            "worker_mib": [round(value / 2**20, 1) for value in self.first_and_last(1)],
            "chromium_mib": [round(value / 2**20, 1) for value in self.first_and_last(2)],
            "descriptors": [round(value, 1) for value in self.first_and_last(3)],
        }

    def left_over(self) -> list[str]:
        """List what should be gone: throw-away folders, half-written pictures, messages, control groups."""
        folders = list(self.temporary.glob("linkpeek-*"))
        halves = list((self.folder / "snapshots" / ".tmp").iterdir())
        messages = [path for path in broker_folder(self.service.settings).iterdir() if path.is_file()]
        groups = [path for path in Path("/sys/fs/cgroup").rglob("linkpeek-browser-*") if self.is_ours(path)]
        return [path.name for path in folders + halves + messages + groups]

    def grown(self) -> dict[str, list[float]]:
        """Give what the last hundred captures took notably more of than the first."""
        found = {}
        for index, (name, (share, amount)) in enumerate(
            zip(("worker", "chromium", "descriptors"), GROWTH, strict=True), start=1
        ):
            first, last = self.first_and_last(index)
            if last > first * (1 + share) + amount:
                found[name] = [first, last]
        return found

    def is_ours(self, group: Path) -> bool:
        """Tell whether one of our workers, which are all gone by now, made a control group."""
        return int(group.name.split("-")[2]) in {process.pid for process in self.seen}

    def stop(self, *workers: psutil.Popen) -> None:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(20)

    def first_and_last(self, index: int) -> list[float]:
        """Give a sampled figure while the second and the last hundred were captured.

        The median: a single hostile page may hold gigabytes until it is ended.
        """
        span = min(100, self.count // 4)
        first = [row[index] for row in self.samples if span <= row[0] < 2 * span]
        last = [row[index] for row in self.samples if row[0] >= self.count - span]
        return [median(values or [0]) for values in (first, last)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), options.count, options.seed)
        try:
            print(json.dumps(soak.run(), indent=2))
        finally:
            for worker in (soak.steady, soak.mortal):
                if worker.poll() is None:
                    worker.kill()


if __name__ == "__main__":
    main()
