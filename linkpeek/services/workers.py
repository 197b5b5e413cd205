"""The workers that are alive: beats, and taking back what a dead one held."""

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import transaction, utcnow
from linkpeek.errors import Unavailable
from linkpeek.models import Snapshot, State, Worker
from linkpeek.services.captures import BACK_OFF, LEASE_MARGIN, MAX_ATTEMPTS
from linkpeek.settings import MAX_CAPTURE_TIMEOUT

#: Seconds between two beats, and after how many without one a worker counts as dead.
BEAT = 2
DEAD_AFTER = 15

#: No lease and no pause before a retry ends later than this, unless the clock was set back.
LONGEST_LEASE = timedelta(seconds=MAX_CAPTURE_TIMEOUT + 2 * LEASE_MARGIN)
LONGEST_PAUSE = timedelta(seconds=2 * max(BACK_OFF))


class WorkerService:
    """Keeps the list of workers.

    :param sessions: the database.
    """

    def __init__(self, sessions: sessionmaker[Session], now: Callable[[], datetime] = utcnow) -> None:
        self._sessions = sessions
        self._now = now

    def beat(self, worker_id: str, concurrency: int, browser_version: str | None) -> None:
        """Say that a worker of this process is alive, and what it is."""
        now = self._now()
        with transaction(self._sessions) as session:
            worker = session.get(Worker, worker_id)
            if worker is None:
                worker = Worker(id=worker_id, host=_here(), pid=os.getpid(), started_at=now)
                session.add(worker)
            worker.concurrency = concurrency
            worker.browser_version = browser_version
            worker.beat_at = now

    def leave(self, worker_id: str) -> None:
        """Take a worker that stops cleanly off the list."""
        with transaction(self._sessions) as session:
            session.execute(sa.delete(Worker).where(Worker.id == worker_id))

    def alive(self) -> list[Worker]:
        """Give the workers that beat lately."""
        with transaction(self._sessions) as session:
            now, lately = self._now(), timedelta(seconds=DEAD_AFTER)
            beat = sa.select(Worker).where(Worker.beat_at.between(now - lately, now + lately))
            return list(session.scalars(beat))

    def require_alive(self) -> None:
        """See whether a worker is alive.

        :raises Unavailable: ``no-worker``.
        """
        if not self.alive():
            raise Unavailable("No capture worker is running.", code="no-worker")

    def bury_dead(self) -> int:
        """Take back what dead workers held, and what outlived its lease.

        A worker is dead when it has not beaten for a while, or when it ran on
        this machine and its process is gone. What it worked on is queued again,
        or failed when that was its last attempt.

        :returns: how many snapshots were taken back.
        """
        now = self._now()
        with transaction(self._sessions) as session:
            workers = session.scalars(sa.select(Worker)).all()
            dead = [worker.id for worker in workers if self._is_dead(worker, now)]
            if dead:
                session.execute(sa.delete(Worker).where(Worker.id.in_(dead)))
            # Asked within the statements: a worker may have come since the list was read.
            living = sa.select(Worker.id)
            lost = sa.and_(
                Snapshot.state == State.CAPTURING,
                sa.or_(
                    Snapshot.lease_until < now,
                    Snapshot.lease_until > now + LONGEST_LEASE,
                    Snapshot.lease_owner.not_in(living),
                ),
            )
            released = {"lease_owner": None, "lease_until": None}
            failed = session.execute(
                sa.update(Snapshot)
                .where(lost, Snapshot.attempts >= MAX_ATTEMPTS)
                .values(
                    state=State.FAILED,
                    finished_at=now,
                    error_code="worker-lost",
                    error_message="The capture was interrupted again and again.",
                    **released,
                )
            )
            queued = session.execute(
                sa.update(Snapshot).where(lost).values(state=State.QUEUED, not_before=now, **released)
            )
            # After the clock was set back, what should start in seconds would start in an hour.
            session.execute(
                sa.update(Snapshot)
                .where(Snapshot.state == State.QUEUED, Snapshot.not_before > now + LONGEST_PAUSE)
                .values(not_before=now)
            )
            return failed.rowcount + queued.rowcount  # type: ignore[attr-defined, no-any-return]

    def _is_dead(self, worker: Worker, now: datetime) -> bool:
        # A beat from the future was made before the clock was set back; the living beat again at once.
        if abs(now - worker.beat_at) > timedelta(seconds=DEAD_AFTER):
            return True
        return worker.host == _here() and not _is_running(worker.pid)


@lru_cache
def _here() -> str:
    """Name the place where a process number means something: machine, boot and PID namespace.

    Cloned machines, and containers, may well share one host name.
    """
    name = socket.gethostname()[:200]
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{name} {boot[:8]}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return name


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
