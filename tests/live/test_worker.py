"""The capture worker as a process of its own, with a real browser, and everything that can befall it."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from linkpeek.db import transaction
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import Snapshot, State, Worker
from linkpeek.resources import Resources
from linkpeek.services.limits import LimitService
from linkpeek.services.renditions import master_path
from linkpeek.services.snapshots import SnapshotService, Target
from linkpeek.settings import Rate
from linkpeek.tasks import broker_folder
from tests.factories import make_service
from tests.live.processes import alive, family, kill, named, wait_until
from tests.live.site import Site

INI = """\
[app:main]
use = egg:linkpeek
linkpeek.data_dir = {folder}
linkpeek.egress_allow = 127.0.0.0/8
linkpeek.egress_ports = *
linkpeek.allow_root = true
linkpeek.concurrency = 2
linkpeek.capture_timeout = {timeout}
linkpeek.chromium = {chromium}

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(levelname)s [%(name)s] %(message)s
"""

Start = Callable[..., psutil.Process]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Resources]:
    resources = make_service(tmp_path, egress_allow="127.0.0.0/8", egress_ports="*")
    yield resources
    resources.engine.dispose()


@pytest.fixture
def start(service: Resources, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a worker; all of them, and all they started, are gone afterwards."""
    started: list[psutil.Popen] = []
    everything: set[psutil.Process] = set()

    def start(timeout: int = 20, chromium: str = "", wait: bool = True) -> psutil.Popen:
        ini = tmp_path / "worker.ini"
        ini.write_text(INI.format(folder=tmp_path, timeout=timeout, chromium=chromium))
        with (tmp_path / "worker.log").open("ab") as log:
            process = psutil.Popen(
                [sys.executable, "-m", "linkpeek", "worker", str(ini)], stdout=log, stderr=log
            )
        started.append(process)
        if wait:
            wait_until(lambda: beats(service, process.pid), 30, "the worker beats")
            everything.update(family(process))
        return process

    yield start
    for process in started:
        if process.is_running():
            everything.update(family(process))
            process.send_signal(signal.SIGTERM)
    for process in started:
        try:
            process.wait(15)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
    left = alive(everything)
    kill(left)
    if left:
        print((tmp_path / "worker.log").read_text())


@contextmanager
def running_worker(service: Resources, folder: Path, broker_url: str) -> Iterator[psutil.Popen]:
    """Run a worker that listens to a broker of its own kind; it must end as soon as it is told to."""
    ini, log = folder / "worker.ini", folder / "worker.log"
    text = INI.format(folder=folder, timeout=20, chromium="")
    ini.write_text(text.replace("[app:main]", f"[app:main]\nlinkpeek.broker_url = {broker_url}"))
    with log.open("wb") as file:
        process = psutil.Popen(
            [sys.executable, "-m", "linkpeek", "worker", str(ini)], stdout=file, stderr=file
        )
    try:
        wait_until(lambda: beats(service, process.pid), 30, "the worker beats")
        yield process
        process.terminate()
        # Upstart kills what has not ended 5 seconds after TERM.
        assert process.wait(8) == 0
    finally:
        kill(family(process) if process.is_running() else [])
        print(log.read_text()[-10_000:])


def beats(service: Resources, pid: int) -> bool:
    with transaction(service.sessions) as session:
        return session.scalar(sa.select(Worker.id).where(Worker.pid == pid)) is not None


def ask(service: Resources, uri: str, *, wake: bool = True, requester: str = "key:1") -> int:
    """Queue a capture as the web does, and give its id."""
    with transaction(service.sessions) as session:
        limits = LimitService(service.limit_storage, Rate(10_000, 1), "test")
        snapshots = SnapshotService(session, limits, lambda: None, ttl=0, queue_limit=1000)
        target = Target(uri, Viewport(400, 300), Extent.VIEWPORT)
        ticket = snapshots.request(target, max_age=0, requester=requester)
        assert ticket.pending is not None
        snapshot_id = ticket.pending.id
    if wake:
        service.wake()
    return snapshot_id


def row(service: Resources, snapshot_id: int) -> Snapshot:
    with transaction(service.sessions) as session:
        return session.get_one(Snapshot, snapshot_id)


def ended(service: Resources, snapshot_id: int, seconds: float = 30) -> Snapshot:
    """Wait until a snapshot is ready or failed, and give it."""

    def look() -> Snapshot | None:
        snapshot = row(service, snapshot_id)
        return snapshot if snapshot.state in (State.READY, State.FAILED) else None

    return wait_until(look, seconds, "the capture ends")


def capturing(service: Resources, snapshot_id: int, site: Site, path: str) -> None:
    wait_until(lambda: site.hits[path], 20, "the page is asked for")
    # It may be over already, of a page that comes to an end.
    assert row(service, snapshot_id).state in (State.CAPTURING, State.READY)


def browsers(worker: psutil.Process) -> list[psutil.Process]:
    return named(family(worker), "chromium")


