import threading

import pytest

from linkpeek.errors import CaptureError, CaptureRefused, CaptureTimeout, Unavailable
from linkpeek.models import State
from linkpeek.services.captures import BACK_OFF, LEASE_MARGIN, LONGEST_TEXT, MAX_ATTEMPTS
from linkpeek.services.renditions import master_path
from linkpeek.storage import snapshot_folder
from tests.factories import make_capture, make_png
from tests.unit.services.conftest import Bench


def stored(bench: Bench) -> dict[str, bytes]:
    """Give all pictures of the only snapshot."""
    return {
        path: bench.storage.get(path) for path in bench.storage.images(snapshot_folder(bench.row().token))
    }


class TestClaiming:
    def test_nothing_is_queued(self, bench: Bench) -> None:
        assert bench.captures().claim() is None

    def test_a_claim_says_what_to_capture_and_holds_a_lease(self, bench: Bench) -> None:
        bench.ask()
        bench.clock.step(2)
        claim = bench.captures("w1", timeout=20).claim()
        assert claim is not None
        assert (claim.attempt, claim.queued) == (1, 2)
        assert (claim.request.uri, claim.request.timeout) == ("http://example.com/page", 20)
        row = bench.row()
        assert (row.state, row.lease_owner, row.started_at) == (State.CAPTURING, "w1", bench.clock.now)
        assert (row.lease_until - bench.clock.now).total_seconds() == 20 + LEASE_MARGIN

    def test_what_one_has_no_other_gets(self, bench: Bench) -> None:
        bench.ask()
        assert bench.captures("w1").claim() is not None
        assert bench.captures("w2").claim() is None

    def test_many_threads_claim_each_snapshot_once(self, bench: Bench) -> None:
        for number in range(12):
            bench.ask(f"{number}")
        claimed: list[int] = []

        def work(name: str) -> None:
            captures = bench.captures(name)
            while (claim := captures.claim()) is not None:
                claimed.append(claim.snapshot_id)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(claimed) == [row.id for row in bench.rows()]

    def test_requesters_take_turns_however_much_one_of_them_queued(self, bench: Bench) -> None:
        for number in range(3):
            bench.ask(f"a{number}", requester="key:1")
        for number in range(2):
            bench.ask(f"b{number}", requester="key:2")
        captures, order = bench.captures(), []
        while (claim := captures.claim()) is not None:
            order.append(claim.request.uri.rpartition("/")[2])
            bench.clock.step(1)
        assert order == ["a0", "b0", "a1", "b1", "a2"]

    def test_turns_are_fair_again_after_the_clock_was_set_back(self, bench: Bench) -> None:
        bench.ask("a0", requester="key:1")
        assert bench.captures().claim() is not None
        bench.clock.step(-3600)
        bench.ask("a1", requester="key:1")
        bench.ask("b0", requester="key:2")
        assert bench.captures().claim().request.uri.endswith("a1")
        bench.clock.step(1)
        bench.ask("a2", requester="key:1")
        assert bench.captures().claim().request.uri.endswith("b0")


