"""The sweep: takes back lost work, and deletes what is too old or too much.

It may run at any time, on any machine, as often as one likes; every step is
safe to be cut off and done again. Pictures go before their rows, so an
interruption leaves a row whose picture is gone, which the next sweep removes,
and never a picture that nobody knows of.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import inf

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.db import transaction, utcnow
from linkpeek.errors import Unavailable
from linkpeek.models import Snapshot, State
from linkpeek.services.renditions import PLACEHOLDER_TOKEN, master_path
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
        #: Snapshots of this sweep whose pictures cannot be deleted.
        self._stuck: set[str] = set()

    def sweep(self) -> Swept:
        """Do all of it once.

        :raises Unavailable: when the database or the storage does not answer.
        """
        taken_back = self._workers.bury_dead()
        self._purge_counters()
        self._stuck.clear()
        expired, freed = self._delete_expired()
        try:
            # What is nobody's goes before what is somebody's: it may already make enough room.
            strays = self._storage.sweep_temporary(STRAY_AFTER) + self._delete_strays()
            self._delete_placeholders()
        except Unavailable:
            with suppress(Unavailable):
                self._evict()
            raise
        evicted, freed_more = self._evict()
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
        too_much = self._too_much()
        while too_much > 0 and (batch := self._oldest(Snapshot.state == State.READY)):
            deleted, bytes_freed, is_alone = self._delete(batch, too_much)
            count, freed = count + deleted, freed + bytes_freed
            too_much = too_much - bytes_freed if is_alone else self._too_much()
        return count, freed

    def _too_much(self) -> int:
        return self._storage.usage() - self._max_bytes

    def _oldest(self, which: sa.ColumnElement[bool]) -> list[tuple[int, str]]:
        with transaction(self._sessions) as session:
            rows = session.execute(
                sa.select(Snapshot.id, Snapshot.token)
                .where(which, Snapshot.token.not_in(self._stuck))
                .order_by(Snapshot.finished_at, Snapshot.id)
                .limit(BATCH)
            )
            return [(row.id, row.token) for row in rows]

    def _delete(self, batch: list[tuple[int, str]], enough: float = inf) -> tuple[int, int, bool]:
        """Delete snapshots until so many bytes are freed.

        Where another sweep is met, which frees what is too much as well, the rest is left
        for when it has been measured anew.

        :returns: how many, the bytes, and False where another sweep deletes them too.
        :raises Unavailable: the storage does not work at all, or too many of it cannot be deleted.
        """
        freed, is_alone = 0, True
        gone: list[int] = []
        for row_id, token in batch:
            if freed >= enough or not (is_alone or self._is_empty(token)):
                break
            size = self._delete_pictures(token)
            if size is not None:
                freed, is_alone = freed + size, is_alone and size > 0
                gone.append(row_id)
        self._forget(gone)
        return len(gone), freed, is_alone

    def _is_empty(self, token: str) -> bool:
        return not self._storage.exists(master_path(token))

    def _delete_pictures(self, token: str) -> int | None:
        """Delete a snapshot's pictures and give their bytes.

        One whose pictures cannot be deleted (its folder is another user's) does not keep the others.

        :returns: None where they cannot be deleted.
        :raises Unavailable: see ``_delete``.
        """
        try:
            return self._storage.delete(snapshot_folder(token))
        except Unavailable as exc:
            self._storage.check()
            log.error("snapshot %s cannot be deleted: %s", token, exc.message)
            self._stuck.add(token)
            if len(self._stuck) > MOST_STUCK:
                raise
        return None

    def _forget(self, row_ids: list[int]) -> None:
        with transaction(self._sessions) as session:
            session.execute(sa.delete(Snapshot).where(Snapshot.id.in_(row_ids)))

    def _delete_strays(self) -> int:
        count = 0
        tokens = self._storage.tokens(STRAY_AFTER)
        while batch := set(islice(tokens, BATCH)):
            strays = batch - self._known(batch) - {PLACEHOLDER_TOKEN}
            count += sum(self._delete_pictures(token) is not None for token in strays - self._stuck)
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
