import threading

import pytest

from linkpeek.db import transaction
from linkpeek.errors import (
    CaptureError,
    CaptureRefused,
    CaptureTimeout,
    LimitExceeded,
    LinkPeekError,
    NotFound,
    Unavailable,
)
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import State
from linkpeek.services.limits import LimitService
from linkpeek.services.snapshots import CLOCK_SLACK, FAILURE_TTL, SnapshotService, Target, failure_of
from linkpeek.settings import Rate
from tests.factories import make_capture
from tests.unit.services.conftest import Bench, target


def capture(bench: Bench, **values: object) -> None:
    captures = bench.captures()
    claim = captures.claim()
    assert claim is not None
    captures.finish(claim, make_capture(claim.request, **values))


def fail(bench: Bench, error: LinkPeekError) -> None:
    captures = bench.captures()
    claim = captures.claim()
    assert claim is not None
    captures.fail(claim, error)


class TestKeys:
    def test_differ_with_everything_that_changes_the_picture(self) -> None:
        one = Target("http://a.example/", Viewport(64, 64), Extent.VIEWPORT)
        others = {
            one,
            Target("http://a.example/x", Viewport(64, 64), Extent.VIEWPORT),
            Target("http://a.example/", Viewport(64, 65), Extent.VIEWPORT),
            Target("http://a.example/", Viewport(64, 64), Extent.FULL),
        }
        assert len({target.key for target in others}) == 4
        assert len(one.key) == 32


class TestSingleFlight:
    def test_the_first_request_queues_and_wakes(self, bench: Bench) -> None:
        ticket = bench.ask()
        assert ticket.ready is None
        assert (ticket.pending.state, ticket.pending.requester, bench.woken) == (State.QUEUED, "key:1", 1)

    def test_the_others_wait_for_it_while_it_is_queued_or_captured(self, bench: Bench) -> None:
        first = bench.ask()
        assert bench.ask(requester="key:2").pending.id == first.pending.id
        bench.captures().claim()
        assert bench.ask().pending.id == first.pending.id
        assert (len(bench.rows()), bench.woken) == (1, 1)

    def test_many_at_once_cause_one_capture(self, bench: Bench) -> None:
        tickets, errors = [], []
        start = threading.Barrier(6)

        def ask() -> None:
            start.wait(30)
            try:
                tickets.append(bench.ask().pending.id)
            except LinkPeekError as error:
                errors.append(error.code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert set(tickets) == {bench.row().id}
        assert bench.woken == 1

    def test_a_waiting_request_costs_no_limit(self, bench: Bench) -> None:
        bench.ask(rate=1)
        assert bench.ask(rate=1).pending is not None


class TestFreshness:
    def test_young_enough_is_given_and_nothing_queued(self, bench: Bench) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(100)
        ticket = bench.ask(max_age=None, ttl=100)
        assert (ticket.fresh, ticket.ready.id, ticket.pending) == (True, bench.row().id, None)

    def test_a_stale_one_is_given_while_a_refresh_is_queued(self, bench: Bench) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(101)
        ticket = bench.ask(max_age=None, ttl=100)
        assert not ticket.fresh
        assert ticket.ready.id == 1
        assert ticket.pending.id == 2

    def test_a_greatest_age_rules_the_stale_one_out(self, bench: Bench) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(11)
        assert bench.ask(max_age=11).fresh
        ticket = bench.ask(max_age=10)
        assert ticket.ready is None
        assert ticket.pending is not None

    def test_a_stale_one_is_given_although_no_refresh_may_be_queued(self, bench: Bench) -> None:
        bench.ask(rate=1)
        capture(bench)
        bench.clock.step(101)
        ticket = bench.ask(max_age=None, rate=1)
        assert (ticket.ready.id, ticket.pending) == (1, None)
        with pytest.raises(LimitExceeded):
            bench.ask(max_age=50, rate=1)

    def test_the_newest_is_given_although_the_clock_was_set_back(self, bench: Bench) -> None:
        bench.ask()
        capture(bench, title="old")
        bench.clock.step(-3600)
        ticket = bench.ask(max_age=None)
        assert (ticket.ready.title, ticket.fresh) == ("old", False)
        capture(bench, title="new")
        ticket = bench.ask(max_age=None)
        assert (ticket.ready.title, ticket.fresh) == ("new", True)

    def test_another_machines_clock_may_be_a_little_ahead(self, bench: Bench) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(-CLOCK_SLACK)
        assert bench.ask(max_age=None).fresh


class TestFailures:
    def test_a_recent_one_is_the_answer_for_a_while(self, bench: Bench) -> None:
        bench.ask()
        fail(bench, CaptureError("No such name.", code="dns-failed", lasting=True))
        bench.clock.step(FAILURE_TTL - 1)
        with pytest.raises(CaptureError) as caught:
            bench.ask()
        assert (caught.value.code, caught.value.message) == ("dns-failed", "No such name.")
        bench.clock.step(1)
        assert bench.ask().pending is not None

    def test_the_last_good_picture_stays(self, bench: Bench) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(101)
        bench.ask(max_age=None)
        fail(bench, CaptureRefused("No."))
        ticket = bench.ask(max_age=None)
        assert (ticket.ready.id, ticket.fresh, ticket.pending) == (1, False, None)

    def test_a_failure_before_the_last_success_is_forgotten(self, bench: Bench) -> None:
        bench.ask()
        fail(bench, CaptureRefused("No."))
        bench.clock.step(FAILURE_TTL)
        bench.ask()
        capture(bench)
        bench.clock.step(1)
        assert bench.ask(max_age=0).pending is not None

    def test_one_from_the_future_does_not_count(self, bench: Bench) -> None:
        bench.ask()
        fail(bench, CaptureRefused("No."))
        bench.clock.step(-3600)
        assert bench.ask().pending is not None

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("address-refused", CaptureRefused),
            ("page-timeout", CaptureTimeout),
            ("dns-failed", CaptureError),
            ("worker-lost", Unavailable),
            ("capture-failed", CaptureError),
            ("database-unavailable", Unavailable),
        ],
    )
    def test_become_the_right_kind_of_error(self, bench: Bench, code: str, kind: type) -> None:
        snapshot = bench.ask().pending
        snapshot.error_code, snapshot.error_message = code, "Why."
        error = failure_of(snapshot)
        assert (type(error), error.code, error.message) == (kind, code, "Why.")


