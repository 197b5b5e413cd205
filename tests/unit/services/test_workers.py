import os
import subprocess
import sys

import pytest

from linkpeek.db import transaction
from linkpeek.errors import Unavailable
from linkpeek.models import State, Worker
from linkpeek.services.captures import LEASE_MARGIN, MAX_ATTEMPTS
from linkpeek.services.workers import BEAT, DEAD_AFTER
from tests.unit.services.conftest import Bench


def change_worker(bench: Bench, worker_id: str, **values: object) -> None:
    with transaction(bench.sessions) as session:
        worker = session.get_one(Worker, worker_id)
        for name, value in values.items():
            setattr(worker, name, value)


def ended_pid() -> int:
    """Give the number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestTheList:
    def test_a_beat_puts_a_worker_on_it_and_keeps_it_there(self, bench: Bench) -> None:
        workers = bench.workers()
        workers.beat("w1", 4, "Chrome/1")
        started = bench.clock.now
        bench.clock.step(BEAT)
        workers.beat("w1", 2, "Chrome/2")
        (worker,) = workers.alive()
        assert (worker.id, worker.pid, worker.started_at) == ("w1", os.getpid(), started)
        assert (worker.concurrency, worker.browser_version, worker.beat_at) == (
            2,
            "Chrome/2",
            bench.clock.now,
        )

    def test_who_leaves_is_gone(self, bench: Bench) -> None:
        workers = bench.workers()
        workers.beat("w1", 1, None)
        workers.beat("w2", 1, None)
        workers.leave("w1")
        assert [worker.id for worker in workers.alive()] == ["w2"]

    @pytest.mark.parametrize("seconds", [DEAD_AFTER + 1, -DEAD_AFTER - 1, -3600])
    def test_who_does_not_beat_is_not_alive(self, bench: Bench, seconds: float) -> None:
        workers = bench.workers()
        workers.beat("w1", 1, None)
        workers.require_alive()
        bench.clock.step(seconds)
        with pytest.raises(Unavailable) as caught:
            workers.require_alive()
        assert caught.value.code == "no-worker"


class TestTakingBack:
    def hold(self, bench: Bench, worker_id: str = "w1") -> None:
        bench.workers().beat(worker_id, 1, None)
        bench.ask()
        assert bench.captures(worker_id).claim() is not None

    def test_the_living_keep_what_they_hold(self, bench: Bench) -> None:
        self.hold(bench)
        for _ in range(10):
            bench.clock.step(4)
            bench.workers().beat("w1", 1, None)
            assert bench.workers().bury_dead() == 0
        assert bench.row().state == State.CAPTURING

    def test_from_one_that_does_not_beat(self, bench: Bench) -> None:
        self.hold(bench)
        bench.clock.step(DEAD_AFTER + 1)
        assert bench.workers().bury_dead() == 1
        row = bench.row()
        assert (row.state, row.attempts, row.lease_owner, row.lease_until) == (State.QUEUED, 1, None, None)
        assert bench.captures("w2").claim().attempt == 2

    def test_from_one_whose_process_has_ended(self, bench: Bench) -> None:
        self.hold(bench)
        change_worker(bench, "w1", pid=ended_pid())
        assert bench.workers().bury_dead() == 1
        assert bench.workers().alive() == []

    def test_a_process_number_says_nothing_about_another_machine(self, bench: Bench) -> None:
        self.hold(bench)
        host = bench.workers().alive()[0].host
        change_worker(bench, "w1", pid=ended_pid(), host=host + "x")
        assert bench.workers().bury_dead() == 0
        change_worker(bench, "w1", host=host.partition(" ")[0])
        assert bench.workers().bury_dead() == 0

    def test_from_one_that_nobody_knows(self, bench: Bench) -> None:
        bench.ask()
        assert bench.captures("never beat").claim() is not None
        assert bench.workers().bury_dead() == 1

    def test_what_outlived_its_lease(self, bench: Bench) -> None:
        bench.ask()
        bench.workers().beat("w1", 1, None)
        assert bench.captures("w1", timeout=1).claim() is not None
        bench.clock.step(1 + LEASE_MARGIN + 0.1)
        bench.workers().beat("w1", 1, None)
        assert bench.workers().bury_dead() == 1

    def test_the_last_attempt_fails_it(self, bench: Bench) -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            bench.ask()
            assert bench.captures(f"w{attempt}").claim().attempt == attempt
            assert bench.workers().bury_dead() == 1
        row = bench.row()
        assert (row.state, row.error_code, row.finished_at) == (
            State.FAILED,
            "worker-lost",
            bench.clock.now,
        )
        assert row.lease_owner is None
        assert bench.captures().claim() is None

    @pytest.mark.parametrize("hours", [1, -1])
    def test_a_clock_that_jumps_stops_nothing_for_long(self, bench: Bench, hours: int) -> None:
        self.hold(bench)
        bench.clock.step(3600 * hours)
        bench.workers().beat("w1", 1, None)
        assert bench.workers().bury_dead() == 1
        assert bench.captures("w1").claim().attempt == 2

    def test_a_clock_that_is_set_back_holds_up_nothing_that_is_queued(self, bench: Bench) -> None:
        bench.ask()
        bench.clock.step(-3600)
        assert bench.captures().claim() is None
        bench.workers().bury_dead()
        assert bench.captures().claim() is not None

    def test_a_pause_before_a_retry_is_kept(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures("w1")
        bench.workers().beat("w1", 1, None)
        captures.fail(captures.claim(), Unavailable("Later."))
        bench.workers().bury_dead()
        assert captures.claim() is None
