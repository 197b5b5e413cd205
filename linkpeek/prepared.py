"""Statements that are compiled once and run on the driver's own cursor.

For the few that nearly every request makes: of such a look-up's time SQLite
takes a tenth and SQLAlchemy's session the rest. They read, see only what was
committed, and hold a connection for no longer than they run.
"""

from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from linkpeek.db import file_identity, translated, unavailable

#: Connections to an SQLite file that are kept for the next look-up.
KEPT = 4


class Prepared:
    """One SELECT whose parameters are texts.

    :param connections: of the database that it is run on.
    :param statement: its columns come back in their order, as their types say.
    """

    def __init__(self, connections: "Connections", statement: sa.Select[*tuple[Any, ...]]) -> None:
        dialect = connections.engine.dialect
        compiled = statement.compile(dialect=dialect)
        self._connections = connections
        #: The statement as the driver gets it.
        self.sql = str(compiled)
        self._fixed = dict(compiled.params)
        self._order: list[str] | None = getattr(compiled, "positiontup", None)
        readers = [
            column.type.dialect_impl(dialect).result_processor(dialect, None)
            for column in statement.selected_columns
        ]
        self._readers = [(place, reader) for place, reader in enumerate(readers) if reader is not None]

    def parameters(self, **values: str) -> Any:
        """Give the values as the driver gets them."""
        given = {**self._fixed, **values}
        return given if self._order is None else tuple(given[name] for name in self._order)

    def first(self, **values: str) -> list[Any] | None:
        """Give the first row's values, or None when there is no row.

        :raises Unavailable: ``database-unavailable``.
        """
        connection = self._connections.take()
        try:
            cursor = connection.cursor()
            cursor.execute(self.sql, self.parameters(**values))
            found = cursor.fetchone()
            cursor.close()
        except BaseException as exc:
            self._connections.drop(connection)
            if isinstance(exc, self._connections.driver_error):
                raise unavailable() from exc
            raise
        self._connections.give(connection)
        if found is None:
            return None
        row = list(found)
        for place, reader in self._readers:
            row[place] = reader(row[place])
        return row


class Connections:
    """Connections for what reads one row and is done.

    Those to an SQLite file are kept in a stack of their own: the engine's pool, which has
    locks, takes longer than the look-up. All others come from the pool, which knows
    whether they still live.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.driver_error = engine.dialect.loaded_dbapi.Error
        #: Whether a connection is kept until it is closed, or the file replaced.
        self.keeps = engine.dialect.name == "sqlite"
        self._kept: list[sa.PoolProxiedConnection] = []
        sa.event.listen(engine, "engine_disposed", self._close)

    def take(self) -> sa.PoolProxiedConnection:
        """Lend a connection, to be given back or dropped.

        :raises Unavailable: ``database-unavailable``.
        """
        with suppress(IndexError):  # another thread may be faster
            while self._kept:
                connection = self._kept.pop()
                if self.is_current(connection):
                    return connection
                connection.close()
        try:
            with translated():
                connection = self.engine.raw_connection()
        except self.driver_error as exc:
            # A connection that cannot be made fails with the driver's own error here.
            raise unavailable() from exc
        if self.keeps:
            connection.detach()
        return connection

    def is_current(self, connection: sa.PoolProxiedConnection) -> bool:
        """Tell whether a connection that was kept is to the file that is there now."""
        path, identity = connection.info["file"]
        return bool(file_identity(path) == identity)

    def give(self, connection: sa.PoolProxiedConnection) -> None:
        """Take a connection back."""
        if self.keeps and len(self._kept) < KEPT:
            self._kept.append(connection)
        else:
            connection.close()

    def drop(self, connection: sa.PoolProxiedConnection) -> None:
        """Close a connection that may be of no use any more."""
        if not self.keeps:
            connection.invalidate()
        connection.close()

    def _close(self, engine: Engine) -> None:
        while self._kept:
            self._kept.pop().close()