class TestFinishing:
    def test_the_picture_is_kept_and_the_row_is_ready(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures()
        claim = captures.claim()
        capture = make_capture(claim.request, status=404, title="Gone", truncated=True, blank=True)
        bench.clock.step(3)
        assert captures.finish(claim, capture)
        row = bench.row()
        assert bench.storage.get(master_path(row.token)) == capture.image
        assert (row.state, row.finished_at, row.lease_owner) == (State.READY, bench.clock.now, None)
        assert (row.status_code, row.title, row.truncated, row.blank) == (404, "Gone", True, True)
        assert (row.width, row.height, row.stored_bytes) == (64, 64, len(capture.image))
        assert list(row.timings) == ["queue", "claim", "navigation", "screenshot", "store"]
        assert (row.timings["queue"], row.timings["navigation"]) == (0.0, 0.2)
        assert 0 < row.timings["claim"] < 5
        assert row.duration == pytest.approx(0.3 + row.timings["store"], abs=0.001)

    def test_text_that_no_database_takes(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures()
        claim = captures.claim()
        title = "a\0b\ud800" + "x" * 10_000
        assert captures.finish(claim, make_capture(claim.request, title=title, browser_version="v" * 999))
        assert bench.row().title.startswith("ab?x")
        assert len(bench.row().title) == LONGEST_TEXT

    @pytest.mark.parametrize("meanwhile", ["another worker", "queued again", "ended"])
    def test_a_lost_lease_changes_nothing(self, bench: Bench, meanwhile: str) -> None:
        bench.ask()
        late = bench.captures("late")
        claim = late.claim()
        bench.clock.step(3600)
        assert bench.workers().bury_dead() == 1
        if meanwhile != "queued again":
            other = bench.captures("other")
            again = other.claim()
            if meanwhile == "ended":
                other.finish(again, make_capture(again.request, title="the other's"))
        before, pictures = vars(bench.row()), stored(bench)
        assert not late.finish(claim, make_capture(claim.request, image=make_png(9, 9, "red")))
        late.fail(claim, CaptureTimeout("Too long."))
        late.fail(claim, CaptureRefused("No."))
        late.give_back(claim)
        assert stored(bench) == pictures, "the picture of the one who has it now is left alone"
        after = vars(bench.row())
        assert {k: v for k, v in after.items() if k[0] != "_"} == {
            k: v for k, v in before.items() if k[0] != "_"
        }

    def test_the_same_worker_with_a_later_attempt_is_another_holder(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures("w1")
        first = captures.claim()
        bench.clock.step(3600)
        bench.workers().bury_dead()
        assert captures.claim().attempt == 2
        assert not captures.finish(first, make_capture(first.request))
        assert bench.row().state == State.CAPTURING


class TestFailing:
    def test_a_passing_fault_is_tried_again_later_and_in_the_end_no_more(self, bench: Bench) -> None:
        bench.ask()
        captures, error = bench.captures(), CaptureTimeout("It took too long.")
        for pause in BACK_OFF:
            assert captures.fail(captures.claim(), error) == pause
            assert captures.claim() is None
            bench.clock.step(pause)
        last = captures.claim()
        assert last.attempt == MAX_ATTEMPTS
        assert captures.fail(last, error) is None
        row = bench.row()
        assert (row.state, row.error_code, row.error_message) == (
            State.FAILED,
            "page-timeout",
            "It took too long.",
        )
        assert (row.finished_at, row.lease_owner) == (bench.clock.now, None)

    @pytest.mark.parametrize(
        "error", [CaptureRefused("No."), CaptureError("A download.", code="download", lasting=True)]
    )
    def test_a_lasting_fault_is_not_tried_again(self, bench: Bench, error: CaptureError) -> None:
        bench.ask()
        captures = bench.captures()
        assert captures.fail(captures.claim(), error) is None
        assert (bench.row().state, bench.row().error_code) == (State.FAILED, error.code)

    def test_a_long_message_fits(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures()
        captures.fail(captures.claim(), CaptureRefused("\0\udcff" + "x" * 999))
        assert len(bench.row().error_message) == 300

    def test_giving_back_costs_no_attempt(self, bench: Bench) -> None:
        bench.ask()
        captures = bench.captures()
        captures.give_back(captures.claim())
        row = bench.row()
        assert (row.state, row.attempts, row.lease_owner, row.lease_until) == (State.QUEUED, 0, None, None)
        assert captures.claim().attempt == 1


class TestFaults:
    def test_a_full_storage_leaves_the_claim_to_be_failed(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.ask()
        captures = bench.captures()
        claim = captures.claim()
        full = Unavailable("The image storage is full.", code="storage-full")

        def put(path: str, data: bytes) -> None:
            raise full

        monkeypatch.setattr(bench.storage, "put", put)
        with pytest.raises(Unavailable):
            captures.finish(claim, make_capture(claim.request))
        assert bench.row().state == State.CAPTURING
        assert captures.fail(claim, full) == BACK_OFF[0]
        assert bench.row().state == State.QUEUED

    @pytest.mark.parametrize("end", ["finish", "fail", "give_back"])
    def test_when_the_database_is_gone_at_the_end_the_lease_ends_it(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        bench.ask()
        captures = bench.captures(timeout=30)
        claim = captures.claim()

        def begin() -> None:
            raise Unavailable("The database does not answer.", code="database-unavailable")

        with monkeypatch.context() as patch:
            patch.setattr(captures, "_sessions", type("Gone", (), {"begin": staticmethod(begin)}))
            ways = {
                "finish": lambda: captures.finish(claim, make_capture(claim.request)),
                "fail": lambda: captures.fail(claim, CaptureTimeout("Too long.")),
                "give_back": lambda: captures.give_back(claim),
            }
            with pytest.raises(Unavailable):
                ways[end]()
        bench.workers().beat("w1", 1, None)
        assert bench.workers().bury_dead() == 0
        bench.clock.step(30 + LEASE_MARGIN + 1)
        bench.workers().beat("w1", 1, None)
        assert bench.workers().bury_dead() == 1
        assert captures.claim().attempt == 2
