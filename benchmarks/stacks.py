"""Today's stack and the one before it, each started from its own files under deploy/."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import psutil
import sqlalchemy as sa

from benchmarks.service import APIKEY, SECRET, answers, signed, token, uri, wait_until
from linkpeek.db import make_engine
from linkpeek.geometry import Viewport
from linkpeek.models import Snapshot
from linkpeek.services.snapshots import Target
from linkpeek.storage.paths import snapshot_folder
from tests.live.legacy import PORTS, job, listens, prepare
from tests.live.processes import kill, of_user
from tests.live.tree import UID, Tree

#: Pages that ``many_pages`` asks for.
PAGES = 120
KEY = ("--name", "benchmark", "--apikey", APIKEY, "--secret", SECRET)
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
    """One of the stacks: how it is started, and which processes serve.

    :ivar server: what processes that serve have in their command line.
    :ivar port: where it answers without Nginx.
    """

    server: str
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
        """Put a bare Pyramid view, /bare, in the place of the application, or take it away."""
        factory = "paste.app_factory = bare:make\n"
        self.ini.write_text(self._text.replace(HEAD, factory, 1) if bare else self._text)

    @contextmanager
    def running(self) -> Iterator[list["Popen[bytes]"]]:
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

    def wait_ready(self) -> None:
        """Wait until it is ready for captures."""
        wait_until(lambda: answers(self.port, "/readyz"), 40, "it is ready")

    def picture(self, page: str) -> str:
        """Have a page captured, and give the path of its picture."""
        opener = build_opener(_Stay)
        address = f"http://127.0.0.1:{self.port}{signed(page)}"
        places: list[str] = []

        def is_there() -> bool:
            answer = opener.open(address, timeout=60)
            places.append(urlsplit(answer.headers["Location"]).path)
            return answer.headers["X-LinkPeek-State"] == "ready"

        wait_until(is_there, 60, "the picture is there")
        return places[-1]

    def many_pages(self, page: str) -> list[str]:
        """Put copies of a page's snapshot beside it, each another page's, and give signed requests for all.

        So many that none is asked for often enough to be answered without a look (``linkpeek.at_once``).
        """
        var = self.tree.web / "linkpeek/var"
        table = Snapshot.__table__
        engine = make_engine(f"sqlite:///{var}/linkpeek.sqlite")
        with engine.begin() as connection:
            found = connection.execute(sa.select(table).where(table.c.uri == page)).mappings().one()
            rows = [{**found, "id": None, **_names(number, found)} for number in range(PAGES)]
            connection.execute(sa.insert(table).prefix_with("OR IGNORE"), rows)
        engine.dispose()
        folder = var / "snapshots"
        for row in rows:
            copy = folder / snapshot_folder(row["token"])
            if not copy.exists():
                shutil.copytree(folder / snapshot_folder(found["token"]), copy, copy_function=os.link)
        return [signed(row["uri"]) for row in rows]


def _names(number: int, row: Mapping[str, Any]) -> dict[str, str]:
    viewport = Viewport(row["viewport_width"], row["viewport_height"])
    key = Target(uri(number), viewport, row["extent"]).key
    return {"uri": uri(number), "token": token(number), "key": key}


class _Stay(HTTPRedirectHandler):
    def http_error_302(self, request: object, answer: object, *_: object) -> object:
        """Give the redirect itself."""
        return answer


class Uwsgi(Stack):
    """uWSGI, by the exec line of the job."""

    server, port = "uWSGI worker", 5200

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.ini)

    def commands(self) -> list[list[str]]:
        """Give the job's exec line."""
        return [self.tree.exec_line()]


class Legacy(Stack):
    """Two supervisords, with the web under CherryPy's or Paste's server.

    :param section: of its production.ini: ``main`` (CherryPy) or ``paste``.
    :param processes: how many web processes.
    """

    server, port = "http_port=", 9901

    def __init__(self, tree: Tree, section: str, processes: int) -> None:
        super().__init__(tree, prepare(tree))
        self._section = section
        web = tree.web / "linkpeek/deploy/legacy/supervisor/web.conf"
        text = web.read_text()
        assert "numprocs = 2" in text
        web.write_text(text.replace("numprocs = 2", f"numprocs = {processes}"))

    def commands(self) -> list[list[str]]:
        """Give the commands of both jobs."""
        web = job(self.tree, "weblinkpeek-supervisord.conf", LINKPEEK_SERVER=self._section)
        return [web, job(self.tree, "worker-supervisord.conf")]


def web_processes(job: "Popen[bytes]") -> list[psutil.Process]:
    """List what belongs to a job, without capture worker and browser: those are the same in each stack."""
    master = psutil.Process(job.pid)
    return [one for one in [master, *master.children(recursive=True)] if not _captures(one)]


def _captures(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return True
    return "chrom" in command or "linkpeek worker" in command
