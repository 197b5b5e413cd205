import threading

import pytest

from linkpeek.errors import Unavailable
from linkpeek.models import State
from linkpeek.services.waiting import LONGEST_PAUSE, WaitingRoom
from tests.unit.services.conftest import Bench


class Time:
    """A clock that only sleeping moves; something may happen at a moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.events: list[tuple[float, object]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()


@pytest.fixture
def time() -> Time:
    return Time()


def room(bench: Bench, time: Time, seats: int = 1, seconds: float = 20) -> WaitingRoom:
    return WaitingRoom(bench.sessions, seats, seconds, clock=time.clock, sleep=time.sleep)


def test_waits_until_the_capture_has_ended(bench: Bench, time: Time) -> None:
    pending = bench.ask().pending
    time.events = [
        (1, lambda: bench.change(state=State.CAPTURING)),
        (2, lambda: bench.change(state=State.READY)),
    ]
    assert room(bench, time).wait(pending.id, "A")
    assert 2 <= time.now < 2 + LONGEST_PAUSE
    assert max(time.pauses) <= LONGEST_PAUSE


def test_a_failure_is_an_end(bench: Bench, time: Time) -> None:
    pending = bench.ask().pending
    time.events = [(0.1, lambda: bench.change(state=State.FAILED))]
    assert room(bench, time).wait(pending.id, "A")


def test_no_longer_than_was_promised(bench: Bench, time: Time) -> None:
    pending = bench.ask().pending
    assert not room(bench, time, seconds=3).wait(pending.id, "A")
    assert time.now == pytest.approx(3)


def test_one_that_is_deleted_is_not_waited_for(bench: Bench, time: Time) -> None:
    assert room(bench, time).wait(999, "A")
    assert time.now == 0


def seated(bench: Bench, time: Time, seats: int, coming: str) -> str:
    """Let requests come, a letter for each one's requester, while those before wait; give who got a seat."""
    pending, rest, got, asking = bench.ask().pending, iter(coming), "", ""

    def come() -> None:
        nonlocal asking
        for requester in rest:
            asking = requester
            assert not waiting.wait(pending.id, requester)
            asking = ""

    def sleep(seconds: float) -> None:
        nonlocal got, asking
        got, asking = got + asking, ""
        come()
        time.now += seconds

    waiting = WaitingRoom(bench.sessions, seats, 1, clock=time.clock, sleep=sleep)
    come()
    first, rest, got = got, iter(coming), ""
    come()
    assert got == first, "all seats were given up"
    return first


@pytest.mark.parametrize(
    ("seats", "coming", "got"),
    [
        (0, "AB", ""),
        (1, "AAB", "A"),
        (2, "AAB", "AB"),
        (3, "AABBC", "ABC"),
        (4, "AAABBBC", "AABB"),
        (5, "AAABCCC", "AABCC"),
    ],
)
def test_nobody_takes_more_than_half_of_the_seats(
    bench: Bench, time: Time, seats: int, coming: str, got: str
) -> None:
    assert seated(bench, time, seats, coming) == got


@pytest.mark.parametrize("seats", [0, 1])
def test_who_has_no_seat_looks_once(bench: Bench, time: Time, seats: int) -> None:
    pending = bench.ask().pending
    waiting = room(bench, time, seats=seats)
    seated, leave = threading.Event(), threading.Event()
    if seats:
        sleeper = WaitingRoom(bench.sessions, 1, 60, sleep=lambda _: (seated.set(), leave.wait(30)))
        thread = threading.Thread(target=sleeper.wait, args=(pending.id, "A"))
        thread.start()
        assert seated.wait(30)
        waiting = sleeper
    assert not waiting.wait(pending.id, "A")
    bench.change(state=State.READY)
    assert waiting.wait(pending.id, "A")
    leave.set()
    if seats:
        thread.join(30)
        assert not thread.is_alive()


def test_a_seat_is_given_up_whatever_happens(
    bench: Bench, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = bench.ask().pending
    waiting = room(bench, time, seats=1, seconds=1)

    def look(snapshot_id: int) -> bool:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(waiting, "_active", look)
        for _ in range(3):
            with pytest.raises(Unavailable):
                waiting.wait(pending.id, "A")
    assert not waiting.wait(pending.id, "A")
    assert time.now == pytest.approx(1)
