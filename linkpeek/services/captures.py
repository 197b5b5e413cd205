"""Snapshots from the working side: claiming, finishing, failing, giving back.

A worker holds a snapshot under a lease. Whatever it does afterwards is done
only if the lease is still its own, so a worker that was thought dead cannot
overwrite what another one did meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from linkpeek.capture.model import Capture, CaptureRequest
from linkpeek.db import transaction, utcnow
from linkpeek.errors import CaptureError, LinkPeekError
from linkpeek.models import Snapshot, State
from linkpeek.services.renditions import master_path
from linkpeek.storage import Storage, snapshot_folder

#: How often a capture is tried in all before a passing fault counts as lasting.
MAX_ATTEMPTS = 3
#: Seconds before the second and the third attempt.
BACK_OFF = (1, 4)
#: Seconds that a lease lasts beyond the time a capture may take: for storing, in which S3 may try
#: three times for some 18 seconds (``storage.s3``), and for recording that. It counts only where a worker
#: lives and cannot tell how it went: what dead workers held is taken back long before.
LEASE_MARGIN = 75
#: Characters of a title or a final address that are kept.
LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Claim:
    """A snapshot that this worker may work on."""

    snapshot_id: int
    token: str
    attempt: int
    request: CaptureRequest
    #: Seconds that it was queued, until a worker looked for it.
    queued: float
    #: Seconds that it took to claim it.
    took: float = 0.0


class CaptureService:
    """What a worker does with the queue of snapshots.

    :param worker_id: the worker's own name in leases.
    :param capture_timeout: seconds one capture may take.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        storage: Storage,
        worker_id: str,
        capture_timeout: float,
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._worker_id = worker_id
        self._timeout = capture_timeout
        self._now = now

    def claim(self) -> Claim | None:
        """Take the next snapshot under a lease; None when there is nothing to do.

        Whoever asked for captures is served in turn: first the one whose last
        capture began longest ago, so a long queue of one does not hold up another.
        """
        while True:
            looked, since = self._now(), time.monotonic()
            with transaction(self._sessions) as session:
                snapshot_id = session.scalar(_next(self._now()))
                if snapshot_id is None:
                    return None
                claim = self._take(session, snapshot_id, looked)
            if claim is not None:
                return replace(claim, took=time.monotonic() - since)

    def _take(self, session: Session, snapshot_id: int, looked: datetime) -> Claim | None:
        now = self._now()
        taken = session.execute(
            sa.update(Snapshot)
            .where(Snapshot.id == snapshot_id, Snapshot.state == State.QUEUED)
            .values(
                state=State.CAPTURING,
                attempts=Snapshot.attempts + 1,
                started_at=now,
                lease_owner=self._worker_id,
                lease_until=now + timedelta(seconds=self._timeout + LEASE_MARGIN),
            )
        )
        if not taken.rowcount:  # type: ignore[attr-defined]
            return None
        snapshot = session.get_one(Snapshot, snapshot_id)
        request = CaptureRequest(snapshot.uri, snapshot.viewport, snapshot.reach, self._timeout)
        queued = max(0.0, (looked - snapshot.requested_at).total_seconds())
        return Claim(snapshot.id, snapshot.token, snapshot.attempts, request, queued)

    def finish(self, claim: Claim, capture: Capture) -> bool:
        """Store a capture's picture and make its snapshot ready.

        The row turns ready only after the picture is safely stored.

        :returns: False when the lease was lost meanwhile and another worker has it.
        :raises Unavailable: when the storage or the database cannot take it.
        """
        since = time.monotonic()
        if not self._holds(claim):
            return False  # the picture in its place may be another worker's, and already shown
        self._storage.put(master_path(claim.token), capture.image)
        steps = {**capture.timings, "store": time.monotonic() - since}
        now = self._now()
        return self._update(
            claim,
            state=State.READY,
            finished_at=now,
            lease_owner=None,
            lease_until=None,
            error_code=None,
            error_message=None,
            final_uri=_storable(capture.final_uri, LONGEST_TEXT),
            status_code=capture.status,
            title=_storable(capture.title, LONGEST_TEXT),
            width=capture.width,
            height=capture.height,
            stored_bytes=len(capture.image),
            duration=sum(steps.values()),
            browser_version=_storable(capture.browser_version, 100),
            truncated=capture.truncated,
            blank=capture.blank,
            timings={
                name: round(seconds, 4)
                for name, seconds in {"queue": claim.queued, "claim": claim.took, **steps}.items()
            },
        )

    def fail(self, claim: Claim, error: LinkPeekError) -> float | None:
        """Record a failure: queue the snapshot again when the fault may pass, else fail it.

        :returns: the seconds until the next attempt; None when there is none.
        """
        lasting = isinstance(error, CaptureError) and error.lasting
        if lasting or claim.attempt >= MAX_ATTEMPTS:
            failed = self._update(
                claim,
                state=State.FAILED,
                finished_at=self._now(),
                lease_owner=None,
                lease_until=None,
                error_code=error.code,
                error_message=_storable(error.message, 300),
            )
            if failed:  # else the picture there is that of the worker who has it now
                self._storage.delete(snapshot_folder(claim.token))
            return None
        delay = BACK_OFF[min(claim.attempt, len(BACK_OFF)) - 1]
        self._update(
            claim,
            state=State.QUEUED,
            not_before=self._now() + timedelta(seconds=delay),
            lease_owner=None,
            lease_until=None,
        )
        return delay

    def give_back(self, claim: Claim) -> None:
        """Queue a snapshot again as if it had not been claimed: the worker has to stop."""
        self._update(
            claim,
            state=State.QUEUED,
            attempts=max(0, claim.attempt - 1),
            lease_owner=None,
            lease_until=None,
        )

    def _holds(self, claim: Claim) -> bool:
        with transaction(self._sessions) as session:
            return session.scalar(sa.select(Snapshot.id).where(self._held(claim))) is not None

    def _update(self, claim: Claim, **values: Any) -> bool:
        with transaction(self._sessions) as session:
            done = session.execute(sa.update(Snapshot).where(self._held(claim)).values(values))
            return bool(done.rowcount)  # type: ignore[attr-defined]

    def _held(self, claim: Claim) -> sa.ColumnElement[bool]:
        """Tell a snapshot that is still ours to end."""
        return sa.and_(
            Snapshot.id == claim.snapshot_id,
            Snapshot.state == State.CAPTURING,
            Snapshot.lease_owner == self._worker_id,
            Snapshot.attempts == claim.attempt,
        )


def _next(now: datetime) -> sa.Select[int]:
    """Select the oldest queued snapshot of the requester who waited longest for a turn."""
    waiting = (
        sa.select(Snapshot.requester, sa.func.min(Snapshot.id).label("id"))
        .where(Snapshot.state == State.QUEUED, Snapshot.not_before <= now)
        .group_by(Snapshot.requester)
        .subquery()
    )
    last_turn = (
        sa.select(sa.func.max(Snapshot.started_at))
        # One from before the clock was set back would stay the last for that long.
        .where(Snapshot.requester == waiting.c.requester, Snapshot.started_at <= now)
        .scalar_subquery()
    )
    return sa.select(waiting.c.id).order_by(last_turn.asc().nulls_first(), waiting.c.id).limit(1)


def _storable(text: str, longest: int) -> str:
    """Give what every database takes of a page's text: valid UTF-8 without NUL, and not too long."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:longest]
