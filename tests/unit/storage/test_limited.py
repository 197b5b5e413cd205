"""Questions with a time limit."""

import threading
import time

import pytest

from linkpeek.errors import Unavailable
from linkpeek.storage.limited import TimeLimited


def test_an_answer_in_time_is_an_answer() -> None:
    asked: list[str] = []
    question = TimeLimited(lambda: asked.append(threading.current_thread().name), 10)

    question.ask()
    question.ask()

    assert asked == ["storage-check"] * 2


def test_an_error_is_handed_over() -> None:
    def fail() -> None:
        raise Unavailable("Full.", code="storage-full")

    question = TimeLimited(fail, 10)

    for _ in range(2):
        with pytest.raises(Unavailable, match="Full") as caught:
            question.ask()
        assert caught.value.code == "storage-full"


def test_while_one_hangs_no_other_is_asked() -> None:
    hang, asked = threading.Event(), []

    def wait() -> None:
        asked.append(1)
        hang.wait(60)

    question = TimeLimited(wait, 0.1)
    start = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            question.ask()
        assert caught.value.code == "storage-unavailable"
    assert time.monotonic() - start < 10
    assert asked == [1]

    hang.set()
    patient_until = time.monotonic() + 10
    while len(asked) < 2 and time.monotonic() < patient_until:
        try:
            question.ask()
        except Unavailable:
            continue
    assert asked == [1, 1]


def test_where_no_thread_can_be_had_the_next_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    question = TimeLimited(lambda: asked.append(1), 10)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for _ in range(2):
            with pytest.raises(Unavailable):
                question.ask()
    question.ask()
    assert asked == [1]


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
