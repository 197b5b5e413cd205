"""Counters for the ``limits`` library in our own database.

The library comes with storages for Redis, Memcached and MongoDB; this one lets
all web processes, and all machines, count together with nothing more to run. A
count is one upsert in a short transaction of its own, so none is lost however
many count at once, and a caller that is rolled back has still been counted.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from limits.storage import Storage
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine

from linkpeek.db import Base, translated
from linkpeek.errors import Unavailable


def rate_counter_table(metadata: sa.MetaData) -> sa.Table:
    """Give the counters' table, defined on this metadata.

    Times are seconds since the epoch. The key is a hash, so that whatever a
    caller sends, of any length and in any characters, is one.
    """
    return sa.Table(
        "rate_counter",
        metadata,
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False, index=True),
    )


RATE_COUNTER = rate_counter_table(Base.metadata)
_C = RATE_COUNTER.c


class DatabaseStorage(Storage):
    """A storage for the fixed window strategy of ``limits``.

    Do not count while a session of the same thread has uncommitted writes: SQLite
    has one writer at a time, and the two would wait for each other.

    :param engine: the database, SQLite 3.35 or later, or PostgreSQL.
    :param clock: gives the time in seconds since the epoch.
    """

    STORAGE_SCHEME = None

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._engine = engine
        self._clock = clock

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the other methods raise when the database does not answer."""
        return Unavailable

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and give the sum within the window.

        :param expiry: the length of a window that starts now, in seconds, if none is running.
        """
        now = self._clock()
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(RATE_COUNTER).values(
            key=_hashed(key), count=amount, started_at=now, expires_at=now + expiry
        )
        new, live = insert.excluded, _live(now)
        upsert = insert.on_conflict_do_update(
            index_elements=[_C.key],
            set_={
                "count": sa.case((live, _C.count + new.count), else_=new.count),
                "started_at": sa.case((live, _C.started_at), else_=new.started_at),
                "expires_at": sa.case((live, _C.expires_at), else_=new.expires_at),
            },
        ).returning(_C.count)
        with translated(), self._engine.begin() as connection:
            return int(connection.execute(upsert).scalar_one())

    def get(self, key: str) -> int:
        """Give the sum within the running window; 0 if there is none."""
        return int(self._running(_C.count, key) or 0)

    def get_expiry(self, key: str) -> float:
        """Give when the running window ends, in seconds since the epoch; now if there is none."""
        return float(self._running(_C.expires_at, key) or self._clock())

    def check(self) -> bool:
        """Tell whether the database answers, and has the table."""
        try:
            self.get("")
        except (Unavailable, sa.exc.SQLAlchemyError):
            return False
        return True

    def reset(self) -> int:
        """Forget all counts, and give how many keys had one."""
        return self._delete(sa.delete(RATE_COUNTER))

    def clear(self, key: str) -> None:
        """Forget the count of one key."""
        self._delete(sa.delete(RATE_COUNTER).where(_C.key == _hashed(key)))

    def purge(self) -> int:
        """Remove the counters whose window has ended, and give how many; for the sweep."""
        return self._delete(sa.delete(RATE_COUNTER).where(sa.not_(_live(self._clock()))))

    def _running(self, column: sa.ColumnElement[Any], key: str) -> Any:
        """Give a column of the key's row, None if its window is not running."""
        select = sa.select(column).where(_C.key == _hashed(key), _live(self._clock()))
        with translated(), self._engine.connect() as connection:
            return connection.execute(select).scalar_one_or_none()

    def _delete(self, delete: sa.Delete) -> int:
        with translated(), self._engine.begin() as connection:
            return connection.execute(delete).rowcount


def _hashed(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _live(now: float) -> sa.ColumnElement[bool]:
    """Tell whether a window is running.

    One that starts more than its own length in the future was written before the
    clock was set back; counting it would lock its caller out until that future.
    Less than that may be another machine's clock.
    """
    return sa.and_(_C.expires_at > now, 2 * _C.started_at - _C.expires_at <= now)
