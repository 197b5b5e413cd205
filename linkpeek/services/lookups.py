"""The two look-ups of a request for a picture that is there, which nearly every request is.

They need neither a session nor a transaction: what a request has to write, or
to wait for, it does through the other services.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from linkpeek.db import utcnow
from linkpeek.geometry import Viewport
from linkpeek.models import ApiKey, Snapshot, State
from linkpeek.prepared import Prepared
from linkpeek.services.keys import Credentials
from linkpeek.services.snapshots import age


@dataclass(frozen=True, slots=True)
class Ready:
    """A snapshot whose picture is there."""

    id: int
    token: str
    finished_at: datetime
    viewport: Viewport


class Lookups:
    """Finds keys and ready snapshots.

    :param ttl: seconds a snapshot is fresh.
    """

    def __init__(self, engine: Engine, *, ttl: int, now: Callable[[], datetime] = utcnow) -> None:
        wanted = sa.bindparam("value", type_=sa.String)
        self._key = Prepared(
            engine,
            sa.select(ApiKey.id, ApiKey.encrypted_secret, ApiKey.md5_tokens, ApiKey.disabled_at).where(
                ApiKey.apikey == wanted
            ),
        )
        self._ready = Prepared(
            engine,
            sa.select(
                Snapshot.id,
                Snapshot.token,
                Snapshot.finished_at,
                Snapshot.viewport_width,
                Snapshot.viewport_height,
            )
            .where(Snapshot.key == wanted, Snapshot.state == State.READY)
            .order_by(Snapshot.id.desc())
            .limit(1),
        )
        self._ttl = ttl
        self._now = now

    def credentials(self, apikey: str) -> Credentials | None:
        """Find an API key, disabled or not."""
        row = self._key.first(apikey)
        return Credentials(*row) if row else None

    def fresh(self, key: str, max_age: int | None) -> Ready | None:
        """Find the newest ready snapshot of a key, unless it is too old.

        :param max_age: the greatest age in seconds that will do; None: the service's own.
        """
        row = self._ready.first(key)
        if row is None:
            return None
        snapshot_id, token, finished_at, width, height = row
        if age(finished_at, self._now()) > (self._ttl if max_age is None else max_age):
            return None
        return Ready(snapshot_id, token, finished_at, Viewport(width, height))
