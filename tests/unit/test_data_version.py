import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from linkpeek import data_version as module
from linkpeek.data_version import ASKS, SPAN, DataVersion
from linkpeek.db import make_engine
from linkpeek.prepared import Connections


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder/x.sqlite"
    path.parent.mkdir()
    write(path, "CREATE TABLE thing (size INTEGER)")
    return path


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = make_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def version(engine: sa.Engine, clock: Clock) -> DataVersion:
    return DataVersion(Connections(engine), clock=clock)


def write(path: Path, statement: str = "INSERT INTO thing VALUES (1)") -> None:
    """Commit something, as another process does."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_is_the_same_until_something_is_committed(version: DataVersion, path: Path) -> None:
    first = version.now()
    assert first is not None
    assert version.now() == first
    write(path)
    second = version.now()
    assert second != first
    assert version.now() == second


def test_what_is_not_committed_does_not_count(version: DataVersion, engine: sa.Engine) -> None:
    first = version.now()
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO thing VALUES (1)")
        assert version.now() == first
        connection.commit()
    assert version.now() != first


@pytest.mark.parametrize("mode", ["PASSIVE", "TRUNCATE"])
def test_nobody_is_kept_from_tidying_up(
    version: DataVersion, engine: sa.Engine, path: Path, mode: str
) -> None:
    version.now()
    write(path)
    version.now()
    with engine.connect() as connection:
        busy, *_ = connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})").one()
        assert busy == 0
    before = version.now()
    write(path)
    assert version.now() != before


def test_is_asked_so_often_in_a_span(version: DataVersion, clock: Clock, path: Path) -> None:
    for _ in range(ASKS):
        last = version.now()
    write(path)
    clock.now += SPAN * 0.9
    assert version.now() == last
    clock.now += SPAN * 0.2
    assert version.now() != last


def test_another_file_in_its_place_is_another_version(
    version: DataVersion, path: Path, tmp_path: Path
) -> None:
    first = version.now()
    write(tmp_path / "y", "CREATE TABLE thing (size INTEGER)")
    os.replace(tmp_path / "y", path)
    for leftover in ("x.sqlite-wal", "x.sqlite-shm"):
        path.with_name(leftover).unlink(missing_ok=True)
    assert version.now() not in (first, None)


def test_nobody_can_tell_where_there_is_none(version: DataVersion, path: Path) -> None:
    path.parent.rename(path.parent.with_name("gone"))
    assert version.now() is None
    path.parent.with_name("gone").rename(path.parent)
    assert version.now() is not None


def test_a_connection_that_fails_is_replaced(version: DataVersion) -> None:
    first = version.now()
    version._connection.dbapi_connection.close()
    assert version.now() is None
    assert version.now() not in (first, None)


def test_is_closed_with_the_engine(version: DataVersion, engine: sa.Engine) -> None:
    first = version.now()
    opened = version._connection.dbapi_connection
    engine.dispose()
    with pytest.raises(sqlite3.ProgrammingError):
        opened.execute("SELECT 1")
    assert version.now() not in (first, None)


def test_nobody_waits_for_whoever_asks(
    version: DataVersion, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = version.now()
    asking, go_on, seen = threading.Event(), threading.Event(), []
    real = version._read

    def slow() -> object:
        asking.set()
        assert go_on.wait(20)
        return real()

    monkeypatch.setattr(version, "_read", slow)
    clock.now += SPAN
    thread = threading.Thread(target=lambda: seen.append(version.now()))
    thread.start()
    assert asking.wait(20)
    assert version.now() is None
    go_on.set()
    thread.join(20)
    assert seen == [first]


def test_where_the_database_does_not_say_nobody_can_tell(
    version: DataVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite can be built without."""
    monkeypatch.setattr(module, "QUESTION", "SELECT 1 WHERE 0")
    assert version.now() is None


def test_many_threads_never_see_an_old_version_for_a_new_one(engine: sa.Engine, path: Path) -> None:
    """Whoever asks after a commit, and after the span, sees that there was one."""
    version = DataVersion(Connections(engine))
    seen: list[object] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait(20)
        seen.append(version.now())

    for _ in range(20):
        before = set(seen)
        write(path)
        version._since -= SPAN
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not before & set(seen[-8:]) - {None}
        assert len(set(seen[-8:]) - {None}) == 1


def test_a_server_has_none_and_is_not_asked() -> None:
    engine = make_engine("postgresql+psycopg://me@/d?host=/nonexistent")
    assert DataVersion(Connections(engine)).now() is None
    engine.dispose()
