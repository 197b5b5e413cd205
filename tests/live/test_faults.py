"""Everything the service stands on fails, for real: clients get a clear answer in time, and nothing is lost.

Whatever was accepted ends as a picture or as a failure with a reason, once what
was broken is whole again.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
from webtest import TestApp

from linkpeek import main
from linkpeek.db import transaction
from linkpeek.errors import Unavailable
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.security import md5_token
from linkpeek.services.limits import LimitService
from linkpeek.services.renditions import master_path
from linkpeek.services.snapshots import SnapshotService, Target
from linkpeek.settings import Rate
from linkpeek.storage import snapshot_folder
from tests.factories import APIKEY, SECRET, PaperWorker, make_service
from tests.live.deadly_worker import STAGES
from tests.live.faulty import AS_ROOT, OWN_MOUNTS, Answer, Faulty, faulty_service
from tests.live.processes import alive, family, kill, named, wait_until
from tests.live.site import Site
from tests.postgres import postgres_server, stopped_server

#: Seconds: what waits for the database gives up after 5, a request may wait for two things.
IN_TIME = 12
#: Seconds: less than anything here is waited for, on however busy a machine.
AT_ONCE = 4
DISK = 64
WAIT, CAPTURE_TIMEOUT = 2, 10

#: Moments before a worker has claimed anything, and after it is done.
ONE_ATTEMPT = ("making a folder", "starting the browser", "recorded", "failed")

WORKER_INI = """\
[app:main]
use = egg:linkpeek
linkpeek.data_dir = {folder}
linkpeek.egress_allow = 127.0.0.0/8
linkpeek.egress_ports = *
linkpeek.allow_root = true
linkpeek.concurrency = 1
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("faulty")
    with faulty_service(folder, DISK, wait=WAIT, capture_timeout=CAPTURE_TIMEOUT) as service:
        yield service


@pytest.fixture
def shown(service: Faulty, site: Site, request: pytest.FixtureRequest) -> str:
    """The address of a page that there is a picture of."""
    uri = site.url(f"/static?{request.node.name}")
    assert service.ended(uri, 30).status == 302
    return uri


def assert_told(answer: Answer, code: str) -> None:
    assert (answer.status, answer.code) == (503, code)
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.seconds < IN_TIME


def assert_shown(service: Faulty, uri: str) -> None:
    answer = service.ask(uri)
    assert (answer.status, answer.state) == (302, "ready")
    assert answer.seconds < AT_ONCE
    assert service.get("/snapshots/" + path_of(answer)).status == 200


def path_of(answer: Answer) -> str:
    return answer.headers["Location"].partition("/snapshots/")[2]


def test_no_room_for_pictures(service: Faulty, site: Site, shown: str) -> None:
    uri = site.url("/static?no-room")
    with service.filled(free=8 * 2**20):
        assert_told(service.ended(uri, 30), "storage-full")
        assert_shown(service, shown)
        assert_told(service.ask(shown, size="77"), "storage-full")
        assert service.get("/readyz").status == 503
    assert service.ended(site.url("/static?room-again"), 20).status == 302
    assert service.ask(shown, size="77").status == 302


def test_no_room_at_all(service: Faulty, site: Site, shown: str) -> None:
    accepted = site.url("/slow?s=1.5&full")
    with service.filled(free=0):
        answer = service.ask(accepted)
        # SQLite may find room in its journal; what it cannot take is not accepted.
        assert answer.seconds < IN_TIME
        assert answer.state == "pending" or answer.status == 503
        assert_shown(service, shown)
        assert service.get("/healthz").status == 200
    wait_until(lambda: service.ask(site.url("/static?after")).status == 302, 30, "it goes on")
    assert service.ended(accepted, 60).status in (302, 503)


@pytest.mark.parametrize("what", ["snapshots", "."])
def test_read_only(service: Faulty, site: Site, shown: str, what: str) -> None:
    """The pictures' folder, and the whole of the data folder."""
    with service.read_only(what):
        assert_told(service.ended(site.url(f"/static?read-only={what}"), 30), "storage-unavailable")
        assert_shown(service, shown)
        assert service.get("/readyz").status == 503
    assert service.ended(site.url(f"/static?writable={what}"), 20).status == 302


def test_the_brokers_folder_is_gone(service: Faulty, site: Site, shown: str) -> None:
    accepted = site.url("/slow?s=3&broker")
    assert service.ask(accepted).state == "pending"
    shutil.rmtree(service.disk / "broker")
    answer = service.ask(site.url("/static?broker"))
    assert (answer.status, answer.seconds < IN_TIME) == (302, True)
    assert_shown(service, shown)
    for uri in (accepted, site.url("/static?broker")):
        assert service.ended(uri, 40).status == 302
    wait_until(lambda: service.get("/readyz").status == 200, 20, "the folder is there again")


