"""Whether anything was written to the database since somebody looked.

What was looked up is as good as new for as long as nobody has committed anything. SQLite tells:
``PRAGMA data_version`` gives a connection another number once another connection has committed.
(https://www.sqlite.org/pragma.html#pragma_data_version)
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import sqlalchemy as sa

from linkpeek.prepared import Connections

#: Seconds in which the database is asked no more than so many times: a process that has more to
#: answer sees what was committed so much later. Asking takes as long as the look-up that it saves.
SPAN, ASKS = 0.05, 8
QUESTION = "PRAGMA data_version"

#: Which connection said it, and the number it gave.
Version = tuple[int, int]


class DataVersion:
    """The version of what one database holds.

    :param connections: of the database.
    """

    def __init__(self, connections: Connections, *, clock: Callable[[], float] = monotonic) -> None:
        self._connections = connections
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sa.PoolProxiedConnection | None = None
        self._serial = 0
        self._version: Version | None = None
        self._since, self._asked = -SPAN, 0
        sa.event.listen(connections.engine, "engine_disposed", self._close)

    def now(self) -> Version | None:
        """Give what stays the same for as long as nothing is committed.

        Take it before the look-up: so what comes of that is at least as new.

        :returns: as it was no more than ``SPAN`` seconds ago; None where nobody can tell, or
            another thread is asking just now and may have to wait for the database.
        """
        if not self._connections.keeps:
            return None
        now = self._clock()
        # In this order, the opposite of that below: whoever sees the new span sees its own count.
        if now - self._since >= SPAN or self._asked < ASKS:
            if not self._lock.acquire(blocking=False):
                return None
            try:
                self._ask(now)
            finally:
                self._lock.release()
        return self._version

    def _ask(self, now: float) -> None:
        if now - self._since >= SPAN:
            self._asked = 0
            self._since = now
        if self._asked < ASKS:
            self._asked += 1
            try:
                self._version = self._read()
            except Exception:  # whoever then looks something up is told
                self._version = None
                self._drop()

    def _read(self) -> Version:
        if self._connection is not None and not self._connections.is_current(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = self._connections.take()
            self._serial += 1
        cursor = self._connection.cursor()
        cursor.execute(QUESTION)
        row = cursor.fetchone()
        cursor.close()
        if row is None:
            raise LookupError("this SQLite was built without a data version")
        return self._serial, row[0]

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                self._connections.drop(connection)

    def _close(self, engine: sa.Engine) -> None:
        with self._lock:
            self._drop()
            self._asked = 0
