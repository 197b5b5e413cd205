"""Web servers: the same LinkPeek under each that a user might pick, by rising concurrency.

Each is asked, directly and through Nginx, for a bare view (/healthz), for a signed
API v1 hit (a ready snapshot), and for such hits while eight clients keep asking
for pages that are never captured and wait for them. A server that has processes
gets four, one that has threads 16, as production.ini says. Where there are four
cores, servers run on two, Nginx and the client on one each; else all share all.

    python -m benchmarks.servers [--quick] [--json FILE] [--only uwsgi,waitress]
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import Result, command
from benchmarks.front import nginx
from benchmarks.load import background, family, is_idle, pinned, stop, usage, wrk
from benchmarks.machine import cores
from benchmarks.service import CHECKOUT, Service, answers, free_port, hits, signed, wait_until
from benchmarks.text import grid, percent, short, whole

PROCESSES, THREADS = 4, 16
CONNECTIONS = (1, 10, 100, 1000)
SNAPSHOTS = 1000
#: Clients that wait for what nobody captures, and for how many seconds each time. They have one
#: key, and so need twice as many seats.
WAITERS, WAIT = 8, 1
WORKLOADS = {"view": "a bare view", "hit": "signed hits", "waits": "signed hits beside eight that wait"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """One way to serve: the module it needs, its command, and what [server:main] says.

    :ivar threads: how that section names the number of threads.
    """

    name: str
    module: str
    argv: Callable[[Path, int], Sequence[str]]
    use: str = "egg:waitress#main"
    threads: str = "threads"


def _python(*words: object) -> list[str]:
    return [sys.executable, "-m", *map(str, words)]


def _uwsgi(ini: Path, port: int) -> list[str]:
    """Give the exec line of deploy/upstart/weblinkpeek.conf."""
    options = ["--master", f"--processes={PROCESSES}", f"--http=127.0.0.1:{port}", "--die-on-term"]
    files = [f"--logto2={ini.parent}/uwsgi.log", f"--virtualenv={sys.prefix}", f"--ini-paste={ini}"]
    return [str(Path(sys.prefix, "bin/uwsgi")), *options, *files]


def _gunicorn(*options: str) -> Callable[[Path, int], list[str]]:
    common = ("-w", PROCESSES, "--backlog", 1024, *options, "benchmarks.wsgi")
    return lambda ini, port: _python("gunicorn", "-b", f"127.0.0.1:{port}", *common)


def _own(name: str, processes: int) -> Callable[[Path, int], list[str]]:
    return lambda ini, port: _python("benchmarks.wsgi", name, port, processes, THREADS)


def _pserve(ini: Path, port: int) -> list[str]:
    return _python("pyramid.scripts.pserve", ini)


def _granian(ini: Path, port: int) -> list[str]:
    options = ("--workers", PROCESSES, "--blocking-threads", THREADS, "--log-level", "warning")
    where = ("--interface", "wsgi", "--host", "127.0.0.1", "--port", port)
    return _python("granian", *where, *options, "benchmarks.wsgi:application")


SERVERS = (
    Server("uWSGI", "linkpeek", _uwsgi),
    Server("waitress", "waitress", _pserve),
    Server("gunicorn sync", "gunicorn", _gunicorn()),
    Server("gunicorn gthread", "gunicorn", _gunicorn("-k", "gthread", "--threads", str(THREADS))),
    Server("CherryPy (cheroot)", "cheroot", _own("cheroot", 1)),
    Server("Paste", "paste.httpserver", _pserve, "egg:Paste#http", "threadpool_workers"),
    Server("granian", "granian", _granian),
    Server("bjoern", "bjoern", _own("bjoern", PROCESSES)),
)
QUICK = ("uWSGI", "waitress")


@contextmanager
def running(server: Server, service: Service, *, is_bare: bool = False) -> Iterator[tuple[str, int]]:
    """Run a server for the service; give its address and its process.

    :param is_bare: have it serve the least Pyramid application instead.
    """
    port = free_port()
    ini = service.write_ini(port, use=server.use, threads=server.threads)
    if is_bare:
        text = ini.read_text("utf-8")
        factory = "paste.app_factory = benchmarks.wsgi:bare"
        ini.write_text(text.replace("use = egg:linkpeek", factory), "utf-8")
    environment = {**os.environ, "BENCHMARK_INI": str(ini), "PYTHONPATH": str(CHECKOUT)}
    path = service.folder / "server.log"
    with open(path, "wb") as log:
        process = subprocess.Popen(
            pinned(server.argv(ini, port), cores(0, 1)),
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for condition in (lambda: answers(port), lambda: is_idle(process.pid)):
            # One that has processes may answer before all of them have loaded the application.
            wait_until(lambda: process.poll() is not None or condition(), 60, f"{server.name} is up")  # noqa: B023
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} ended: {path.read_text()[-800:]}")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        stop(process)


def measure(
    address: str, pid: int, seconds: int, connections: Sequence[int], paths: Sequence[str]
) -> list[Row]:
    """Ask with each number of connections; also give what the server used."""
    rows = []
    for count in connections:
        before = usage(family(pid))
        result: Row = {"connections": count, **wrk(address, paths, count, seconds)}
        after = usage(family(pid))
        result["cpu_ms"] = round(1000 * (after.cpu - before.cpu) / max(1, result["requests"]), 4)
        result["memory_mb"] = after.memory
        rows.append(result)
    return rows


def run(quick: bool = False, only: Sequence[str] = ()) -> Result:
    """Measure all servers that are installed.

    :param quick: fewer servers and connections, shorter runs.
    :param only: names of servers; none means all.
    :returns: by server ``bare`` (one row), and ``direct`` and ``nginx``, each with rows for
        ``view``, ``hit`` and ``waits``; and ``missing``: servers that were not measured, and why.
    """
    seconds, direct, behind = (1, (100,), (100,)) if quick else (2, CONNECTIONS, (100, 1000))
    names = only or (QUICK if quick else [one.name for one in SERVERS])
    result: Result = {"seconds": seconds, "missing": {}, "servers": {}}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        service = Service(Path(folder), wait=WAIT, waiters=2 * WAITERS, egress_ports="*")
        service.fill(SNAPSHOTS)
        for server in SERVERS:
            if server.name not in names:
                continue
            if find_spec(server.module) is None:
                result["missing"][server.name] = "not installed"
                continue
            sys.stderr.write(f"{server.name} ...\n")
            try:
                result["servers"][server.name] = _measured(server, service, seconds, direct, behind)
            except (RuntimeError, TimeoutError) as exc:
                result["missing"][server.name] = str(exc)
        service.close()
    return result


def _measured(
    server: Server, service: Service, seconds: int, direct: Sequence[int], behind: Sequence[int]
) -> Result:
    with running(server, service, is_bare=True) as (address, pid):
        wrk(address, ["/healthz"], 4, 1)
        bare = measure(address, pid, seconds, (100,), ["/healthz"])[0]
    with running(server, service) as (address, pid):
        wrk(address, hits(SNAPSHOTS), 4, 1)
        found = {"bare": bare, "direct": _workloads(address, pid, seconds, direct)}
        with nginx(address) as front:
            found["nginx"] = _workloads(front, pid, seconds, behind)
    return found


def _workloads(address: str, pid: int, seconds: int, connections: Sequence[int]) -> dict[str, list[Row]]:
    ready = hits(SNAPSHOTS)
    slow = [signed(f"http://slow.example/{number}") for number in range(WAITERS)]
    found = {
        "view": measure(address, pid, seconds, connections, ["/healthz"]),
        "hit": measure(address, pid, seconds, connections, ready),
    }
    with background(address, slow, WAITERS, (seconds + 1) * len(connections)):
        found["waits"] = measure(address, pid, seconds, connections, ready)
    return found


def tables(result: Result) -> dict[str, str]:
    """Lay the figures out: by way and workload, and what each server costs."""
    found = {
        f"servers {way} {workload}": _by_connections(result["servers"], way, workload)
        for way in ("direct", "nginx")
        for workload in WORKLOADS
    }
    found["servers cost"] = _cost(result["servers"])
    missing = [f"Not measured: {name} ({why})." for name, why in result["missing"].items()]
    return found | ({"servers missing": "\n".join(missing)} if missing else {})


def _by_connections(servers: dict[str, Any], way: str, workload: str) -> str:
    counts = [row["connections"] for row in next(iter(servers.values()))[way][workload]]
    where = "directly" if way == "direct" else "through Nginx"
    header = [f"{WORKLOADS[workload]}, {where}", *(f"{whole(count)} at once" for count in counts)]
    return grid(header, ([name, *map(_cell, found[way][workload])] for name, found in servers.items()))


def _cell(row: Row) -> str:
    """Give requests a second, p50 / p99 in ms and, where there are any, the share of errors."""
    errors = row["errors"] / max(1, row["requests"] + row["errors"])
    bad = f", {percent(errors) if errors >= 0.01 else '< 1 %'} errors" if errors else ""
    return f"{whole(row['rate'])}/s ({short(row['p50_ms'])} / {short(row['p99_ms'])} ms{bad})"


def _cost(servers: dict[str, Any]) -> str:
    header = ["100 at once, directly", "bare Pyramid", "signed hits", "share", "CPU per hit", "memory"]
    rows = []
    for name, found in servers.items():
        hit = next(row for row in found["direct"]["hit"] if row["connections"] == 100)
        bare, most = found["bare"]["rate"], max(row["memory_mb"] for row in found["direct"]["hit"])
        share = percent(hit["rate"] / bare) if bare else "-"
        rates = [f"{whole(bare)}/s", f"{whole(hit['rate'])}/s", share]
        rows.append([name, *rates, f"{hit['cpu_ms']:.2f} ms", f"{whole(most)} MB"])
    return grid(header, rows)


if __name__ == "__main__":
    command(__doc__, run, tables, only=True)
