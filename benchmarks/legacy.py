"""Before and after: today's stack against the one before it, in one run, through Nginx over HTTPS.

Each stack is started from its own files under deploy/, and asked for the same
things: signed API v1 requests for many pictures that are there, and for a single one
that everybody wants, and a bare Pyramid view in the place of LinkPeek. Then what is
killed, and how long it takes to be there again. As root, in a network of its own.

    python -m benchmarks.legacy [--quick] [--json FILE]
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import Result, command
from benchmarks.load import is_idle, together, usage, wrk
from benchmarks.service import answers, signed, wait_until
from benchmarks.stacks import Legacy, Stack, Uwsgi, web_processes
from benchmarks.text import grid, seconds, short, times, whole
from tests.live.legacy import NAME, PORTS, LegacyNginx
from tests.live.network import own_network
from tests.live.nginx import made_nginx
from tests.live.processes import alive, family, named, of_user
from tests.live.site import Site
from tests.live.tree import UID, deployed_tree

#: Name, section of production.ini, number of web processes: two as it was, or as many as uWSGI has.
LEGACY = (
    ("CherryPy, 2 processes", "main", 2),
    ("Paste, 2 processes", "paste", 2),
    ("CherryPy, 4 processes", "main", 4),
)
AFTER = "uWSGI, 4 processes"
CONNECTIONS = 50
#: What is asked for, and how the table calls it.
ASKED = {"signed": "signed hits", "one": "of one picture", "bare": "bare view"}


def run(quick: bool = False) -> Result:
    """Measure all stacks, in two rounds one after the other.

    :param quick: one round, CherryPy with two processes only, no bare view, nothing is killed.
    :returns: by stack ``signed``, ``one`` and ``bare`` (see ``wrk``), ``memory_mb``, and what
        ``recovery`` gives; ``ratios`` of today's stack to each other one.
    """
    duration, rounds, legacy = (1, 1, LEGACY[:1]) if quick else (4, 2, LEGACY)
    found: dict[str, dict[str, Any]] = {}
    with own_network(), Site() as site, ExitStack() as opened:
        page = site.url("/static")
        stacks = dict(_made(opened, legacy))
        runs: dict[str, list[Result]] = {name: [] for name in stacks}
        for _ in range(rounds):
            for name, (stack, nginx) in stacks.items():
                sys.stderr.write(f"{name} ...\n")
                with nginx():
                    runs[name].append(throughput(stack, page, duration, bare=not quick))
        for name, (stack, _) in stacks.items():
            asked = _asked(runs[name][0])
            found[name] = {what: together([one[what] for one in runs[name]]) for what in asked}
            found[name]["memory_mb"] = max(one["memory_mb"] for one in runs[name])
            found[name] |= {} if quick else recovery(stack)
    after = found[AFTER]
    ratios = {
        name: {what: round(after[what]["rate"] / found[name][what]["rate"], 2) for what in _asked(after)}
        for name in found
        if name != AFTER
    }
    return {"seconds": duration, "connections": CONNECTIONS, "stacks": found, "ratios": ratios}


def _asked(measured: Result) -> list[str]:
    """List what was asked for, in order."""
    return [what for what in ASKED if what in measured]


def _made(
    opened: ExitStack, legacy: Sequence[tuple[str, str, int]]
) -> Iterator[tuple[str, tuple[Stack, Callable[[], Any]]]]:
    """Give each stack, and what runs its own Nginx."""
    tree = opened.enter_context(deployed_tree())

    @contextmanager
    def nginx_today() -> Iterator[None]:
        with made_nginx(tree.root) as nginx:
            nginx.start()
            yield

    yield AFTER, (Uwsgi(tree), nginx_today)
    for name, section, processes in legacy:
        tree_before = opened.enter_context(deployed_tree())
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        nginx = LegacyNginx(folder, tree_before)
        _use_ports(folder / "sites/linkpeek-ssl.conf", processes)
        yield name, (Legacy(tree_before, section, processes), nginx.running)


def _use_ports(site: Path, processes: int) -> None:
    """Have Nginx know of more web processes than the two of the file."""
    last = f"    server 127.0.0.1:{PORTS[-1]};\n"
    more = "".join(f"    server 127.0.0.1:{PORTS[0] + number};\n" for number in range(2, processes))
    site.write_text(site.read_text().replace(last, last + more))


def throughput(stack: Stack, page: str, duration: int, *, bare: bool) -> Result:
    """Measure signed requests, the bare view where that is wanted, and the memory of what serves them."""
    result: Result = {}
    with stack.running() as jobs:
        stack.wait_ready()
        stack.picture(page)
        wait_until(lambda: is_idle(jobs[0].pid), 30, "all of it has started")
        pages = stack.many_pages(page)
        ask(pages, 1)
        result["signed"] = ask(pages, duration)
        result["memory_mb"] = usage(web_processes(jobs[0])).memory
        result["one"] = ask([signed(page)], duration)
    if not bare:
        return result
    stack.use_bare_view(True)
    with stack.running() as jobs:
        wait_until(lambda: answers(stack.port, "/bare"), 40, "it answers")
        wait_until(lambda: is_idle(jobs[0].pid), 30, "all of it has started")
        ask(["/bare"], 1)
        result["bare"] = ask(["/bare"], duration)
    stack.use_bare_view(False)
    return result


def ask(paths: Sequence[str], duration: int) -> dict[str, float]:
    """Ask Nginx for these paths again and again."""
    return wrk("https://127.0.0.1", paths, CONNECTIONS, duration, NAME)


def seconds_until(condition: Callable[[], object], limit: float = 30) -> float | None:
    """Measure how long it takes; None when it does not happen."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            return None
        time.sleep(0.005)
    return round(time.monotonic() - began, 2)


