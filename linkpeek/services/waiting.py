"""Waiting for a capture, so many at a time and no longer than was promised.

A waiting request holds a thread of its web process. Only a bounded number may
wait at once; the others are told to come back, so that stored pictures are
always served at once.
"""

import threading
import time
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

    :param seats: how many requests may wait at once.
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
        self._seats = threading.BoundedSemaphore(seats) if seats else None
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep

    def wait(self, snapshot_id: int) -> bool:
        """Wait until a snapshot is ready or failed.

        :returns: False when it still is neither, or when all seats are taken.
        """
        with self._seat() as seated:
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
    def _seat(self) -> Iterator[bool]:
        if self._seats is None or not self._seats.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._seats.release()

    def _active(self, snapshot_id: int) -> bool:
        with transaction(self._sessions) as session:
            state = session.scalar(sa.select(Snapshot.state).where(Snapshot.id == snapshot_id))
        return state in ACTIVE_STATES
