"""Health: asks everything the service needs whether it is there, within a time limit."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from linkpeek.errors import LinkPeekError

log = logging.getLogger(__name__)

#: Seconds all checks together may take.
TIME_LIMIT = 5
#: Seconds for which a result is good for others who ask: a check writes to the disk, or to a
#: bucket, where each costs money, and anyone may ask as often as they like.
GOOD_FOR = 1


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``problem`` is None when all is well."""

    name: str
    problem: str | None


class HealthService:
    """Runs named checks side by side.

    Who asks while a check is under way, or just after, gets that one's result. So a check
    that hangs costs one thread, however often and by however many it is asked for.

    :param checks: by name, functions that raise when something is wrong.
    :param good_for: seconds from a check's start in which its result is given again.
    """

    def __init__(
        self,
        checks: dict[str, Callable[[], object]],
        good_for: float = GOOD_FOR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._good_for = good_for
        self._clock = clock
        self._started: dict[str, tuple[float, Future[object]]] = {}
        self._lock = threading.Lock()

    def check(self, time_limit: float = TIME_LIMIT) -> list[Check]:
        """Run all checks and give their results in order; never raises."""
        deadline = time.monotonic() + time_limit
        running = {name: self._start(name) for name in self._checks}
        return [Check(name, _problem(name, future, deadline, time_limit)) for name, future in running.items()]

    def _start(self, name: str) -> "Future[object]":
        with self._lock:
            now = self._clock()
            since, future = self._started.get(name, (now, None))
            if future is None or (future.done() and now - since >= self._good_for):
                future = Future()
                self._started[name] = now, future
                # A daemon, so that a process can end while a check hangs.
                thread = threading.Thread(
                    target=_run, args=(self._checks[name], future), name=f"check-{name}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as exc:  # there are as many threads as there may be
                    future.set_exception(exc)
            return future


def _run(check: Callable[[], object], future: "Future[object]") -> None:
    try:
        future.set_result(check())
    except BaseException as exc:
        future.set_exception(exc)


def _problem(name: str, future: "Future[object]", deadline: float, time_limit: float) -> str | None:
    try:
        future.result(timeout=max(0.0, deadline - time.monotonic()))
    except LinkPeekError as exc:
        return exc.message
    except Exception as exc:
        if not future.done():
            return f"no answer within {time_limit:g} seconds"
        log.error("the check of %s failed", name, exc_info=exc)
        return type(exc).__name__
    return None
