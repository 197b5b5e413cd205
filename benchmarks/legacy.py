"""The stack of today against the one before it, in one run, through Nginx over HTTPS.

    python -m benchmarks.legacy [SECONDS [CONNECTIONS]]

As root, in a network of its own; needs wrk. Each stack is started from its own
files under deploy/, and asked for the same things: a signed API v1 request whose
picture is there, and a bare Pyramid view in the place of LinkPeek. Then what is
killed, and how long it takes to be there again. Prints JSON, and tables on
standard error.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from tests.live.legacy import NAME, PORTS, LegacyNginx, job, listens, prepare
from tests.live.network import own_network
from tests.live.nginx import made_nginx
from tests.live.processes import alive, family, kill, named, of_user, wait_until
from tests.live.site import Site
from tests.live.test_upstart_exec import signed
from tests.live.tree import UID, Tree, deployed_tree

KEY = ("--name", "old", "--apikey", "an-old-client", "--secret", "sesame")
HEAD = "use = egg:linkpeek\n"
OPEN = "linkpeek.egress_allow = 127.0.0.0/8\nlinkpeek.egress_ports = *\n"
BARE = """
from pyramid.config import Configurator
from pyramid.response import Response

def make(global_config, **settings):
    config = Configurator()
    config.add_route("bare", "/bare")
    config.add_view(lambda request: Response("bare"), route_name="bare")
    return config.make_wsgi_app()
"""


class Stack:
    """One of the stacks: how it is started, and which processes serve."""

    #: Of the process that serves, in its command line.
    server: str
    #: Where it answers without Nginx.
    port: int

    def __init__(self, tree: Tree, ini: Path) -> None:
        self.tree = tree
        self.ini = ini
        self._text = ini.read_text().replace(HEAD, HEAD + OPEN, 1)
        ini.write_text(self._text)
        (tree.web / "linkpeek/bare.py").write_text(BARE)
        tree.linkpeek("init", str(ini))
        tree.linkpeek("key", "add", *KEY, str(ini))

    def commands(self) -> list[list[str]]:
        """Give what the machine's init starts; the first one is the web's."""
        raise NotImplementedError

    def use_bare_view(self, bare: bool) -> None:
        """Put a bare view in the place of the application, or take it away."""
        factory = "paste.app_factory = bare:make\n"
        self.ini.write_text(self._text.replace(HEAD, factory, 1) if bare else self._text)

    def answers(self, path: str = "/readyz") -> bool:
        """Tell whether it answers well."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @contextmanager
    def running(self) -> Iterator[list["subprocess.Popen[bytes]"]]:
        """Have it run meanwhile; everything is killed in the end."""
        jobs = [self.tree.start(command) for command in self.commands()]
        try:
            yield jobs
        finally:
            for one in jobs:
                one.terminate()
            for one in jobs:
                one.wait(70)
            kill(of_user(UID))
            wait_until(lambda: not any(map(listens, (5200, *PORTS))), 10, "all ports are free")


class Uwsgi(Stack):
    """uWSGI, by the exec line of the job."""

    server, port = "uWSGI worker", 5200

    def commands(self) -> list[list[str]]:
        """Give the job's exec line."""
        return [self.tree.exec_line()]


class Legacy(Stack):
    """Two supervisords, with the web under CherryPy's or Paste's server."""

    server, port = "http_port=", 9901

    def __init__(self, tree: Tree, section: str) -> None:
        super().__init__(tree, prepare(tree))
        self._section = section

    def commands(self) -> list[list[str]]:
        """Give the commands of both jobs."""
        web = job(self.tree, "weblinkpeek-supervisord.conf", LINKPEEK_SERVER=self._section)
        return [web, job(self.tree, "worker-supervisord.conf")]


def wrk(port: int, path: str, seconds: int, connections: int) -> dict[str, float]:
    """Ask for one path again and again; gives requests a second and milliseconds."""
    url = f"https://127.0.0.1:{port}{path}"
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {NAME}", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        "rate": float(_found(r"Requests/sec:\s+([\d.]+)", text) or 0),
        "p50_ms": _milliseconds(_found(r"50%\s+(\S+)", text)),
        "p99_ms": _milliseconds(_found(r"99%\s+(\S+)", text)),
        "errors": float(_found(r"Non-2xx or 3xx responses: (\d+)", text) or 0)
        + sum(map(float, re.findall(r"(?:connect|read|write|timeout) (\d+)", text))),
    }


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return round(float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit], 2)