def recovery(stack: Stack) -> Result:
    """Measure a cold start, and what follows when something is killed with -9.

    ``supervisor_killed`` is None when the supervisor that is started again does not get
    its servers up: then there are orphans of the old one, which hold the ports.
    """
    result: Result = {}
    with stack.running() as jobs:
        result["cold_start"] = seconds_until(lambda: answers(stack.port, "/readyz"))
        web = psutil.Process(jobs[0].pid)
        wait_until(lambda: len(_serving(web, stack)) >= 2, 10, "all processes are there")
        wait_until(lambda: is_idle(web.pid), 30, "all of it has started")
        time.sleep(3)  # supervisord calls a process running only after startsecs
        before = _serving(web, stack)
        before[0].kill()

        def replaced() -> bool:
            there = _serving(web, stack)
            return len(there) >= len(before) and before[0] not in there and answers(stack.port)

        result["server_killed"] = seconds_until(replaced)
        time.sleep(3)
        web.kill()
        jobs[0].wait()
        # What Upstart's `respawn` and systemd's `Restart=always` do.
        jobs[0] = stack.tree.start(stack.commands()[0])
        again = psutil.Process(jobs[0].pid)
        result["supervisor_killed"] = seconds_until(
            lambda: (
                len(_serving(again, stack)) >= len(before)
                and answers(stack.port)
                and _listens(again, stack.port)
            ),
            20,
        )
        mine = {one.pid for one in family(again)}
        serving = named(of_user(UID), stack.server)
        result["supervised"] = sum(one.pid in mine for one in serving)
        result["orphans"] = sum(one.pid not in mine for one in serving)
    return result


def _serving(supervisor: psutil.Process, stack: Stack) -> list[psutil.Process]:
    return named(alive(family(supervisor)), stack.server)


def _listens(supervisor: psutil.Process, port: int) -> bool:
    """Tell whether it is a process of this supervisor that listens."""
    try:
        listening = [
            connection.laddr.port
            for one in alive(family(supervisor))
            for connection in one.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
    except psutil.Error:
        return False
    return port in listening


def tables(result: Result) -> dict[str, str]:
    """Lay out throughput, and what follows when something is killed."""
    stacks, ratios = result["stacks"], result["ratios"]
    asked = _asked(stacks[AFTER])
    header = ["stack", *(cell for what in asked for cell in (ASKED[what], "p50 / p99 ms"))]
    header += ["errors", "web memory", "uWSGI's are"]
    rows = []
    for name, one in stacks.items():
        cells = [
            cell
            for what in asked
            for cell in (
                f"{whole(one[what]['rate'])}/s",
                f"{short(one[what]['p50_ms'])} / {short(one[what]['p99_ms'])}",
            )
        ]
        errors = whole(sum(one[what]["errors"] for what in asked))
        ratio = " / ".join(times(ratios[name][what]) for what in asked) + " x" if name in ratios else "-"
        rows.append([name, *cells, errors, f"{whole(one['memory_mb'])} MB", ratio])
    found = {"legacy throughput": grid(header, rows)}
    if "cold_start" in stacks[AFTER]:
        found["legacy recovery"] = _recovery_table(stacks)
    return found


def _recovery_table(stacks: dict[str, Any]) -> str:
    header = [
        "stack",
        "cold start",
        "server killed",
        "supervisor killed",
        "supervised then",
        "orphans then",
    ]
    rows = [
        [
            name,
            *(seconds(one[key]) for key in ("cold_start", "server_killed", "supervisor_killed")),
            one["supervised"],
            one["orphans"],
        ]
        for name, one in stacks.items()
    ]
    return grid(header, rows)


if __name__ == "__main__":
    command(__doc__, run, tables)