def test_captures_what_is_queued(service: Resources, start: Start, site: Site) -> None:
    start()
    snapshot = ended(service, ask(service, site.url("/static")))
    assert snapshot.state == State.READY
    assert (snapshot.width, snapshot.height, snapshot.status_code) == (400, 300, 200)
    assert service.storage.get(master_path(snapshot.token)).startswith(b"\x89PNG")
    assert set(snapshot.timings or {}) >= {"queue", "context", "navigation", "settle", "screenshot"}


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_gives_back_and_leaves_nothing(
    service: Resources, start: Start, site: Site, number: signal.Signals
) -> None:
    worker = start()
    snapshot_id = ask(service, site.url("/never"))
    capturing(service, snapshot_id, site, "/never")
    everything = family(worker)
    worker.send_signal(number)
    # Upstart and Docker send KILL some seconds after TERM.
    assert worker.wait(5) == 0
    wait_until(lambda: not alive(everything), 5, "all its processes are gone")
    snapshot = row(service, snapshot_id)
    assert (snapshot.state, snapshot.attempts) == (State.QUEUED, 0)
    assert not beats(service, worker.pid)


def test_term_lets_a_quick_capture_finish(service: Resources, start: Start, site: Site) -> None:
    """Or, on a machine that is too busy for that, has it done by the next worker."""
    snapshot_id = ask(service, site.url("/slow?s=0.3"))
    worker = start()
    capturing(service, snapshot_id, site, "/slow")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(8) == 0
    finished = row(service, snapshot_id)
    assert (finished.state, finished.attempts) in {(State.READY, 1), (State.QUEUED, 0)}


def test_kill_leaves_no_browser_and_the_next_worker_goes_on(
    service: Resources, start: Start, site: Site
) -> None:
    worker = start()
    stuck = ask(service, site.url("/endless-parse"))
    capturing(service, stuck, site, "/endless-parse")
    everything = family(worker)
    assert len(browsers(worker)) > 2
    worker.kill()
    worker.wait()
    wait_until(lambda: not alive(everything), 5, "all its processes are gone")
    with transaction(service.sessions) as session:
        session.execute(sa.update(Snapshot).values(uri=site.url("/static")))
    start()
    assert ended(service, stuck).state == State.READY


@pytest.mark.parametrize("which", ["--type=renderer", "--type=gpu-process", "--type=utility", "--headless "])
def test_a_killed_browser_process_costs_one_more_attempt(
    service: Resources, start: Start, site: Site, which: str
) -> None:
    worker = start()
    snapshot_id = ask(service, site.url("/slow"))
    capturing(service, snapshot_id, site, "/slow")
    kill(named(browsers(worker), which))
    snapshot = ended(service, snapshot_id)
    assert snapshot.state == State.READY
    other = ended(service, ask(service, site.url("/static")))
    assert other.state == State.READY


def test_a_message_that_got_lost(service: Resources, start: Start, site: Site) -> None:
    start()
    assert ended(service, ask(service, site.url("/static"), wake=False)).state == State.READY


def test_messages_that_are_doubled_or_garbage(service: Resources, start: Start, site: Site) -> None:
    folder = broker_folder(service.settings)
    worker = start()
    worker.suspend()  # so that a message can be had before it is read
    service.wake()
    (message,) = folder.glob("*.msg")
    whole = message.read_bytes()
    for number, garbage in enumerate(garbled(whole)):
        (folder / f"{number}_garbage.linkpeek.msg").write_bytes(garbage)
    (folder / "0_folder.linkpeek.msg").mkdir()
    for number in range(20):
        (folder / f"9_{number}.linkpeek.msg").write_bytes(whole)
    worker.resume()
    snapshot = ended(service, ask(service, site.url("/static")), 20)
    assert (snapshot.state, snapshot.attempts) == (State.READY, 1)
    assert site.hits["/static"] == 1
    wait_until(lambda: not [path for path in folder.glob("*.msg") if path.is_file()], 20, "all are read")
    assert alive([worker]), "and the worker got over all of them"


def garbled(whole: bytes) -> Iterator[bytes]:
    """Give what is no message, and what looks like one."""
    yield from (b"", b"\0\xff", b"{}", b'{"body": 1}', b"[" * 5000, b"null", whole[:-10])
    changes: tuple[dict[str, object], ...] = (
        {"body": "garbage"},
        {"body": ""},
        {"body": base64.b64encode(b"null").decode()},
        {"body": base64.b64encode(b"[1, 2]").decode()},
        {"content-type": "application/x-python-serialize"},
        {"content-type": None},
        {"content-encoding": "no-such-encoding"},
        {"headers": None},
        {"headers": {}},
        {"headers": {"task": "no.such.task", "id": "1"}},
        {"headers": {"task": 7, "id": []}},
        {"headers": {"task": "linkpeek.capture", "id": "1", "eta": "whenever"}},
        {"headers": {"task": "linkpeek.capture", "id": "1", "expires": "whenever", "retries": "many"}},
        {"properties": {"delivery_info": None, "delivery_tag": None}},
        {"properties": {"delivery_info": {}, "delivery_tag": "1", "body_encoding": "no-such-encoding"}},
        {"properties": []},
    )
    for change in changes:
        yield json.dumps(json.loads(whole) | change).encode()


