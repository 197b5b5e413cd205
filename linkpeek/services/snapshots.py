"""Snapshots from the asking side: what there is of a page, and asking for more.

Any number of requests for one target cause one capture: the database itself
allows only one active row for each key. A refresh runs beside the last good
snapshot and takes its place only when it succeeds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

import sqlalchemy as sa
from sqlalchemy.orm import Session

from linkpeek.db import insert_if_absent, translated, utcnow
from linkpeek.errors import LimitExceeded, LinkPeekError, NotFound, capture_failure
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import ACTIVE_STATES, Snapshot, State
from linkpeek.security import random_token
from linkpeek.services.limits import LimitService

#: For so long, in seconds, a failed capture is answered with its failure rather
#: than tried again, so that a page that is down does not cost a capture a request.
FAILURE_TTL = 30

#: Seconds that the clocks of two machines may differ by.
CLOCK_SLACK = 15

#: One caller may hold this part of the queue at most.
FAIR_SHARE = 0.5
#: And all who have no key this one: whoever has many addresses is many callers.
STRANGERS_SHARE = 0.75
#: What the name of a requester without a key starts with.
STRANGER = "address:"


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be captured: a canonical address, a viewport, and how far down."""

    uri: str
    viewport: Viewport
    extent: Extent

    @property
    def key(self) -> str:
        """The digest under which requests for the same thing meet."""
        text = f"{self.viewport} {self.extent} {self.uri}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a request found.

    :ivar ready: a snapshot that may be shown now, or None.
    :ivar fresh: whether ``ready`` is as new as was asked for.
    :ivar pending: a capture that is under way, or None.
    """

    ready: Snapshot | None
    fresh: bool
    pending: Snapshot | None


class SnapshotService:
    """Finds snapshots and asks for new ones.

    :param session: the session to work in; the caller commits.
    :param limits: counts new captures per requester.
    :param wake: called when a row was queued; must act only after the commit.
    :param ttl: seconds a snapshot is fresh.
    :param queue_limit: how many captures may be queued at once.
    """

    def __init__(
        self,
        session: Session,
        limits: LimitService,
        wake: Callable[[], None],
        *,
        ttl: int,
        queue_limit: int,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._session = session
        self._limits = limits
        self._wake = wake
        self._ttl = ttl
        self._queue_limit = queue_limit
        self._now = now

    def request(self, target: Target, *, max_age: int | None, requester: str) -> Ticket:
        """Find a snapshot that will do, and see to it that a capture is under way if not.

        :param max_age: the greatest age in seconds that will do. None: the
            service's own, and an older snapshot may be shown meanwhile.
        :param requester: who asks: ``key:ID`` or ``address:DIGEST``.
        :raises LimitExceeded: when nothing can be shown and nothing may be queued.
        :raises CaptureError: when nothing can be shown and the capture failed just now.
        """
        ready = self.latest(target.key, State.READY)
        if ready is not None and self._age(ready) <= (self._ttl if max_age is None else max_age):
            return Ticket(ready, True, None)
        shown = ready if max_age is None else None
        try:
            with translated():
                return Ticket(shown, False, self._pending(target, ready, requester))
        except LinkPeekError:
            if shown is None:
                raise
            return Ticket(shown, False, None)

    def latest(self, key: str, state: State) -> Snapshot | None:
        """Give the newest snapshot of a key that is in a state.

        One key has one active snapshot at a time, so they end in the order of
        their ids, also when the clock is set back between them.
        """
        return self._session.scalar(
            sa.select(Snapshot)
            .where(Snapshot.key == key, Snapshot.state == state)
            .order_by(Snapshot.id.desc())
            .limit(1)
        )

    def by_token(self, token: str) -> Snapshot:
        """Give a snapshot by its public name.

        :raises NotFound: when there is no such snapshot.
        """
        snapshot = self._session.scalar(sa.select(Snapshot).where(Snapshot.token == token))
        if snapshot is None:
            raise NotFound("There is no such snapshot.")
        return snapshot

    def finished(self, snapshot_id: int) -> Snapshot:
        """Give a snapshot that was waited for.

        :raises CaptureError: of the right kind, when it failed.
        :raises NotFound: when it was deleted meanwhile.
        """
        snapshot = self._session.get(Snapshot, snapshot_id)
        if snapshot is None:
            raise NotFound("There is no such snapshot.")
        if snapshot.state == State.FAILED:
            raise failure_of(snapshot)
        return snapshot

    def lost(self, snapshot_id: int) -> None:
        """Take a snapshot out of use whose picture is gone or garbage in the storage.

        Its end is set back, so that it does not count as a failure of the page
        and hold up the next capture.
        """
        self._lose(Snapshot.id == snapshot_id)

    def damaged(self, token: str) -> None:
        """Take a snapshot out of use one of whose pictures is garbage; see ``lost``."""
        self._lose(Snapshot.token == token)

    def _lose(self, which: sa.ColumnElement[bool]) -> None:
        self._session.execute(
            sa.update(Snapshot)
            .where(which, Snapshot.state == State.READY)
            .values(
                state=State.FAILED,
                error_code="picture-lost",
                error_message="The stored picture was lost.",
                finished_at=self._now() - timedelta(seconds=FAILURE_TTL),
            )
        )

    def _age(self, snapshot: Snapshot) -> float:
        return age(snapshot.finished_at or snapshot.requested_at, self._now())

    def _pending(self, target: Target, ready: Snapshot | None, requester: str) -> Snapshot:
        pending = self._active(target.key)
        if pending is not None:
            return pending
        self._raise_recent_failure(target.key, ready)
        self._check_queue(requester)
        self._limits.count(requester)
        return self._queue(target, requester)

    def _active(self, key: str) -> Snapshot | None:
        return self._session.scalar(
            sa.select(Snapshot).where(Snapshot.key == key, Snapshot.state.in_(ACTIVE_STATES))
        )

    def _raise_recent_failure(self, key: str, ready: Snapshot | None) -> None:
        failed = self.latest(key, State.FAILED)
        if failed is None or self._age(failed) >= FAILURE_TTL:
            return
        if ready is None or failed.id > ready.id:
            raise failure_of(failed)

    def _check_queue(self, requester: str) -> None:
        stranger = requester.startswith(STRANGER)
        if self._queued(Snapshot.requester == requester) >= max(1, self._queue_limit * FAIR_SHARE):
            raise LimitExceeded("You have too many captures queued.", retry_after=5, code="queue-share")
        strangers = Snapshot.requester.startswith(STRANGER)
        if self._queued() >= self._queue_limit or (
            stranger and self._queued(strangers) >= max(1, self._queue_limit * STRANGERS_SHARE)
        ):
            raise LimitExceeded("Too many captures are queued.", retry_after=5, code="queue-full")

    def _queued(self, *which: sa.ColumnElement[bool]) -> int:
        counted = sa.select(sa.func.count()).where(Snapshot.state == State.QUEUED, *which)
        return self._session.scalar(counted) or 0

    def _queue(self, target: Target, requester: str) -> Snapshot:
        now = self._now()
        values = {
            "token": random_token(),
            "key": target.key,
            "uri": target.uri,
            "viewport_width": target.viewport.width,
            "viewport_height": target.viewport.height,
            "extent": target.extent,
            "requester": requester,
            "state": State.QUEUED,
            "attempts": 0,
            "requested_at": now,
            "not_before": now,
            "truncated": False,
            "blank": False,
        }
        if insert_if_absent(self._session, Snapshot, values):
            self._wake()
        # Where another process was faster, its row is the one to wait for.
        snapshot = self._active(target.key)
        if snapshot is None:
            raise LimitExceeded("Please ask again.", retry_after=1, code="busy")
        return snapshot


def age(since: datetime, now: datetime) -> float:
    """Give how old something is, in seconds."""
    seconds = (now - since).total_seconds()
    # From the future: another machine's clock is a little ahead, or ours was set
    # back, and then nobody knows how old it is.
    return inf if seconds < -CLOCK_SLACK else max(0.0, seconds)


def failure_of(snapshot: Snapshot) -> LinkPeekError:
    """Give the error that a failed snapshot stands for."""
    return capture_failure(snapshot.error_code or "", snapshot.error_message or "")
