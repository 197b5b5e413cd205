"""The database as lines of JSON: one view of it, whatever goes on, and any database takes it in.

A line ``{"table": ..., "columns": [...]}`` is followed by one line for each row.
What belongs to running processes only (workers, counters of limits) stays out.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from linkpeek.backup.errors import BadBackup
from linkpeek.db import TROUBLES, Base, translated
from linkpeek.models import ACTIVE_STATES, Snapshot, State, Worker
from linkpeek.ratelimit_storage import RATE_COUNTER

LEFT_OUT = frozenset({Worker.__tablename__, RATE_COUNTER.name})
_BATCH = 1000

Row = dict[str, Any]


@contextmanager
def one_view(engine: Engine) -> Iterator[Connection]:
    """Give a connection that sees the database as it is now, whatever others commit meanwhile."""
    with translated(), engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Python's driver begins a transaction only before it writes.
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def dump(connection: Connection, out: BinaryIO) -> dict[str, int]:
    """Write all rows, and give how many there are of each table."""
    return {table.name: _dump_table(connection, table, out) for table in _tables()}


def ready_tokens(connection: Connection) -> Iterator[str]:
    """Give the tokens of the snapshots that have pictures, in the order of their characters' numbers."""
    order: sa.ColumnElement[str] = Snapshot.token.expression
    if connection.dialect.name == "postgresql":
        # Else its locale's: in Danish "aa" comes last, as one letter.
        order = sa.collate(order, "C")
    query = sa.select(Snapshot.token).where(Snapshot.state == State.READY).order_by(order)
    yield from connection.execution_options(yield_per=_BATCH).scalars(query)


def load(connection: Connection, lines: BinaryIO, keep: Callable[[str, Row], bool]) -> dict[str, int]:
    """Insert the rows of a dump into the tables of the schema that it was made under.

    :param keep: told the table and the row, which it may change, says whether it is inserted.
    :returns: how many rows of each table were inserted.
    :raises BadBackup: for what no dump holds.
    """
    try:
        counts = {name: _load(connection, name, rows, keep) for name, rows in _parse(lines)}
    except TROUBLES:
        raise
    except (ValueError, KeyError, TypeError, sa.exc.StatementError) as exc:
        raise BadBackup("The backup's database does not fit its schema.") from exc
    if connection.dialect.name == "postgresql":
        _set_sequences(connection, counts)
    return counts


def settled(row: Row) -> Row:
    """Queue a snapshot again that was under way: nobody is at it any more."""
    if row["state"] in ACTIVE_STATES:
        row |= {"state": State.QUEUED, "attempts": 0, "lease_owner": None, "lease_until": None}
    return row


def _tables() -> list[sa.Table]:
    return [table for table in Base.metadata.sorted_tables if table.name not in LEFT_OUT]


def _dump_table(connection: Connection, table: sa.Table, out: BinaryIO) -> int:
    _write_line(out, {"table": table.name, "columns": [column.name for column in table.columns]})
    query = sa.select(table).order_by(*table.primary_key)
    count = 0
    for row in connection.execution_options(yield_per=_BATCH).execute(query):
        _write_line(out, [_plain(value) for value in row])
        count += 1
    return count


def _write_line(out: BinaryIO, value: object) -> None:
    out.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")


def _plain(value: Any) -> Any:
    """Give what JSON can say of a value: bytes as base64, times as UTC without a zone."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return value


def _parse(lines: Iterable[bytes]) -> Iterator[tuple[str, Iterator[Row]]]:
    """Give each table's name and rows; the rows are to be used up before the next table."""
    values = map(json.loads, lines)
    head = next(values, None)
    while head is not None:
        following: list[Any] = []
        yield head["table"], _rows(head["columns"], values, following)
        head = following[0] if following else None


def _rows(columns: list[str], values: Iterator[Any], following: list[Any]) -> Iterator[Row]:
    for value in values:
        if isinstance(value, dict):
            following.append(value)
            return
        yield dict(zip(columns, value, strict=True))


def _load(connection: Connection, name: str, rows: Iterator[Row], keep: Callable[[str, Row], bool]) -> int:
    if name not in {table.name for table in _tables()}:
        raise KeyError(name)
    table = sa.Table(name, sa.MetaData(), autoload_with=connection)
    readers = {column.name: _reader(column.type) for column in table.columns}
    wanted = (row for row in rows if keep(name, row))
    count = 0
    while batch := list(islice(wanted, _BATCH)):
        connection.execute(
            sa.insert(table),
            [{column: readers[column](value) for column, value in row.items()} for row in batch],
        )
        count += len(batch)
    return count


def _reader(kind: sa.types.TypeEngine[Any]) -> Callable[[Any], Any]:
    """Give what turns JSON's value back into the column's."""
    if isinstance(kind, sa.LargeBinary):
        return lambda value: None if value is None else base64.b64decode(value)
    if isinstance(kind, sa.DateTime):
        return lambda value: None if value is None else datetime.fromisoformat(value)
    if isinstance(kind, sa.JSON):
        kind.none_as_null = True
    return lambda value: value


def _set_sequences(connection: Connection, tables: Iterable[str]) -> None:
    """Have PostgreSQL number new rows after the inserted ones."""
    for name in tables:
        table = Base.metadata.tables[name]
        if "id" in table.columns:
            next_id = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, next_id, sa.false())))
