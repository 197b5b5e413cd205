"""What is remembered: API keys, snapshots and the workers that make them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from linkpeek.db import Base, UtcDateTime
from linkpeek.geometry import Extent, Viewport

MAX_URI_LENGTH = 2048


class State(StrEnum):
    """Where a snapshot is on its way."""

    QUEUED = "queued"
    CAPTURING = "capturing"
    READY = "ready"
    FAILED = "failed"


ACTIVE_STATES = (State.QUEUED, State.CAPTURING)


class ApiKey(Base):
    """A client of API v1: a public key and a shared secret, kept encrypted."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(primary_key=True)
    apikey: Mapped[str] = mapped_column(sa.String(128), unique=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    encrypted_secret: Mapped[bytes] = mapped_column(sa.LargeBinary)
    md5_tokens: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Snapshot(Base):
    """One capture of one page, from the request for it to its picture.

    The row is the truth about a capture. Among all rows of one ``key`` at most
    one is active (queued or capturing): that is what makes any number of
    requests cause one capture. A refresh is a new row, so a failed one never
    replaces the last good picture.
    """

    __tablename__ = "snapshot"

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    #: Unguessable; names the snapshot in public URLs and is its folder in the storage.
    token: Mapped[str] = mapped_column(sa.String(32), unique=True)
    #: Digest of address, viewport and extent.
    key: Mapped[str] = mapped_column(sa.String(32))
    uri: Mapped[str] = mapped_column(sa.String(MAX_URI_LENGTH))
    viewport_width: Mapped[int]
    viewport_height: Mapped[int]
    extent: Mapped[str] = mapped_column(sa.String(8))
    #: Who asked first, for fairness and limits: ``key:ID`` or ``address:DIGEST``.
    requester: Mapped[str] = mapped_column(sa.String(64))

    state: Mapped[str] = mapped_column(sa.String(10), default=State.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: A retry waits until then.
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_owner: Mapped[str | None] = mapped_column(sa.String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    error_code: Mapped[str | None] = mapped_column(sa.String(40))
    error_message: Mapped[str | None] = mapped_column(sa.String(300))

    final_uri: Mapped[str | None] = mapped_column(sa.Text)
    status_code: Mapped[int | None]
    title: Mapped[str | None] = mapped_column(sa.Text)
    width: Mapped[int | None]
    height: Mapped[int | None]
    #: Bytes in the storage, all renditions made by the worker included.
    stored_bytes: Mapped[int | None]
    #: Seconds from claim to stored picture.
    duration: Mapped[float | None]
    browser_version: Mapped[str | None] = mapped_column(sa.String(100))
    truncated: Mapped[bool] = mapped_column(default=False)
    blank: Mapped[bool] = mapped_column(default=False)
    #: Seconds spent in each step of the capture, by its name.
    timings: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)

    __table_args__ = (
        sa.Index(
            "uq_snapshot_active_key",
            "key",
            unique=True,
            sqlite_where=sa.text("state IN ('queued', 'capturing')"),
            postgresql_where=sa.text("state IN ('queued', 'capturing')"),
        ),
        sa.Index("ix_snapshot_key_state_id", "key", "state", "id"),
        sa.Index("ix_snapshot_state_not_before", "state", "not_before"),
        sa.Index("ix_snapshot_state_finished_at", "state", "finished_at"),
        sa.Index("ix_snapshot_requester_started_at", "requester", "started_at"),
    )

    @property
    def viewport(self) -> Viewport:
        """The window the page was laid out in."""
        return Viewport(self.viewport_width, self.viewport_height)

    @property
    def reach(self) -> Extent:
        """How far down the capture goes."""
        return Extent(self.extent)


class Worker(Base):
    """A capture worker that is alive, or was until its last beat."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    #: Host name, and after a space what tells apart machines of one name.
    host: Mapped[str] = mapped_column(sa.String(255))
    pid: Mapped[int]
    concurrency: Mapped[int]
    browser_version: Mapped[str | None] = mapped_column(sa.String(100))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
