"""The database: one engine a process, short transactions.

SQLite is the embedded default and PostgreSQL serves many machines. Making an
engine opens no connection, so the web application can be loaded before uWSGI
forks.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from linkpeek.errors import ConfigurationError, Unavailable

#: Alembic can only alter constraints that have a name; see its "naming" chapter.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: How long anything waits for the database, in seconds: a writer for SQLite's one write
#: lock or PostgreSQL's row, a thread for a connection of the pool, a connection to be made.
BUSY_TIMEOUT = 5
#: Connections of one pool: no more than PostgreSQL's default of 100 for four web
#: processes with two pools each, and a worker.
POOL = {"pool_size": 5, "max_overflow": 5, "pool_timeout": BUSY_TIMEOUT}


class Base(DeclarativeBase):
    """The base of all models."""

    metadata = sa.MetaData(naming_convention=NAMING)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time, aware and in UTC on the Python side, whatever the database keeps."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store an aware datetime as naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware datetime."""
        return None if value is None else value.replace(tzinfo=UTC)


def utcnow() -> datetime:
    """Give the current time, aware, in UTC."""
    return datetime.now(UTC)


def make_engine(url: str) -> Engine:
    """Make the engine for a database URL without opening a connection.

    :raises ConfigurationError: when the URL is none, or its driver is not installed, or it is SQLite's
        without a path: a database in memory would be each process's own, and those who look after the
        file (``sqlite_file``) would not find one that is named by a URI.
    """
    try:
        parsed = sa.make_url(url)
        if not _names_file(parsed):
            raise ConfigurationError(
                "sqlalchemy.url must name SQLite's file by its path, as sqlite:////path/to/file does"
            )
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(
                parsed, pool_pre_ping=True, connect_args=_patience(parsed), hide_parameters=True, **POOL
            )
        engine = sa.create_engine(
            parsed, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True, **POOL
        )
    except ImportError as exc:
        raise ConfigurationError(f"sqlalchemy.url needs a driver that is not installed: {exc.name}") from None
    except (sa.exc.ArgumentError, ValueError):  # a URL may hold a password, so it is not repeated here
        raise ConfigurationError("sqlalchemy.url is not the URL of a database that can be used") from None
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "checkout", _require_same_file)
    return engine


def _names_file(url: sa.URL) -> bool:
    """Whether a URL names the file of its database, if it is SQLite's (https://www.sqlite.org/uri.html)."""
    if url.get_backend_name() != "sqlite":
        return True
    name = url.database or ":memory:"
    return name != ":memory:" and not name.startswith("file:") and not {"uri", "mode"} & url.query.keys()


def _patience(url: sa.URL) -> dict[str, Any]:
    """Give libpq's settings that bound every wait for a server; see its "Parameter Key Words"."""
    patience: dict[str, Any] = {"connect_timeout": BUSY_TIMEOUT, "tcp_user_timeout": 2000 * BUSY_TIMEOUT}
    # What was sent is known to have arrived; so whether the server still lives has to be asked.
    patience |= {"keepalives_idle": BUSY_TIMEOUT, "keepalives_interval": 2, "keepalives_count": 3}
    if "options" not in url.query:
        patience["options"] = f"-c lock_timeout={BUSY_TIMEOUT}s"
    return {name: value for name, value in patience.items() if name not in url.query}


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # WAL lets readers go on while one process writes; FULL makes a commit
    # survive a power cut, and the service commits only a few times a capture.
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    (_, _, path), *_ = cursor.execute("PRAGMA database_list")
    cursor.close()
    record.info["file"] = path, file_identity(path)


def _require_same_file(connection: Any, record: Any, proxy: object) -> None:
    # A connection goes on writing into a file that was deleted or replaced,
    # where nobody would ever find it again.
    path, identity = record.info["file"]
    if file_identity(path) != identity:
        raise sa.exc.DisconnectionError("the database file was replaced")


def file_identity(path: str) -> tuple[int, int] | None:
    """Give what tells a file from another one that takes its place; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def require_writable_folder(engine: Engine) -> None:
    """See to it that SQLite can keep its files; other databases are on their own.

    :raises ConfigurationError: the folder is read-only, or another user's.
    """
    file = sqlite_file(engine.url)
    if file is not None and file.parent.is_dir() and not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the database's folder {file.parent} cannot be written to: it is read-only, or another user's"
        )


def keep_private(engine: Engine) -> None:
    """See to it that strangers on the machine cannot read SQLite's file, which is made where there is none.

    SQLite gives its logs the same mode. The group may still be one that shares the file.

    :raises OSError: the file cannot be made.
    """
    file = sqlite_file(engine.url)
    if file is None or not file.parent.is_dir():
        return
    with suppress(FileExistsError):  # not opened then: to close it would give up SQLite's locks (fcntl(2))
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o660))
    for name in (file, f"{file}-wal", f"{file}-shm"):
        with suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(name).st_mode)
            if mode & 0o007:
                os.chmod(name, mode & ~0o007)


def sqlite_file(url: str | sa.URL) -> Path | None:
    """Give the file of a SQLite database; None for a server's."""
    parsed = sa.make_url(url)
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    return Path(file).absolute() if file else None


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Make the session factory of an engine."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Run a block in one transaction of its own.

    :raises Unavailable: ``database-unavailable`` when the database does not answer.
    """
    with translated(), sessions.begin() as session:
        yield session


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database that is locked, full, read-only or gone into the service's own error.

    :raises Unavailable: ``database-unavailable``.
    """
    try:
        yield
    except TROUBLES as exc:
        raise unavailable() from exc
    except sa.exc.DatabaseError as exc:
        # The class itself is a damaged file's; its other children mean a mistake of ours.
        if type(exc) is not sa.exc.DatabaseError:
            raise
        raise unavailable() from exc


#: What is raised when a database does not answer; other errors are mistakes, or damage.
TROUBLES = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


def unavailable() -> Unavailable:
    """Make the error that says so."""
    return Unavailable("The database does not answer.", code="database-unavailable")


def insert_if_absent(session: Session, model: type[Base], values: dict[str, Any]) -> bool:
    """Insert a row unless a unique index says that there is one.

    :returns: whether it was inserted.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    # By what comes back, for not every driver counts the rows of an insert.
    key = sa.inspect(model).primary_key[0]
    statement = dialect.insert(model).values(values).on_conflict_do_nothing().returning(key)
    return session.connection().execute(statement).first() is not None
