import threading
import time

import pytest

from linkpeek.errors import Unavailable
from linkpeek.services.health import Check, HealthService


def fine() -> None:
    pass


def gone() -> None:
    raise Unavailable("The broker does not answer.", code="broker-unavailable")


def broken() -> None:
    raise KeyError("a secret")


def test_each_check_by_its_name_and_in_order() -> None:
    assert HealthService({"b": fine, "a": gone}).check() == [
        Check("b", None),
        Check("a", "The broker does not answer."),
    ]


def test_a_bug_in_a_check_is_a_problem_without_details() -> None:
    assert HealthService({"a": broken}).check() == [Check("a", "KeyError")]


def test_several_that_hang_take_one_time_limit() -> None:
    release = threading.Event()
    health = HealthService({"a": release.wait, "b": fine, "c": release.wait, "d": release.wait})
    started = time.monotonic()
    problems = {check.name: check.problem for check in health.check(0.3)}
    assert time.monotonic() - started < 2
    assert problems["b"] is None
    assert problems["a"] == problems["c"] == problems["d"] == "no answer within 0.3 seconds"
    release.set()


def test_what_hangs_costs_one_thread_however_often_it_is_asked_for() -> None:
    release, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        release.wait(30)

    health = HealthService({"a": hang})
    for _ in range(5):
        assert health.check(0.01)[0].problem is not None
    assert len(calls) == 1
    release.set()
    deadline = time.monotonic() + 30
    while health.check(5)[0].problem is not None and time.monotonic() < deadline:
        pass
    assert health.check(5)[0].problem is None


def test_a_part_that_comes_back_is_fine_again() -> None:
    answers = iter([False, True])

    def check() -> None:
        if not next(answers):
            gone()

    health = HealthService({"a": check}, good_for=0)
    assert health.check()[0].problem is not None
    assert health.check()[0].problem is None


def test_who_asks_again_and_again_does_not_cause_a_check_each_time() -> None:
    """A check writes to the disk, or to a bucket, and anyone may ask."""
    calls, now = [], [100.0]
    health = HealthService({"a": lambda: calls.append(1)}, good_for=1, clock=lambda: now[0])
    for _ in range(5):
        assert health.check()[0].problem is None
    assert len(calls) == 1
    now[0] += 1
    health.check()
    assert len(calls) == 2


def test_a_check_that_hangs_does_not_keep_the_process_from_ending() -> None:
    release = threading.Event()
    HealthService({"a": release.wait}).check(0.01)
    hanging = [thread for thread in threading.enumerate() if thread.name == "check-a"]
    assert hanging
    assert all(thread.daemon for thread in hanging)
    release.set()


def test_where_no_thread_can_be_had_the_next_check_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    health = HealthService({"a": fine}, good_for=0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert health.check() == [Check("a", "RuntimeError")]
    assert health.check() == [Check("a", None)]
