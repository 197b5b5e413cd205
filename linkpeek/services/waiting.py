"""Waiting for a capture, so many at a time and no longer than was promised.

A waiting request holds a thread of its web process. Only a bounded number may
wait at once, and of one caller's no more than half as many; the others are told to
come back, so that stored pictures are always served at once.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import transaction
from linkpeek.models import ACTIVE_STATES, Snapshot

#: Seconds between two looks at the row. They grow with the wait, so that a look comes late by
#: some 3 % of it, and a process whose seats are all taken still makes few looks a second.
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.01, 0.25, 1.06


class WaitingRoom:
    """The seats of one web process in which requests may wait.

    :param seats: how many requests may wait at once; one requester has half of them, at least one.
    :param seconds: how long one may wait at most.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        seats: int,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sessions = sessions
        self._seats = seats
        self._share = max(1, seats // 2)
        self._taken: Counter[str] = Counter()
        self._taking = threading.Lock()
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep

    def wait(self, snapshot_id: int, requester: str) -> bool:
        """Wait until a snapshot is ready or failed.

        :param requester: who asks, as for ``SnapshotService.request``.
        :returns: False when it still is neither, also because there was no seat for this requester.
        """
        with self._seat(requester) as seated:
            deadline = self._clock() + (self._seconds if seated else 0)
            pause = FIRST_PAUSE
            while self._active(snapshot_id):
                left = deadline - self._clock()
                if left <= 0:
                    return False
                self._sleep(min(pause, left))
                pause = min(pause * GROWTH, LONGEST_PAUSE)
        return True

    @contextmanager
    def _seat(self, requester: str) -> Iterator[bool]:
        if not self._take(requester):
            yield False
            return
        try:
            yield True
        finally:
            with self._taking:
                self._taken -= Counter([requester])  # which forgets whom no seat is left

    def _take(self, requester: str) -> bool:
        with self._taking:
            if self._taken.total() >= self._seats or self._taken[requester] >= self._share:
                return False
            self._taken[requester] += 1
            return True

    def _active(self, snapshot_id: int) -> bool:
        with transaction(self._sessions) as session:
            state = session.scalar(sa.select(Snapshot.state).where(Snapshot.id == snapshot_id))
        return state in ACTIVE_STATES