class TestLimits:
    def test_new_captures_per_requester(self, bench: Bench) -> None:
        bench.ask("a", rate=1)
        with pytest.raises(LimitExceeded) as caught:
            bench.ask("b", rate=1)
        assert caught.value.code == "rate-limited"
        assert bench.ask("b", rate=1, requester="key:2").pending is not None

    def test_one_requester_has_half_of_the_queue(self, bench: Bench) -> None:
        for name in "ab":
            bench.ask(name, queue_limit=4)
        with pytest.raises(LimitExceeded) as caught:
            bench.ask("c", queue_limit=4)
        assert (caught.value.code, caught.value.retry_after) == ("queue-share", 5)
        assert bench.ask("c", queue_limit=4, requester="key:2").pending is not None

    def test_the_queue_has_an_end(self, bench: Bench) -> None:
        for number in range(4):
            bench.ask(f"{number}", queue_limit=4, requester=f"key:{number}")
        with pytest.raises(LimitExceeded) as caught:
            bench.ask("more", queue_limit=4, requester="key:9")
        assert caught.value.code == "queue-full"

    def test_strangers_leave_room_for_keys(self, bench: Bench) -> None:
        """However many addresses they have."""
        for number in range(6):
            bench.ask(f"{number}", queue_limit=8, requester=f"address:{number}")
        with pytest.raises(LimitExceeded) as caught:
            bench.ask("more", queue_limit=8, requester="address:9")
        assert (caught.value.code, caught.value.retry_after) == ("queue-full", 5)
        for number in range(2):
            assert bench.ask(f"key {number}", queue_limit=8, requester="key:1").pending is not None

    def test_keys_may_use_what_strangers_do_not(self, bench: Bench) -> None:
        for number in range(8):
            assert bench.ask(f"{number}", queue_limit=8, requester=f"key:{number}").pending is not None

    def test_what_is_being_captured_is_not_queued(self, bench: Bench) -> None:
        bench.ask("a", queue_limit=1)
        bench.captures().claim()
        assert bench.ask("b", queue_limit=1).pending is not None


class TestDatabaseTrouble:
    def test_a_stale_picture_is_shown_though_no_refresh_can_be_written(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.ask()
        capture(bench)
        bench.clock.step(101)

        def count(caller: str) -> None:
            raise Unavailable("The database does not answer.", code="database-unavailable")

        limits = LimitService(bench.resources.limit_storage, Rate(1, 1), "x")
        monkeypatch.setattr(limits, "count", count)
        with transaction(bench.sessions) as session:
            service = SnapshotService(session, limits, lambda: None, ttl=100, queue_limit=9, now=bench.clock)
            ticket = service.request(target(), max_age=None, requester="key:1")
        assert ticket.ready.id == 1
        with transaction(bench.sessions) as session, pytest.raises(Unavailable):
            SnapshotService(session, limits, lambda: None, ttl=100, queue_limit=9, now=bench.clock).request(
                target(), max_age=1, requester="key:1"
            )


class TestOneSnapshot:
    def service(self, bench: Bench, session: object) -> SnapshotService:
        limits = LimitService(bench.resources.limit_storage, Rate(1, 1), "x")
        return SnapshotService(session, limits, lambda: None, ttl=1, queue_limit=9, now=bench.clock)

    def test_by_its_token(self, bench: Bench) -> None:
        pending = bench.ask().pending
        with transaction(bench.sessions) as session:
            assert self.service(bench, session).by_token(pending.token).id == pending.id
            with pytest.raises(NotFound):
                self.service(bench, session).by_token("0" * 32)

    def test_that_was_waited_for(self, bench: Bench) -> None:
        pending = bench.ask().pending
        capture(bench)
        with transaction(bench.sessions) as session:
            assert self.service(bench, session).finished(pending.id).state == State.READY
            with pytest.raises(NotFound):
                self.service(bench, session).finished(999)

    def test_that_was_waited_for_and_failed(self, bench: Bench) -> None:
        pending = bench.ask().pending
        fail(bench, CaptureRefused("No."))
        with transaction(bench.sessions) as session, pytest.raises(CaptureRefused):
            self.service(bench, session).finished(pending.id)

    def test_whose_picture_was_lost_does_not_hold_up_the_next(self, bench: Bench) -> None:
        pending = bench.ask().pending
        capture(bench)
        with transaction(bench.sessions) as session:
            self.service(bench, session).lost(pending.id)
        assert (bench.row().state, bench.row().error_code) == (State.FAILED, "picture-lost")
        assert bench.ask().pending is not None

    def test_only_a_ready_one_can_be_lost(self, bench: Bench) -> None:
        pending = bench.ask().pending
        with transaction(bench.sessions) as session:
            self.service(bench, session).lost(pending.id)
        assert bench.row().state == State.QUEUED