def test_the_clock_is_set_back_and_right_again(service: Faulty, site: Site, shown: str) -> None:
    accepted = site.url("/slow?s=3&back")
    assert service.ask(accepted).state == "pending"
    with service.set_back(3600):
        assert service.ended(accepted, 30).status == 302
        answer = service.ask(shown)
        # Nobody can say how old a picture from the future is, so a new one is made.
        assert (answer.status, answer.state, answer.seconds < AT_ONCE) == (302, "stale", True)
        assert service.ended(site.url("/static?set-back"), 20).status == 302
        wait_until(lambda: service.get("/readyz").status == 200, 20, "the worker is known to be alive")
        accepted = site.url("/slow?s=3&right")
        assert service.ask(accepted).state == "pending"
    assert service.ended(accepted, 30).status == 302
    assert service.ended(site.url("/static?set-right"), 20).status == 302
    wait_until(lambda: service.get("/readyz").status == 200, 20, "the worker is known to be alive again")


@pytest.mark.parametrize("what", ["--type=renderer", "--type=gpu-process", "--headless ", "linkpeek worker"])
def test_killed_while_a_client_waits(service: Faulty, site: Site, shown: str, what: str) -> None:
    uri, before = site.url(f"/slow?s=1.5&{what.split()[0]}"), site.hits["/slow"]
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(service.ask, uri)
        wait_until(lambda: site.hits["/slow"] > before, 30, "the page is opened")
        kill(named(family(service.process), what))
        answer = asked.result()
    assert (answer.status, answer.code, answer.seconds < WAIT + AT_ONCE) == (302, None, True)
    assert_shown(service, shown)
    assert service.ended(uri, 40).status == 302


def test_a_locked_database(service: Faulty, site: Site, shown: str) -> None:
    accepted = site.url("/slow?s=3&locked")
    assert service.ask(accepted).state == "pending"
    with service.locked():
        assert_told(service.ask(site.url("/static?locked")), "database-unavailable")
        assert_shown(service, shown)
    assert service.ended(accepted, 60).status == 302
    assert service.ended(site.url("/static?locked"), 20).status == 302


def test_the_database_is_gone_for_a_while(service: Faulty, site: Site, shown: str) -> None:
    accepted = site.url("/slow?s=3&gone")
    assert service.ask(accepted).state == "pending"
    with service.without_database():
        assert_told(service.ask(site.url("/static?gone")), "database-unavailable")
        assert_told(service.ask(shown), "database-unavailable")
        assert service.get("/healthz").status == 200
        time.sleep(3)  # for the capture to end while nothing can be recorded
    assert service.ended(accepted, 60).status == 302
    assert_shown(service, shown)


def test_garbage_where_a_picture_was(service: Faulty, site: Site, shown: str) -> None:
    folder = (service.disk / "snapshots" / path_of(service.ask(shown))).parent
    master = folder / "master.png"
    master.write_bytes(master.read_bytes()[:-20])
    hits = site.hits["/static"]
    answer = service.ended(shown, 20, size="123")
    assert (answer.status, site.hits["/static"]) == (302, hits + 1)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x89PNG\r\n\x1a\n"])
def test_garbage_where_a_size_was(service: Faulty, shown: str, garbage: bytes) -> None:
    path = path_of(service.ask(shown))
    (service.disk / "snapshots" / path).write_bytes(garbage)
    answer = service.get("/snapshots/" + path)
    assert (answer.status, answer.code) == (404, "image-damaged")
    answer = service.ended(shown, 20)
    assert (answer.status, path_of(answer) != path) == (302, True)
    assert service.get("/snapshots/" + path_of(answer)).status == 200


def test_a_read_only_data_folder_at_the_start(tmp_path: Path) -> None:
    """Neither starts, and each says why in one line; once it can be written to, both do."""
    make_service(tmp_path).close()
    ini = tmp_path / "service.ini"
    ini.write_text(WORKER_INI.format(folder=tmp_path))
    script = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$@"'
    enter = [*OWN_MOUNTS, *AS_ROOT, "sh", "-c", script, "sh", sys.executable, "-m"]
    for command in (["linkpeek", "worker", ini], ["linkpeek", "init", ini], ["linkpeek.preflight", ini]):
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        line = done.stderr.strip().splitlines()[-1]
        assert str(tmp_path) in line
        assert "Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-m", "linkpeek.preflight", ini], timeout=60)
    assert done.returncode == 0


