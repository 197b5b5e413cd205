"""Putting a restored database in the place of what is there: at once or not at all.

SQLite: a new file is filled and then renamed. PostgreSQL: one transaction.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from linkpeek.backup.dump import Row, load
from linkpeek.backup.errors import ServiceExists
from linkpeek.backup.staging import place_file
from linkpeek.db import TROUBLES, Base, make_engine, sqlite_file, translated, utcnow
from linkpeek.errors import Unavailable
from linkpeek.migrations import upgrade_to
from linkpeek.models import ApiKey, Snapshot, Worker
from linkpeek.services.workers import DEAD_AFTER

Keep = Callable[[str, Row], bool]
#: What is done with the filled database before it takes its place.
Check = Callable[[Connection], None]

_RUNNING = "The service is running; stop it before it is restored."


def state_of(url: str) -> str:
    """Tell what is in a database: ``nothing`` (not even tables), ``empty`` or ``rows``.

    Whatever cannot be read, such as a damaged file, counts as rows: somebody may still want it.

    :raises Unavailable: ``database-unavailable``, when it does not answer.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return "nothing"
    engine = make_engine(url)
    with translated():
        try:
            with engine.connect() as connection:
                if not sa.inspect(connection).has_table(ApiKey.__tablename__):
                    return "nothing"
                tables = [table for table in (ApiKey, Snapshot) if _has_rows(connection, table.__tablename__)]
                return "rows" if tables else "empty"
        except sa.exc.DatabaseError as exc:
            if isinstance(exc, TROUBLES) and not _is_damage(exc.orig):
                raise
            return "rows"
        finally:
            engine.dispose()


def _has_rows(connection: Connection, table: str) -> bool:
    query = sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)
    return connection.scalar(query) is not None


def require_stopped(url: str) -> None:
    """See to it that no service uses this database.

    :raises ServiceExists: ``service-running``.
    """
    file = sqlite_file(url)
    if file is not None:
        _alone(file, "locking_mode=EXCLUSIVE")
        return
    engine = make_engine(url)
    try:
        with translated(), engine.connect() as connection:
            if sa.inspect(connection).has_table(Worker.__tablename__):
                since = utcnow() - timedelta(seconds=DEAD_AFTER)
                if connection.scalar(sa.select(sa.func.count()).where(Worker.beat_at >= since)):
                    raise ServiceExists(_RUNNING, code="service-running")
    finally:
        engine.dispose()


def _alone(file: Path, pragma: str) -> None:
    """Have SQLite do what it does only when nobody else has the file open.

    :raises ServiceExists: ``service-running``, when somebody has.
    """
    if not file.exists():
        return
    with contextlib.closing(sqlite3.connect(file, timeout=1)) as connection:
        try:
            connection.execute(f"PRAGMA {pragma}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as exc:
            # Nobody can be working with what is no database, or is damaged.
            if isinstance(exc, sqlite3.OperationalError) and not _is_damage(exc):
                raise ServiceExists(_RUNNING, code="service-running") from None


def _is_damage(error: BaseException | None) -> bool:
    """Whether SQLite does not understand a file that it can read, such as one of an unknown format."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


@contextlib.contextmanager
def replacing(
    url: str,
    folder: Path,
    revision: str,
    lines: BinaryIO,
    keep: Keep,
    check: Check,
    aside: Path | None = None,
) -> Iterator[dict[str, int]]:
    """Fill a database from a dump; it takes its place when the block ends well.

    :param folder: where a new SQLite file may be made.
    :param revision: the schema that the dump was made under; it is brought up to date.
    :param aside: another name under which a SQLite file that is there is kept.
    :returns: how many rows of each table there are.
    """
    if (file := sqlite_file(url)) is None:
        with _connected(url) as connection:
            Base.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
            yield _fill(connection, revision, lines, keep, check)
        return
    made = folder / "linkpeek.sqlite"
    with _connected(f"sqlite:///{made}") as connection:
        rows = _fill(connection, revision, lines, keep, check)
    yield rows
    file.parent.mkdir(parents=True, exist_ok=True)
    made.chmod(file.stat().st_mode & 0o770 if file.exists() else 0o640)  # as ``db.keep_private``
    # The old one's write-ahead log goes into it, lest it be taken for the new one's.
    _alone(file, "journal_mode=DELETE")
    if aside is not None:
        os.link(file, aside)
    # One that is still there is of a database that was moved away, or is too damaged to take it in.
    for ending in ("-wal", "-shm", "-journal"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    place_file(made, file)


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = make_engine(url)
    try:
        with translated(), _disk_errors(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Say so when SQLite's trouble is the disk."""
    try:
        yield
    except sa.exc.OperationalError as exc:
        for words, code in (("disk is full", "disk-full"), ("disk I/O error", "disk-unavailable")):
            if words in str(exc.orig):
                raise Unavailable(f"The database could not be written: {words}.", code=code) from exc
        raise


def _fill(connection: Connection, revision: str, lines: BinaryIO, keep: Keep, check: Check) -> dict[str, int]:
    upgrade_to(connection, revision)
    rows = load(connection, lines, keep)
    upgrade_to(connection)
    check(connection)
    return rows
