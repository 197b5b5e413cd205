"""Asking something that may never answer, such as a network folder that hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from linkpeek.errors import Unavailable


class TimeLimited:
    """Runs one question at a time in a thread, and gives up waiting after a while.

    A system call that hangs cannot be interrupted, so its thread is left behind;
    until it returns, further questions are refused at once instead of piling up.
    """

    def __init__(self, question: Callable[[], None], seconds: float) -> None:
        self._question = question
        self._seconds = seconds
        self._busy = threading.Lock()

    def ask(self) -> None:
        """Ask, and wait for the answer no longer than the limit.

        :raises Unavailable: ``storage-unavailable`` after the time limit, or when an
            earlier question still hangs, or no thread can be had; and whatever error the
            question itself raises.
        """
        deadline = time.monotonic() + self._seconds
        if not self._busy.acquire(timeout=self._seconds):
            raise _no_answer()
        outcome: Future[None] = Future()
        try:
            threading.Thread(target=self._run, args=(outcome,), name="storage-check", daemon=True).start()
        except RuntimeError as exc:  # there are as many threads as there may be
            self._busy.release()
            raise _no_answer() from exc
        try:
            outcome.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise _no_answer() from None

    def _run(self, outcome: Future[None]) -> None:
        try:
            self._question()
        except BaseException as exc:  # handed over to the one who asked
            outcome.set_exception(exc)
        else:
            outcome.set_result(None)
        finally:
            self._busy.release()


def _no_answer() -> Unavailable:
    return Unavailable("The image storage does not answer.", code="storage-unavailable")