def test_postgresql_is_stopped_and_started(tmp_path: Path) -> None:
    with postgres_server() as url:
        resources = make_service(tmp_path, database_url=url)
        ini = {"linkpeek.data_dir": str(tmp_path), "sqlalchemy.url": url, "linkpeek.wait": "0"}
        wsgi = main({"here": str(tmp_path)}, **ini)
        app = TestApp(wsgi, extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"})
        worker = PaperWorker(resources)
        assert app.get(signed()).headers["X-LinkPeek-State"] == "pending"
        with stopped_server(url):
            since = time.monotonic()
            answer = app.get(signed(), status=503)
            assert answer.headers["X-LinkPeek-Error"] == "database-unavailable"
            assert int(answer.headers["Retry-After"]) > 0
            with pytest.raises(Unavailable):
                worker.work()
            assert time.monotonic() - since < IN_TIME
        assert worker.work() == 1
        assert app.get(signed()).headers["X-LinkPeek-State"] == "ready"
        for made in (resources, wsgi.app.registry.resources):
            made.close()


def signed() -> str:
    uri, size = "http://example.com/", "336"
    values = {"uri": uri, "apikey": APIKEY, "token": md5_token(SECRET, uri, size), "size": size}
    return "/api/v1?" + urlencode(values)


class TestKilledWorkers:
    """A worker is killed with -9 at an exact moment; the next one finishes what it had."""

    @pytest.mark.parametrize("stage", STAGES)
    def test_nothing_is_lost_and_nothing_is_left(self, tmp_path: Path, site: Site, stage: str) -> None:
        resources = make_service(tmp_path, egress_allow="127.0.0.0/8", egress_ports="*")
        page = "/204" if stage.startswith("fail") else "/static"
        snapshot_id = queue(resources, site.url(f"{page}?{stage[:4]}"))
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        with started(tmp_path, "tests.live.deadly_worker", stage) as deadly:
            seen = watched(deadly)
            assert deadly.wait(30) == -signal.SIGKILL
        wait_until(lambda: not alive(seen), 10, "its browser is gone")
        assert_never_torn(resources, snapshot_id)
        with started(tmp_path, "linkpeek", "worker") as worker:
            wait_until(lambda: beats(resources, worker.pid), 30, "it is at work")
            snapshot = wait_until(lambda: ended(resources, snapshot_id), 30, "the capture ends")
            assert snapshot.attempts == (1 if stage in ONE_ATTEMPT else 2)
            if page == "/static":
                assert snapshot.state == State.READY
                assert resources.storage.get(master_path(snapshot.token)).startswith(b"\x89PNG")
            else:
                assert (snapshot.state, snapshot.error_code) == (State.FAILED, "no-content")
            worker.terminate()
            assert worker.wait(20) == 0
        assert resources.storage.sweep_temporary(0) == (stage == "half stored")
        assert not list(temporary.glob("linkpeek-*"))
        resources.close()


def queue(resources: Resources, uri: str) -> int:
    with transaction(resources.sessions) as session:
        limits = LimitService(resources.limit_storage, Rate(100, 1), "test")
        snapshots = SnapshotService(session, limits, lambda: None, ttl=0, queue_limit=10)
        ticket = snapshots.request(
            Target(uri, Viewport(320, 240), Extent.VIEWPORT), max_age=0, requester="key:1"
        )
        assert ticket.pending is not None
        return ticket.pending.id


def row(resources: Resources, snapshot_id: int) -> Snapshot:
    with transaction(resources.sessions) as session:
        return session.get_one(Snapshot, snapshot_id)


def ended(resources: Resources, snapshot_id: int) -> Snapshot | None:
    snapshot = row(resources, snapshot_id)
    return snapshot if snapshot.state in (State.READY, State.FAILED) else None


def beats(resources: Resources, pid: int) -> bool:
    return pid in {worker.pid for worker in resources.workers.alive()}


def assert_never_torn(resources: Resources, snapshot_id: int) -> None:
    """A picture is there whole or not at all, and whole where the row says that it is ready."""
    snapshot = row(resources, snapshot_id)
    paths = resources.storage.images(snapshot_folder(snapshot.token))
    for path in paths:
        resources.storage.get(path)
    assert paths or snapshot.state != State.READY


@contextmanager
def started(folder: Path, *command: str) -> Iterator[psutil.Popen]:
    """Start a worker of a folder's service, and leave nothing of it."""
    ini = folder / "worker.ini"
    ini.write_text(WORKER_INI.format(folder=folder))
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    process = psutil.Popen([sys.executable, "-m", *command, str(ini)], env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(family(process))
            process.wait()


def watched(process: psutil.Process) -> set[psutil.Process]:
    """Give all processes of a worker that will be gone in a moment, as far as they were seen."""
    seen: set[psutil.Process] = set()
    with suppress(psutil.NoSuchProcess):
        while alive([process]):
            seen.update(process.children(recursive=True))
            time.sleep(0.02)
    return seen