def test_messages_do_not_pile_up_while_all_are_at_work(service: Resources, start: Start, site: Site) -> None:
    folder = broker_folder(service.settings)
    start()
    ids = [ask(service, site.url(f"/never?{number}")) for number in range(40)]
    wait_until(lambda: not list(folder.glob("*.msg")), 40, "all are read")
    assert row(service, ids[-1]).state == State.QUEUED, "and there is still work"


def test_two_workers_share_one_queue(service: Resources, start: Start, site: Site) -> None:
    start()
    start()
    ids = [ask(service, site.url(f"/static?{number}")) for number in range(12)]
    assert {ended(service, one).attempts for one in ids} == {1}
    assert site.hits["/static"] == 12


def test_the_broker_folder_goes_away(service: Resources, start: Start, site: Site) -> None:
    workers = [start()]
    folder = broker_folder(service.settings)
    subprocess.run(["rm", "-r", str(folder)], check=True)
    first = ask(service, site.url("/static?1"))
    folder.mkdir(exist_ok=True)

    def captured() -> bool:
        if not alive(workers):  # it may end for that, sooner or later; init starts it again
            workers.append(start())
        return row(service, first).state == State.READY

    wait_until(captured, 40, "the capture is made")


def test_the_clock_is_set_back(service: Resources, start: Start, site: Site) -> None:
    """A row, a lease and a beat from the future, as they look after the clock was set back an hour."""
    later = timedelta(hours=1)
    dead = ask(service, site.url("/static?dead"), wake=False)
    with transaction(service.sessions) as session:
        snapshot = session.get_one(Snapshot, dead)
        snapshot.state, snapshot.lease_owner, snapshot.attempts = State.CAPTURING, "gone", 1
        snapshot.lease_until = snapshot.requested_at + later
        session.add(
            Worker(
                id="gone",
                host=socket.gethostname(),
                pid=_dead_pid(),
                concurrency=1,
                started_at=snapshot.requested_at + later,
                beat_at=snapshot.requested_at + later,
            )
        )
    queued = ask(service, site.url("/static?queued"), wake=False)
    with transaction(service.sessions) as session:
        snapshot = session.get_one(Snapshot, queued)
        snapshot.requested_at += later
        snapshot.not_before += later
    start()
    assert ended(service, dead, 20).state == State.READY
    assert ended(service, queued, 20).state == State.READY


def _dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("chromium", "word"), [("/nonexistent/chromium", "chromium"), ("/bin/false", "browser")]
)
def test_a_worker_that_cannot_start_says_why(
    service: Resources, start: Start, tmp_path: Path, chromium: str, word: str
) -> None:
    worker = start(chromium=chromium, wait=False)
    assert worker.wait(30) == 1
    lines = (tmp_path / "worker.log").read_text().splitlines()
    assert "Traceback" not in "\n".join(lines)
    assert word in lines[-1].lower()


def test_signals_while_the_browser_starts(
    service: Resources, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's INT and then the TERM of whoever started the worker: the second cuts nothing short."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    worker = start(wait=False)
    browser = wait_until(lambda: named(family(worker), "--headless "), 20, "the browser is started")
    for process in browser:  # it does not answer, so the worker waits for it
        process.suspend()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        worker.send_signal(number)
    assert worker.wait(10) == 0
    assert not alive(browser)
    assert not list(temporary.glob("linkpeek-*"))


def test_a_worker_whose_parent_is_gone_does_not_even_begin(service: Resources, tmp_path: Path) -> None:
    ini = tmp_path / "worker.ini"
    ini.write_text(INI.format(folder=tmp_path, timeout=20, chromium=""))
    command = [sys.executable, "-m", "linkpeek", "worker", "--die-with-parent", "1", str(ini)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_is_refused_unless_told_otherwise(service: Resources, tmp_path: Path) -> None:
    ini = tmp_path / "plain.ini"
    ini.write_text(f"[app:main]\nuse = egg:linkpeek\nlinkpeek.data_dir = {tmp_path}\n")
    done = subprocess.run(
        [sys.executable, "-m", "linkpeek", "worker", str(ini)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_client_does_not_starve_the_others(service: Resources, start: Start, site: Site) -> None:
    many = [ask(service, site.url(f"/static?{n}"), wake=False) for n in range(20)]
    one = ask(service, site.url("/static?one"), wake=False, requester="key:2")
    start()
    small = ended(service, one)
    after = [ended(service, snapshot_id) for snapshot_id in many]
    assert sum(snapshot.finished_at < small.finished_at for snapshot in after) <= 4
