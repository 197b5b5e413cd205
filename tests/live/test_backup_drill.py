"""The drill: fill, back up in the middle of work, lose everything, restore, and all is there again."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from webtest import TestApp

from linkpeek import main
from linkpeek.cli.config import load_settings
from linkpeek.db import transaction
from linkpeek.initialise import initialise
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.security import md5_token
from linkpeek.services.keys import KeyService
from tests.factories import PaperWorker
from tests.live.processes import wait_until

KEYS = {"first-client": "sesame", "second-client": "pässwörd"}
INI = "[app:main]\nuse = egg:linkpeek\nlinkpeek.wait = 0\nlinkpeek.rate_limit = 100000/second\n"
#: Pages that are there before the backup begins; each in two sizes besides its master.
PAGES = 40
GOAL = 120


class Service:
    """A LinkPeek in a folder: its application and a worker that needs no browser."""

    def __init__(self, ini: Path) -> None:
        self.resources = Resources(load_settings(str(ini)))
        initialise(self.resources)
        settings = dict(line.split(" = ", 1) for line in INI.splitlines() if line.startswith("linkpeek."))
        self.wsgi = main({"here": str(ini.parent)}, **settings)
        self.app = TestApp(self.wsgi, extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"})
        self.worker = PaperWorker(self.resources)

    def ask(self, page: int, size: str, apikey: str) -> str:
        """Make a signed request and give where it leads: a picture, or the placeholder."""
        uri = f"http://example.com/{page}"
        token = md5_token(KEYS[apikey], uri, size)
        query = urlencode({"uri": uri, "apikey": apikey, "token": token, "size": size})
        return str(self.app.get(f"/api/v1?{query}", status=302).location)

    def fill(self) -> None:
        with transaction(self.resources.sessions) as session:
            for apikey, secret in KEYS.items():
                KeyService(session, self.resources.box).add(apikey, apikey, secret)
        for page in range(PAGES):
            self.ask(page, "336", "first-client")
            self.worker.work()
            self.ask(page, "336", "first-client")
            self.ask(page, "200x100", "second-client")

    def ready(self) -> list[str]:
        with transaction(self.resources.sessions) as session:
            return [row.token for row in session.query(Snapshot).filter_by(state=State.READY)]

    def close(self) -> None:
        self.resources.close()
        self.wsgi.app.registry.resources.close()


@contextmanager
def service(ini: Path) -> Iterator[Service]:
    opened = Service(ini)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def at_work(busy: Service) -> Iterator[list[int]]:
    """Have requests and captures of ever new pages go on; gives the pages that are done."""
    stop, done, failures = threading.Event(), list[int](), list[Exception]()

    def work() -> None:
        try:
            while not stop.is_set():
                page = PAGES + len(done)
                busy.ask(page, "336", "first-client")
                busy.worker.work()
                busy.ask(page, "336", "first-client")
                done.append(page)
        except Exception as exc:
            failures.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
    assert not failures


def linkpeek(*arguments: object) -> float:
    """Run a command and give how many seconds it took."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "linkpeek", *map(str, arguments)], check=True, timeout=GOAL)
    return time.monotonic() - began


def test_everything_works_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ini, backup = tmp_path / "machine/production.ini", tmp_path / "elsewhere/b.tar"
    ini.parent.mkdir()
    backup.parent.mkdir()
    ini.write_text(INI)
    with service(ini) as before:
        before.fill()
        tokens = before.ready()
        pictures = {
            path.relative_to(ini.parent): path.read_bytes()
            for path in ini.parent.glob("var/snapshots/**/*.png")
        }
        with at_work(before) as done:
            wait_until(lambda: len(done) > 3, 30, "captures go on")
            backing_up = linkpeek("backup", ini, "-o", backup)
            begun = len(done)
            wait_until(lambda: len(done) > begun, 30, "captures go on after it")
        before.ask(99999, "336", "first-client")
    assert len(tokens) == PAGES
    assert len(pictures) > 3 * PAGES

    shutil.rmtree(ini.parent)
    restoring = linkpeek("restore", ini, backup)

    with service(ini) as after:
        assert set(tokens) <= set(after.ready())
        assert len(after.ready()) > PAGES
        for path, data in pictures.items():
            if not path.parent.name.startswith("0" * 32):
                assert (ini.parent / path).read_bytes() == data
                assert after.app.get("/" + str(path).removeprefix("var/")).body == data
        for page in range(PAGES):
            for apikey in KEYS:
                assert after.ask(page, "336", apikey).rpartition("/")[0].endswith(tuple(tokens))
        with transaction(after.resources.sessions) as session:
            for row in session.query(Snapshot).filter_by(state=State.READY):
                assert after.resources.storage.exists(
                    f"{row.token[:2]}/{row.token[2:4]}/{row.token}/master.png"
                )
        # What was under way when the backup was made is done now.
        after.worker.work()
        with transaction(after.resources.sessions) as session:
            assert session.query(Snapshot).filter(Snapshot.state != State.READY).count() == 0
    with capsys.disabled():
        print(f"\ndrill: {len(pictures)} images; backed up in {backing_up:.1f} s, back in {restoring:.1f} s")
    assert backing_up + restoring < GOAL
