"""Statements that are compiled once and run on the driver's own cursor.

For the few that nearly every request makes: of such a look-up's time SQLite
takes a tenth and SQLAlchemy's session the rest. They read, see only what was
committed, and hold a connection for no longer than they run.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from linkpeek.db import translated, unavailable


class Prepared:
    """One SELECT whose parameters are texts.

    :param statement: its columns come back in their order, as their types say.
    """

    def __init__(self, engine: Engine, statement: sa.Select[*tuple[Any, ...]]) -> None:
        dialect = engine.dialect
        compiled = statement.compile(dialect=dialect)
        self._engine = engine
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
        connection = self._connect()
        try:
            cursor = connection.cursor()
            cursor.execute(self.sql, self.parameters(**values))
            found = cursor.fetchone()
            cursor.close()
        except self._engine.dialect.loaded_dbapi.Error as exc:
            connection.invalidate(exc)
            raise unavailable() from exc
        finally:
            connection.close()
        if found is None:
            return None
        row = list(found)
        for place, reader in self._readers:
            row[place] = reader(row[place])
        return row

    def _connect(self) -> sa.PoolProxiedConnection:
        try:
            with translated():
                return self._engine.raw_connection()
        except self._engine.dialect.loaded_dbapi.Error as exc:
            # A connection that cannot be made fails with the driver's own error here.
            raise unavailable() from exc
