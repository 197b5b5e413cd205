"""Scale: look-ups with a thousand, a hundred thousand and a million snapshots.

A generator makes the rows in bulk and, where that is not a matter of an hour, a
folder with a picture for each. Then, in one process and one after the other:
signed hits (the whole WSGI application: first, looked up again, and from memory),
look-ups of a page that is not there yet (the queries that single flight takes), and
sweeps. For PostgreSQL, where it is installed, the same rows without files. It also
says how each hot query is planned: none may go through a table.

    python -m benchmarks.scale [--quick] [--json FILE]
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import sqlalchemy as sa

from benchmarks import Result, command
from benchmarks.machine import cores
from benchmarks.service import VIEWPORT, Service, numbers, percentiles, signed, uri
from benchmarks.text import grid, seconds, times, whole
from linkpeek.config import make_app
from linkpeek.data_version import SPAN
from linkpeek.db import transaction
from linkpeek.geometry import Extent
from linkpeek.models import ApiKey, Snapshot, State
from linkpeek.services.captures import CaptureService
from linkpeek.services.snapshots import SnapshotService, Target
from tests.postgres import postgres_server

COUNTS, QUICK_COUNTS = (1_000, 100_000, 1_000_000), (1_000, 10_000)
#: Requests of a kind that are timed, at most.
ASKED = 3000
#: What is timed, and how the tables call it.
TIMED = {
    "first": "hit, first time",
    "hit": "hit, looked up again",
    "quiet": "hit, nothing written since",
    "new": "new page, queued",
}
#: Snapshots that have a picture on disk, at most.
FILES, QUICK_FILES = 1_000_000, 5_000


def run(quick: bool = False) -> Result:
    """Measure with each number of snapshots.

    :param quick: no more than 10,000, files for fewer, no PostgreSQL.
    :returns: by database a row for each number: all of ``TIMED`` (ms, p50 and p99),
        ``database_mb``, ``files``, ``folder_mb``, ``sweep`` (seconds), ``fill`` (seconds);
        and ``plans`` of the hot queries.
    """
    os.sched_setaffinity(0, cores(0, 1))
    counts, files = (QUICK_COUNTS, QUICK_FILES) if quick else (COUNTS, FILES)
    result: Result = {"sqlite": [], "postgresql": [], "plans": {}}
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=os.environ.get("TMPDIR")) as folder:
        result["sqlite"] = list(_growing(Path(folder), "", counts, files, result["plans"]))
        if not quick and shutil.which("psql"):
            with postgres_server() as url:
                rows = _growing(Path(folder, "pg"), _database(url), counts, 0, result["plans"])
                result["postgresql"] = list(rows)
    return result


def _database(url: str) -> str:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE scale")
    engine.dispose()
    return sa.make_url(url).set(database="scale").render_as_string(hide_password=False)


def _growing(
    folder: Path, url: str, counts: Sequence[int], files: int, plans: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    service = Service(folder, url, egress_ports="*", queue_limit=10**6, rate_limit="100000000/second")
    filled, linked = 0, False
    for count in counts:
        since = time.perf_counter()
        service.fill(count, start=filled, files=files)
        filled, took = count, time.perf_counter() - since
        there = min(count, files) or 1_000
        if not files:
            service.link(range(0 if linked else 1_000))
            linked = True
        yield {
            "snapshots": count,
            "files": min(count, files),
            "fill": took,
            **_hits(service, there),
            "new": _new(service, count),
            "database_mb": _database_size(service) / 1e6,
            "folder_mb": _allocated(folder / "var/snapshots") / 1e6 if files else 0,
            "sweep": _timed(service.resources.sweeper.sweep) if files else None,
        }
    plans |= {f"{service.resources.engine.dialect.name}: {name}": plan for name, plan in _plans(service)}
    service.close()


def _timed(action: Callable[[], object]) -> float:
    since = time.perf_counter()
    action()
    return time.perf_counter() - since


def _hits(service: Service, there: int) -> dict[str, dict[str, float]]:
    """Time whole requests, by the WSGI application in this process: new queries, then known ones.

    Between the first and the second time something is written, between the second and the third nothing.
    """
    app = make_app(service.resources.settings, service.raw)
    paths = [signed(uri(number)) for number in islice(numbers(there), min(ASKED, there))]
    for _ in range(300):
        _ask(app, paths[0])
    asking = [partial(_ask, app, path) for path in paths]
    first = _milliseconds(asking)
    with transaction(service.resources.sessions) as session:
        session.execute(sa.update(ApiKey).values(name=f"benchmark of {there}"))
    time.sleep(SPAN)
    return {"first": first, "hit": _milliseconds(asking), "quiet": _milliseconds(asking)}


def _ask(app: Any, path: str) -> None:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"], _, environ["QUERY_STRING"] = path.partition("?")
    environ["REMOTE_ADDR"] = "127.0.0.1"
    answer: list[str] = []
    body = app(environ, lambda status, headers, exc_info=None: answer.append(status))
    b"".join(body)
    assert answer == ["302 Found"], answer


def _new(service: Service, count: int) -> dict[str, float]:
    """Time what single flight takes for pages that nobody asked for yet: each is looked for and queued."""
    _queue(service, "http://new.example/", -1)
    found = _milliseconds(
        [partial(_queue, service, f"http://new.example/{count}", number) for number in range(ASKED // 10)]
    )
    with transaction(service.resources.sessions) as session:
        session.execute(sa.delete(Snapshot).where(Snapshot.state == State.QUEUED))
    return found


def _queue(service: Service, address: str, number: int) -> None:
    resources = service.resources
    target = Target(f"{address}/{number}", VIEWPORT, Extent.VIEWPORT)
    with transaction(resources.sessions) as session:
        SnapshotService(session, resources.capture_limits, lambda: None, ttl=60, queue_limit=10**6).request(
            target, max_age=None, requester=f"key:{number}"
        )


def _milliseconds(actions: Sequence[Callable[[], object]]) -> dict[str, float]:
    return percentiles([1000 * _timed(action) for action in actions])


def _database_size(service: Service) -> float:
    engine = service.resources.engine
    if engine.dialect.name == "sqlite":
        return sum(path.stat().st_size for path in (service.folder / "var").glob("linkpeek.sqlite*"))
    with engine.connect() as connection:
        size: float = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    return size


def _allocated(folder: Path) -> float:
    """Give the bytes that a tree takes of the disk; linked files once for each folder entry's sake not."""
    seen: set[int] = set()
    size = 0
    for root, _, files in os.walk(folder):
        size += os.stat(root).st_blocks * 512
        for name in files:
            found = os.stat(os.path.join(root, name))
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                size += found.st_blocks * 512
    return size


