"""The two look-ups of a request for a picture that is there, which nearly every request is.

They need neither a session nor a transaction: what a request has to write, or
to wait for, it does through the other services.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from linkpeek.data_version import DataVersion, Version
from linkpeek.db import utcnow
from linkpeek.geometry import Viewport
from linkpeek.models import ApiKey, Snapshot, State
from linkpeek.prepared import Connections, Prepared
from linkpeek.services.keys import Credentials
from linkpeek.services.snapshots import age

#: Look-ups whose rows are remembered for as long as nothing is written.
REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Ready:
    """A snapshot whose picture is there."""

    id: int
    token: str
    viewport: Viewport


class Lookups:
    """Finds keys and ready snapshots.

    :param ttl: seconds a snapshot is fresh.
    """

    def __init__(self, engine: Engine, *, ttl: int, now: Callable[[], datetime] = utcnow) -> None:
        apikey = sa.bindparam("apikey", type_=sa.String)
        newest = sa.select(sa.func.max(Snapshot.id)).where(
            Snapshot.key == sa.bindparam("key", type_=sa.String), Snapshot.state == State.READY
        )
        of_key = (ApiKey.id, ApiKey.encrypted_secret, ApiKey.md5_tokens, ApiKey.disabled_at)
        of_snapshot = (
            Snapshot.id,
            Snapshot.token,
            Snapshot.finished_at,
            Snapshot.viewport_width,
            Snapshot.viewport_height,
        )
        connections = Connections(engine)
        is_newest = Snapshot.id == newest.scalar_subquery()
        self._key = Prepared(connections, sa.select(*of_key).where(ApiKey.apikey == apikey))
        self._ready = Prepared(connections, sa.select(*of_snapshot).where(is_newest))
        self._both = Prepared(
            connections,
            sa.select(*of_key, *of_snapshot)
            .select_from(ApiKey)
            .outerjoin(Snapshot, is_newest)
            .where(ApiKey.apikey == apikey),
        )
        #: All there are, for whoever asks the database how it goes about them.
        self.prepared = (self._key, self._ready, self._both)
        self._version = DataVersion(connections)
        self._known: dict[tuple[str, str], tuple[Version, list[Any]]] = {}
        self._ttl = ttl
        self._now = now

    def credentials(self, apikey: str) -> Credentials | None:
        """Find an API key, disabled or not."""
        row = self._key.first(apikey=apikey)
        return Credentials(*row) if row else None

    def fresh(self, key: str, max_age: int | None) -> Ready | None:
        """Find the newest ready snapshot of a key, unless it is too old.

        :param max_age: the greatest age in seconds that will do; None: the service's own.
        """
        row = self._ready.first(key=key)
        return self._fresh(row, max_age) if row else None

    def credentials_and_fresh(
        self, apikey: str, key: str, max_age: int | None
    ) -> tuple[Credentials | None, Ready | None]:
        """Find both at once; from memory, where nothing was written since (see ``data_version``)."""
        row = self._row_of_both(apikey, key)
        if row is None:
            return None, None
        return Credentials(*row[:4]), self._fresh(row[4:], max_age)

    def _row_of_both(self, apikey: str, key: str) -> list[Any] | None:
        version = self._version.now()
        known = self._known.get((apikey, key))
        if known is not None and known[0] == version:
            return known[1]
        row = self._both.first(apikey=apikey, key=key)
        if version is not None and row is not None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[apikey, key] = version, row
        return row

    def _fresh(self, row: list[Any], max_age: int | None) -> Ready | None:
        snapshot_id, token, finished_at, width, height = row
        if snapshot_id is None:
            return None
        if age(finished_at, self._now()) > (self._ttl if max_age is None else max_age):
            return None
        return Ready(snapshot_id, token, Viewport(width, height))
