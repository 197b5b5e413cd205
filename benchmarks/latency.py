"""The latency of a first picture: from the request to its bytes, and where the time goes.

A whole service runs (production.ini's uWSGI with its capture worker, and the
real browser), and is asked for one new page after the other, each a page of the
tests' own site. What the service itself noted of each step (``timings`` of the
snapshot, in /metrics, too) is set beside what the client saw.

    python -m benchmarks.latency [--quick] [--json FILE]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import sqlalchemy as sa

from benchmarks import Result, command
from benchmarks.load import is_idle, pinned, stop
from benchmarks.machine import cores
from benchmarks.service import Service, answers, free_port, percentiles, signed, wait_until
from benchmarks.text import grid, percent
from linkpeek.db import transaction
from linkpeek.models import Snapshot
from tests.live.site import Site

#: In the order in which they happen. "fetch" is what is left of the client's time: HTTP, and the picture.
STEPS = (
    *("queue", "claim", "context", "navigation", "settle", "screenshot"),
    *("store", "answer", "encode", "fetch"),
)
PAGES = ("static", "longish", "emoji", "lazy")
WARM = 4


def run(quick: bool = False) -> Result:
    """Ask for new pages, one after the other.

    :param quick: fewer pages.
    :returns: ``steps`` (ms: mean, p50 and p99 of each), ``total`` (ms: the same) and their ``count``.
    """
    count = 8 if quick else 80
    with Site() as site, tempfile.TemporaryDirectory(prefix="bench-latency-") as name:
        pages = [site.url(f"/{PAGES[n % len(PAGES)]}?{n}") for n in range(WARM + count)]
        service = Service(
            Path(name),
            egress_allow="127.0.0.0/8",
            egress_ports="*",
            allow_root="true",
            rate_limit="100000/minute",
        )
        totals = _ask_all(service, pages)[WARM:]
        with transaction(service.resources.sessions) as session:
            rows = session.scalars(sa.select(Snapshot.timings).order_by(Snapshot.id)).all()[WARM:]
        service.close()
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    for total, timings in zip(totals, rows, strict=True):
        noted = timings or {}
        for step in STEPS[:-1]:
            steps[step].append(1000 * noted.get(step, 0))
        steps["fetch"].append(1000 * (total - sum(noted.values())))
    return {
        "count": count,
        "total": _summary([1000 * total for total in totals]),
        "steps": {step: _summary(found) for step, found in steps.items()},
    }


def _summary(milliseconds: list[float]) -> dict[str, float]:
    found = {"mean": statistics.mean(milliseconds), **percentiles(milliseconds)}
    return {name: round(value, 2) for name, value in found.items()}


def _ask_all(service: Service, uris: list[str]) -> list[float]:
    port = free_port()
    ini = service.write_ini(port, worker=True)
    with open(service.folder / "uwsgi.log", "ab") as log:
        uwsgi = subprocess.Popen(
            pinned([str(Path(sys.prefix, "bin/uwsgi")), f"--ini-paste={ini}"], cores(0, 1)),
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},
        )
    try:
        wait_until(lambda: answers(port, "/readyz"), 60, "the service is ready")
        wait_until(lambda: is_idle(uwsgi.pid), 30, "all of it has started")
        return [_get(f"http://127.0.0.1:{port}{signed(uri)}") for uri in uris]
    finally:
        stop(uwsgi)


def _get(url: str) -> float:
    """Get a picture, following the redirect; give the seconds."""
    since = time.perf_counter()
    with urlopen(url, timeout=60) as answer:
        assert answer.read().startswith(b"\x89PNG"), answer.url
        took = time.perf_counter() - since
        assert "/00000000" not in answer.url, "a placeholder"
    return took


def tables(result: Result) -> dict[str, str]:
    """Lay the steps out."""
    total = result["total"]
    rows = [
        [step, *_cells(found), percent(found["mean"] / total["mean"])]
        for step, found in result["steps"].items()
    ]
    rows.append(["**in all**", *_cells(total), ""])
    return {"latency": grid(["step", "mean ms", "p50 ms", "p99 ms", "share"], rows)}


def _cells(found: dict[str, float]) -> list[str]:
    return [f"{found[key]:.1f}" for key in ("mean", "p50", "p99")]


if __name__ == "__main__":
    command(__doc__, run, tables)