def _plans(service: Service) -> Iterator[tuple[str, list[str]]]:
    """Give how the database goes about the statements of a request, of a claim and of the chores."""
    resources = service.resources
    engine, lookups = resources.engine, resources.lookups
    statements = [(one.sql, one.parameters(apikey="k", key="k")) for one in lookups.prepared]

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    _queue(service, "http://plan.example/", 1)
    resources.sweeper.due()
    resources.workers.bury_dead()
    resources.sweeper.sweep()
    captures = CaptureService(resources.sessions, resources.storage, "bench", 30)
    claim = captures.claim()
    assert claim is not None
    captures.give_back(claim)
    sa.event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        for text, given in {" ".join(text.split()): (text, given) for text, given in statements}.values():
            if text.startswith(("SELECT", "UPDATE", "DELETE")) and "snapshot" in text:
                rows = connection.exec_driver_sql(explain + text, given).all()
                yield " ".join(text.split()), [str(row[-1]).strip() for row in rows]


def tables(result: Result) -> dict[str, str]:
    """Lay out the figures of each database, and which statements go through a whole table."""
    found = {}
    for database in ("sqlite", "postgresql"):
        if result[database]:
            found[f"scale {database}"] = _grown(result[database])
    whole_tables = [
        f"- `{name[:160]}`"
        for name, plan in result["plans"].items()
        if any("SCAN snapshot" in step or "Seq Scan on snapshot" in step for step in plan)
    ]
    counted = f"{len(result['plans'])} statements planned, {len(whole_tables)} of them through all of a table"
    found["scale plans"] = "\n".join([f"{counted}{':' if whole_tables else '.'}", "", *whole_tables]).strip()
    return found


def _grown(rows: list[Result]) -> str:
    header = ["snapshots", *(f"{TIMED[name]}, p50 / p99 ms" for name in TIMED)]
    header += ["database", "files", "folder", "sweep"]
    lines = []
    for row in rows:
        cells = [f"{row[name]['p50']:.3f} / {row[name]['p99']:.2f}" for name in TIMED]
        swept = seconds(row["sweep"]) if row["sweep"] is not None else "-"
        sizes = [f"{whole(row['database_mb'])} MB", whole(row["files"]), f"{whole(row['folder_mb'])} MB"]
        lines.append([whole(row["snapshots"]), *cells, *sizes, swept])
    ratios = [times(rows[-1][name]["p50"] / rows[0][name]["p50"]) for name in TIMED]
    lines.append(["**last to first**", *ratios, "", "", "", ""])
    return grid(header, lines)


if __name__ == "__main__":
    command(__doc__, run, tables)
