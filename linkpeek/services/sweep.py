"""The sweep: takes back lost work, and deletes what is too old or too much.

It may run at any time, on any machine, as often as one likes; every step is
safe to be cut off and done again. Pictures go before their rows, so an
interruption leaves a row whose picture is gone, which the next sweep removes,
and never a picture that nobody knows of.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import inf

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import transaction, utcnow
from linkpeek.errors import Unavailable
from linkpeek.models import Snapshot, State
from linkpeek.services.renditions import PLACEHOLDER_TOKEN
from linkpeek.services.workers import WorkerService
from linkpeek.storage import Storage, snapshot_folder

log = logging.getLogger(__name__)

BATCH = 500
#: Snapshots that one sweep leaves because they cannot be deleted, before it gives up.
MOST_STUCK = 100
#: Seconds after which an unfinished or unknown file is certainly nobody's any more.
STRAY_AFTER = 3600
#: Placeholders that are kept, one for each size that anyone asked for; more are nobody's
#: honest use, and they are drawn again when they are needed.
MOST_PLACEHOLDERS = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    taken_back: int = 0
    expired: int = 0
    evicted: int = 0
    freed_bytes: int = 0
    strays: int = 0


class SweepService:
    """Sweeps one database and its storage.

    :param retention_days: how long finished snapshots are kept; 0 for as long as there is space.
    :param max_bytes: how much the storage may hold; 0 for no limit.
    :param purge_counters: removes limits' counters that have run out.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        storage: Storage,
        workers: WorkerService,
        *,
        retention_days: int,
        max_bytes: int,
        purge_counters: Callable[[], object],
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._workers = workers
        self._retention = timedelta(days=retention_days)
        self._max_bytes = max_bytes
        self._purge_counters = purge_counters
        self._now = now
        #: Rows of this sweep whose pictures cannot be deleted.
        self._stuck: set[int] = set()

    def sweep(self) -> Swept:
        """Do all of it once.

        :raises Unavailable: when the database or the storage does not answer.
        """
        taken_back = self._workers.bury_dead()
        self._purge_counters()
        self._stuck.clear()
        expired, freed = self._delete_expired()
        evicted, freed_more = self._evict()
        strays = self._storage.sweep_temporary(STRAY_AFTER) + self._delete_strays()
        self._delete_placeholders()
        return Swept(taken_back, expired, evicted, freed + freed_more, strays)

    def due(self) -> int:
        """Give how many captures could be claimed now."""
        with transaction(self._sessions) as session:
            due = sa.select(sa.func.count()).where(
                Snapshot.state == State.QUEUED, Snapshot.not_before <= self._now()
            )
            return session.scalar(due) or 0

    def _delete_expired(self) -> tuple[int, int]:
        if not self._retention:
            return 0, 0
        count = freed = 0
        # One state after the other: so an index has them in order, however many there are.
        for state in (State.FAILED, State.READY):
            old = sa.and_(Snapshot.state == state, Snapshot.finished_at < self._now() - self._retention)
            while batch := self._oldest(old):
                deleted, bytes_freed, _ = self._delete(batch)
                count, freed = count + deleted, freed + bytes_freed
        return count, freed

    def _evict(self) -> tuple[int, int]:
        if not self._max_bytes:
            return 0, 0
        count = freed = 0
        too_much = self._storage.usage() - self._max_bytes
        while too_much > 0 and (batch := self._oldest(Snapshot.state == State.READY)):
            deleted, bytes_freed, empty = self._delete(batch, too_much)
            count, freed = count + deleted, freed + bytes_freed
            # Where pictures were gone already, another sweep frees space too: what it freed counts.
            too_much = self._storage.usage() - self._max_bytes if empty else too_much - bytes_freed
        return count, freed

    def _oldest(self, which: sa.ColumnElement[bool]) -> list[tuple[int, str]]:
        with transaction(self._sessions) as session:
            rows = session.execute(
                sa.select(Snapshot.id, Snapshot.token)
                .where(which, Snapshot.id.not_in(self._stuck))
                .order_by(Snapshot.finished_at, Snapshot.id)
                .limit(BATCH)
            )
            return [(row.id, row.token) for row in rows]

    def _delete(self, batch: list[tuple[int, str]], enough: float = inf) -> tuple[int, int, int]:
        """Delete snapshots until so many bytes are freed; give how many, the bytes, and how many had none.

        One that cannot be deleted (its folder is another user's) does not keep the others.

        :raises Unavailable: the storage does not work at all, or too many of it cannot be deleted.
        """
        freed, empty, gone = 0, 0, []
        for row_id, token in batch:
            if freed >= enough:
                break
            try:
                size = self._storage.delete(snapshot_folder(token))
            except Unavailable as exc:
                self._storage.check()
                log.error("snapshot %s cannot be deleted: %s", token, exc.message)
                self._stuck.add(row_id)
                if len(self._stuck) > MOST_STUCK:
                    raise
            else:
                gone.append(row_id)
                freed, empty = freed + size, empty + (not size)
        self._forget(gone)
        return len(gone), freed, empty

    def _forget(self, row_ids: list[int]) -> None:
        with transaction(self._sessions) as session:
            session.execute(sa.delete(Snapshot).where(Snapshot.id.in_(row_ids)))

    def _delete_strays(self) -> int:
        count = 0
        tokens = self._storage.tokens(STRAY_AFTER)
        while batch := set(islice(tokens, BATCH)):
            strays = batch - self._known(batch) - {PLACEHOLDER_TOKEN}
            for token in strays:
                self._storage.delete(snapshot_folder(token))
            count += len(strays)
        return count

    def _delete_placeholders(self) -> None:
        folder = snapshot_folder(PLACEHOLDER_TOKEN)
        if len(self._storage.images(folder)) > MOST_PLACEHOLDERS:
            self._storage.delete(folder)

    def _known(self, tokens: set[str]) -> set[str]:
        """Give the snapshots that have pictures, or may get them: none that failed shows one."""
        known = sa.select(Snapshot.token).where(Snapshot.token.in_(tokens), Snapshot.state != State.FAILED)
        with transaction(self._sessions) as session:
            return set(session.scalars(known))
