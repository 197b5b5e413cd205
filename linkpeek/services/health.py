"""Health: asks everything the service needs whether it is there, within a time limit."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from linkpeek.errors import LinkPeekError

log = logging.getLogger(__name__)

#: Seconds one check may take.
TIME_LIMIT = 5


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``problem`` is None when all is well."""

    name: str
    problem: str | None


class HealthService:
    """Runs named checks side by side.

    :param checks: by name, functions that raise when something is wrong.
    """

    def __init__(self, checks: dict[str, Callable[[], object]]) -> None:
        self._checks = checks

    def check(self, time_limit: float = TIME_LIMIT) -> list[Check]:
        """Run all checks and give their results in order; never raises."""
        pool = ThreadPoolExecutor(max_workers=max(1, len(self._checks)))
        running = {name: pool.submit(check) for name, check in self._checks.items()}
        results = [Check(name, _problem(name, future, time_limit)) for name, future in running.items()]
        pool.shutdown(wait=False, cancel_futures=True)
        return results


def _problem(name: str, future: "Future[object]", time_limit: float) -> str | None:
    try:
        future.result(timeout=time_limit)
    except TimeoutError:
        return f"no answer within {time_limit:g} seconds"
    except LinkPeekError as exc:
        return exc.message
    except Exception as exc:
        log.exception("the check of %s failed", name)
        return type(exc).__name__
    return None
