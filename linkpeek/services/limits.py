"""Limits: how much one caller may ask for.

The counting is done by the ``limits`` library; its storage is the database, so
that all web processes, and all machines, count together.
"""

import time
from collections.abc import Callable
from math import ceil

from limits import RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from linkpeek.errors import LimitExceeded
from linkpeek.settings import Rate


class LimitService:
    """One kind of limit, counted per caller.

    :param storage: where the ``limits`` library keeps its counters.
    :param rate: how many in which time.
    :param namespace: sets this kind apart from others in the same storage.
    """

    def __init__(
        self, storage: Storage, rate: Rate, namespace: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._limiter = FixedWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(rate.amount, rate.seconds, namespace)
        self._clock = clock

    def check(self, caller: str) -> None:
        """Refuse a caller that has used up its limit, without counting this call.

        :raises LimitExceeded: ``rate-limited``.
        """
        if not self._limiter.test(self._item, caller):
            raise self._exceeded(caller)

    def count(self, caller: str) -> None:
        """Count one more for a caller.

        Who is over the limit already costs a look and no write: a flood of requests
        must not keep the database from those who have something to write.

        :raises LimitExceeded: ``rate-limited``, with the seconds until the window ends.
        """
        self.check(caller)
        if not self._limiter.hit(self._item, caller):
            raise self._exceeded(caller)

    def _exceeded(self, caller: str) -> LimitExceeded:
        reset = self._limiter.get_window_stats(self._item, caller).reset_time
        wait = min(self._item.get_expiry(), max(1, ceil(reset - self._clock())))
        return LimitExceeded(f"Too many requests; try again in {wait} seconds.", retry_after=wait)
