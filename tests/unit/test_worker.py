"""The worker with a function for a browser and, mostly, without a broker."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from linkpeek import worker as module
from linkpeek.db import transaction, utcnow
from linkpeek.engine import Interrupted
from linkpeek.errors import CaptureError, CaptureTimeout, ConfigurationError, Unavailable
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import Snapshot, State, Worker
from linkpeek.resources import Resources
from linkpeek.services.snapshots import SnapshotService, Target
from linkpeek.worker import CaptureWorker
from tests.factories import make_capture, make_service, make_settings

PATIENCE = 30


def wait_until(condition: Callable[[], object], what: str) -> object:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"not within {PATIENCE} seconds: {what}")


class PaperEngine:
    """An engine whose captures are a function, which tests replace."""

    browser_version = "Paper/1"

    def __init__(self, settings: object) -> None:
        self.cut_off = threading.Event()
        self.started = self.stopped = False
        self.capture = make_capture

    def start(self) -> None:
        self.started = True

    def interrupt(self) -> None:
        self.cut_off.set()

    def stop(self) -> None:
        self.interrupt()
        self.stopped = True


class PaperWorker(CaptureWorker):
    """A worker whose broker says nothing until it is told to stop."""

    def _serve(self) -> None:
        self.told = threading.Event()
        self.told.wait(PATIENCE)
        self._on_signal()
        self._join_threads(PATIENCE)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Engine", PaperEngine)
    monkeypatch.setattr(module.celery_state, "should_stop", None)  # it is the process's
    monkeypatch.setattr(module, "BEAT", 0.05)
    monkeypatch.setattr(module, "TICK", 0.05)
    monkeypatch.setattr(module, "STOP_GRACE", 0.3)
    monkeypatch.setattr("linkpeek.services.captures.BACK_OFF", (0.01, 0.01))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Resources]:
    resources = make_service(tmp_path, concurrency=2)
    yield resources
    resources.close()


class Running:
    """A worker in a thread."""

    def __init__(self, resources: Resources) -> None:
        self.worker = PaperWorker(resources)
        self.engine: PaperEngine = self.worker._engine
        self.thread = threading.Thread(target=self.worker.run)

    def start(self) -> "Running":
        self.thread.start()
        wait_until(lambda: hasattr(self.worker, "told") or not self.thread.is_alive(), "it runs")
        return self

    def stop(self) -> None:
        if self.thread.is_alive():
            self.worker.told.set()
            self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def running(service: Resources) -> Iterator[Running]:
    running = Running(service)
    yield running
    if running.thread.ident is not None:
        running.stop()


def ask(service: Resources, name: str = "page") -> int:
    with transaction(service.sessions) as session:
        snapshots = SnapshotService(session, service.capture_limits, lambda: None, ttl=0, queue_limit=999)
        target = Target(f"http://example.com/{name}", Viewport(64, 64), Extent.VIEWPORT)
        return snapshots.request(target, max_age=0, requester=f"key:{name}").pending.id


def row(service: Resources, snapshot_id: int) -> Snapshot:
    with transaction(service.sessions) as session:
        return session.get_one(Snapshot, snapshot_id)


def becomes(service: Resources, snapshot_id: int, state: State) -> Snapshot:
    wait_until(lambda: row(service, snapshot_id).state == state, f"it is {state}")
    return row(service, snapshot_id)


def beats(service: Resources) -> list[Worker]:
    with transaction(service.sessions) as session:
        return list(session.scalars(sa.select(Worker)))


class TestWorking:
    def test_captures_without_a_broker_what_is_queued(self, service: Resources, running: Running) -> None:
        first = ask(service, "before")
        running.start()
        becomes(service, first, State.READY)
        becomes(service, ask(service, "later"), State.READY)

    def test_a_wake_up_captures_all_there_is(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "TICK", 3600)
        running.start()
        ids = [ask(service, name) for name in "abc"]
        running.worker._wake()
        for one in ids:
            becomes(service, one, State.READY)

    def test_a_wake_up_that_finds_no_slot_is_not_lost(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, release = threading.Barrier(3), threading.Event()

        def capture(request: object) -> object:
            if not release.is_set():
                begun.wait(PATIENCE)
                release.wait(PATIENCE)
            return make_capture(request)

        monkeypatch.setattr(module, "TICK", 3600)
        running.engine.capture = capture
        running.start()
        ids = [ask(service, name) for name in "ab"]
        for _ in ids:
            running.worker._wake()
        begun.wait(PATIENCE)
        ids.append(ask(service, "c"))
        running.worker._wake()
        assert row(service, ids[-1]).state == State.QUEUED
        release.set()
        for one in ids:
            becomes(service, one, State.READY)

    def test_a_wake_up_after_the_last_look_is_not_lost(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, late = running.worker._captures.claim, []

        def claim() -> object:
            found = real()
            if found is None and not late:
                late.append(ask(service, "late"))
                running.worker._wake()
            return found

        monkeypatch.setattr(module, "TICK", 3600)
        monkeypatch.setattr(running.worker._captures, "claim", claim)
        running.start()
        assert running.worker._slots.acquire(timeout=PATIENCE)  # so one is left
        running.worker._wake()
        wait_until(lambda: late, "all was looked for")
        becomes(service, late[0], State.READY)

    def test_never_more_at_once_than_it_may(self, service: Resources, running: Running) -> None:
        lock, now, most = threading.Lock(), 0, 0
        both = threading.Barrier(2)

        def capture(request: object) -> object:
            nonlocal now, most
            with lock:
                now, most = now + 1, max(most, now + 1)
            try:
                both.wait(PATIENCE)
            finally:
                with lock:
                    now -= 1
            return make_capture(request)

        running.engine.capture = capture
        ids = [ask(service, f"{number}") for number in range(6)]
        running.start()
        for _ in range(4):
            running.worker._wake()
        for one in ids:
            becomes(service, one, State.READY)
        assert most == 2

    def test_a_passing_fault_is_tried_again(self, service: Resources, running: Running) -> None:
        answers = iter([CaptureTimeout("Too long."), None])

        def capture(request: object) -> object:
            if error := next(answers):
                raise error
            return make_capture(request)

        running.engine.capture = capture
        snapshot_id = ask(service)
        running.start()
        assert becomes(service, snapshot_id, State.READY).attempts == 2

    @pytest.mark.parametrize(
        ("error", "code", "attempts"),
        [
            (CaptureError("A download.", code="download", lasting=True), "download", 1),
            (CaptureTimeout("Too long."), "page-timeout", 3),
            (KeyError("a bug"), "capture-failed", 3),
            (Unavailable("Full.", code="storage-full"), "storage-full", 3),
        ],
    )
    def test_a_capture_that_fails_says_why(
        self, service: Resources, running: Running, error: Exception, code: str, attempts: int
    ) -> None:
        def capture(request: object) -> object:
            raise error

        running.engine.capture = capture
        snapshot_id = ask(service)
        running.start()
        failed = becomes(service, snapshot_id, State.FAILED)
        assert (failed.error_code, failed.attempts) == (code, attempts)
        assert "bug" not in failed.error_message

    def test_a_database_in_trouble_costs_no_thread(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, troubles = running.worker._captures.claim, iter(range(5))

        def claim() -> object:
            if next(troubles, None) is None:
                return real()
            raise Unavailable("The database does not answer.", code="database-unavailable")

        monkeypatch.setattr(running.worker._captures, "claim", claim)
        snapshot_id = ask(service)
        running.start()
        becomes(service, snapshot_id, State.READY)

    def test_what_is_captured_is_recorded_when_the_database_is_back(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, troubles = running.worker._captures.finish, iter(range(3))

        def finish(claim: object, capture: object) -> object:
            if next(troubles, None) is None:
                return real(claim, capture)
            raise Unavailable("The database does not answer.", code="database-unavailable")

        monkeypatch.setattr(running.worker._captures, "finish", finish)
        monkeypatch.setattr(module, "RECORD_PAUSE", 0.01)
        snapshot_id = ask(service)
        running.start()
        assert becomes(service, snapshot_id, State.READY).attempts == 1


class TestBeingAlive:
    def test_is_on_the_list_from_the_start_until_the_end(self, service: Resources, running: Running) -> None:
        running.start()
        (found,) = beats(service)
        assert (found.concurrency, found.browser_version) == (2, "Paper/1")
        running.stop()
        assert beats(service) == []
        assert running.engine.stopped

    def test_a_sweep_that_takes_long_does_not_stop_the_beat(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweeping, release = threading.Event(), threading.Event()

        def sweep() -> None:
            sweeping.set()
            release.wait(PATIENCE)

        monkeypatch.setattr(service.sweeper, "sweep", sweep)
        running.start()
        assert sweeping.wait(PATIENCE)
        since = utcnow()
        wait_until(lambda: beats(service)[0].beat_at > since, "it beats")
        becomes(service, ask(service), State.READY)
        release.set()

    def test_a_chore_that_fails_is_done_again(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, troubles = service.workers.bury_dead, iter([Unavailable("Gone."), KeyError("a bug")])
        done = threading.Event()

        def bury_dead() -> int:
            if running.worker._id and (trouble := next(troubles, None)):
                raise trouble
            done.set()
            return real()

        running.start()
        monkeypatch.setattr(service.workers, "bury_dead", bury_dead)
        assert done.wait(PATIENCE)

    def test_takes_back_what_a_dead_worker_held(self, service: Resources, running: Running) -> None:
        snapshot_id = ask(service)
        with transaction(service.sessions) as session:
            session.execute(
                sa.update(Snapshot).values(
                    state=State.CAPTURING, attempts=1, lease_owner="dead", lease_until=utcnow()
                )
            )
        running.start()
        assert becomes(service, snapshot_id, State.READY).attempts == 2


class TestStopping:
    def test_lets_a_capture_finish(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = threading.Event()

        def capture(request: object) -> object:
            begun.set()
            assert running.worker._stopping.wait(PATIENCE)
            if running.engine.cut_off.wait(module.STOP_GRACE / 10):
                raise Interrupted
            return make_capture(request)

        monkeypatch.setattr(module, "STOP_GRACE", PATIENCE / 10)
        running.engine.capture = capture
        snapshot_id = ask(service)
        running.start()
        assert begun.wait(PATIENCE)
        running.stop()
        assert row(service, snapshot_id).state == State.READY

    def test_gives_back_what_does_not_end(self, service: Resources, running: Running) -> None:
        begun = threading.Event()

        def capture(request: object) -> object:
            begun.set()
            assert running.engine.cut_off.wait(PATIENCE)
            raise Interrupted

        running.engine.capture = capture
        snapshot_id = ask(service)
        running.start()
        assert begun.wait(PATIENCE)
        running.stop()
        found = row(service, snapshot_id)
        assert (found.state, found.attempts, found.lease_owner) == (State.QUEUED, 0, None)

    def test_claims_nothing_more(self, service: Resources, running: Running) -> None:
        running.start()
        running.stop()
        snapshot_id = ask(service)
        running.worker._wake()
        running.worker._join_threads(PATIENCE)
        assert row(service, snapshot_id).state == State.QUEUED

    def test_records_what_it_can_before_it_stops(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database is back, but the pause until the next try was not over."""
        real, tried = running.worker._captures.finish, threading.Event()

        def finish(claim: object, capture: object) -> object:
            if running.worker._stopping.is_set():
                return real(claim, capture)
            tried.set()
            raise Unavailable("The database does not answer.", code="database-unavailable")

        monkeypatch.setattr(running.worker._captures, "finish", finish)
        monkeypatch.setattr(module, "RECORD_PAUSE", 10 * PATIENCE)
        snapshot_id = ask(service)
        running.start()
        assert tried.wait(PATIENCE)
        running.stop()
        assert row(service, snapshot_id).state == State.READY

    def test_gives_back_what_it_cannot_record(
        self, service: Resources, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = threading.Event()

        def finish(claim: object, capture: object) -> object:
            tried.set()
            raise Unavailable("The database does not answer.", code="database-unavailable")

        monkeypatch.setattr(running.worker._captures, "finish", finish)
        snapshot_id = ask(service)
        running.start()
        assert tried.wait(PATIENCE)
        running.stop()
        found = row(service, snapshot_id)
        assert (found.state, found.attempts, found.lease_owner) == (State.QUEUED, 0, None)

    def test_a_second_signal_changes_nothing(self, service: Resources, running: Running) -> None:
        running.start()
        for _ in range(3):
            running.worker._on_signal()
        running.stop()

    def test_a_signal_may_interrupt_the_handling_of_another(self, service: Resources) -> None:
        """As Python does between any two lines of the main thread."""
        assert interrupted_at(service, 1)
        instant = 2
        while interrupted_at(service, instant):
            instant += 1


def interrupted_at(service: Resources, instant: int) -> bool:
    """Handle a signal, with another one at some instant; whether it had not ended until then."""
    worker = PaperWorker(service)
    events = 0

    def trace(*_: object) -> Callable[..., object]:
        nonlocal events
        events += 1
        if events == instant:
            worker._on_signal()  # is not traced itself
        return trace

    def handle() -> None:
        sys.settrace(trace)
        worker._on_signal()
        sys.settrace(None)

    thread = threading.Thread(target=handle, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    return events >= instant


class TestNotStarting:
    def test_a_service_that_was_not_initialised(self, tmp_path: Path) -> None:
        worker = PaperWorker(Resources(make_settings(tmp_path)))
        with pytest.raises(ConfigurationError):
            worker.run()
        assert not worker._engine.started

    def test_a_browser_that_cannot_be_started(self, service: Resources, running: Running) -> None:
        def start() -> None:
            raise ConfigurationError("no browser")

        running.engine.start = start
        with pytest.raises(ConfigurationError):
            running.worker.run()
        assert running.engine.stopped
        assert beats(service) == []

    def test_a_broker_that_fails_for_good_ends_the_worker_with_an_error(
        self, service: Resources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Celery:
            def task(self, **_: object) -> Callable[..., object]:
                return lambda function: function

            def Worker(self, **_: object) -> "Celery":
                return self

            def start(self) -> None:
                """Return at once, as Celery does after an error it cannot handle."""

        heard = []
        monkeypatch.setattr(module, "on_stop_signals", heard.append)  # the signals are the tests'
        monkeypatch.setattr(module, "make_celery", lambda settings: Celery())
        worker = CaptureWorker(service)
        with pytest.raises(Unavailable) as caught:
            worker.run()
        assert caught.value.code == "broker-unavailable"
        assert heard == [worker._on_signal]
        assert beats(service) == []