def seconds_until(condition: Callable[[], object], limit: float = 30) -> float | None:
    """Measure how long it takes; None when it does not happen."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            return None
        time.sleep(0.005)
    return round(time.monotonic() - began, 2)


def throughput(stack: Stack, port: int, page: str, seconds: int, connections: int) -> dict[str, Any]:
    """Measure signed requests and the bare view."""
    result = {}
    for bare, path in ((False, signed(page)), (True, "/bare")):
        stack.use_bare_view(bare)
        with stack.running():
            wait_until(partial(stack.answers, "/bare" if bare else "/readyz"), 40, "it answers")
            if not bare:
                wait_until(partial(_hit, stack.port, path), 40, "the picture is there")
            wrk(port, path, 1, connections)
            result["bare" if bare else "signed"] = wrk(port, path, seconds, connections)
    stack.use_bare_view(False)
    return result


def _hit(port: int, path: str) -> bool:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, check=True, capture_output=True).stdout == b"302"


def recovery(stack: Stack) -> dict[str, Any]:
    """Measure a cold start, and what follows when something is killed with -9.

    ``supervisor_killed`` is None when the supervisor that is started again does not get
    its servers up: then there are orphans of the old one, which hold the ports.
    """
    result: dict[str, Any] = {}
    with stack.running() as jobs:
        result["cold_start"] = seconds_until(lambda: stack.answers())
        web = psutil.Process(jobs[0].pid)
        wait_until(lambda: len(named(alive(family(web)), stack.server)) >= 2, 10, "all processes are there")
        time.sleep(3)  # supervisord calls a process running only after startsecs
        before = named(alive(family(web)), stack.server)
        before[0].kill()
        result["server_killed"] = seconds_until(
            lambda: (
                len([one for one in named(alive(family(web)), stack.server) if one not in before]) == 1
                and stack.answers("/healthz")
            )
        )
        time.sleep(3)
        web.kill()
        jobs[0].wait()
        # What Upstart's `respawn` and systemd's `Restart=always` do.
        jobs[0] = stack.tree.start(stack.commands()[0])
        web = psutil.Process(jobs[0].pid)
        result["supervisor_killed"] = seconds_until(
            lambda: (
                len(named(alive(family(web)), stack.server)) >= len(before)
                and stack.answers("/healthz")
                and _serving(web, stack.port)
            ),
            20,
        )
        served = named(alive(family(web)), stack.server)
        mine = {one.pid for one in family(web)}
        result["orphans_after_it"] = len(
            [one for one in named(of_user(UID), stack.server) if one.pid not in mine]
        )
        result["supervised_after_it"] = len(served)
    return result


def _serving(supervisor: psutil.Process, port: int) -> bool:
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


def measure(seconds: int, connections: int) -> dict[str, Any]:
    """Measure all stacks, one after the other."""
    result: dict[str, Any] = {"seconds": seconds, "connections": connections, "cores": os.cpu_count()}
    with own_network(), Site() as site, ExitStack() as stacks:
        page = site.url("/static")
        tree = stacks.enter_context(deployed_tree())
        stack: Stack = Uwsgi(tree, tree.ini)
        with made_nginx(tree.root) as nginx:
            nginx.start()
            result["uwsgi"] = throughput(stack, nginx.https, page, seconds, connections)
        result["uwsgi"] |= recovery(stack)
        for name, section in (("cherrypy", "main"), ("paste", "paste")):
            tree = stacks.enter_context(deployed_tree())
            stack = Legacy(tree, section)
            folder = Path(stacks.enter_context(tempfile.TemporaryDirectory()))
            with LegacyNginx(folder, tree).running():
                result[name] = throughput(stack, 443, page, seconds, connections)
            result[name] |= recovery(stack)
    for name in ("cherrypy", "paste"):
        for what in ("signed", "bare"):
            result[f"{what}_against_{name}"] = round(
                result["uwsgi"][what]["rate"] / result[name][what]["rate"], 2
            )
    return result


def table(result: dict[str, Any]) -> str:
    """Lay the figures out."""
    lines = [
        "| stack | signed/s | p50 ms | p99 ms | errors | bare/s | p50 ms | p99 ms | errors |",
        "|---" * 9 + "|",
    ]
    for name in ("uwsgi", "cherrypy", "paste"):
        cells = [
            f"{result[name][what][key]:g}"
            for what in ("signed", "bare")
            for key in ("rate", "p50_ms", "p99_ms", "errors")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    keys = ("cold_start", "server_killed", "supervisor_killed", "supervised_after_it", "orphans_after_it")
    lines += ["", f"| stack | {' | '.join(keys)} |", "|---" * 6 + "|"]
    for name in ("uwsgi", "cherrypy", "paste"):
        lines.append(f"| {name} | {' | '.join(str(result[name][key]) for key in keys)} |")
    return "\n".join(lines)


def main(seconds: int = 8, connections: int = 50) -> None:
    """Measure and print."""
    result = measure(seconds, connections)
    sys.stderr.write(table(result) + "\n")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
