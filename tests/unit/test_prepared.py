import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from linkpeek.db import make_engine
from linkpeek.errors import Unavailable
from linkpeek.prepared import KEPT, Connections, Prepared

THING = sa.table("thing", sa.column("name", sa.String), sa.column("size", sa.Integer))
ASKED = sa.select(THING.c.size).where(THING.c.name == sa.bindparam("name", type_=sa.String))


def make_file(path: Path, size: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE thing (name TEXT, size INTEGER)")
        connection.execute("INSERT INTO thing VALUES ('a', ?)", (size,))
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_file(tmp_path / "x.sqlite", 1)
    return tmp_path / "x.sqlite"


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = make_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def opened(engine: sa.Engine) -> list[object]:
    """Every connection that was opened."""
    opened: list[object] = []
    sa.event.listen(engine, "connect", lambda connection, record: opened.append(connection))
    return opened


@pytest.fixture
def prepared(engine: sa.Engine, opened: list[object]) -> Prepared:
    return Prepared(Connections(engine), ASKED)


def test_one_connection_does_for_many_look_ups(prepared: Prepared, opened: list[object]) -> None:
    assert [prepared.first(name=name) for name in "aba"] == [[1], None, [1]]
    assert len(opened) == 1


def test_what_others_commit_is_seen(prepared: Prepared, path: Path) -> None:
    assert prepared.first(name="a") == [1]
    with sqlite3.connect(path) as other:
        other.execute("UPDATE thing SET size = 2")
    other.close()
    assert prepared.first(name="a") == [2]


def test_nobody_is_kept_from_writing(prepared: Prepared, engine: sa.Engine) -> None:
    prepared.first(name="a")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("DROP TABLE thing")


def test_another_file_in_its_place_is_read_at_once(prepared: Prepared, path: Path, tmp_path: Path) -> None:
    assert prepared.first(name="a") == [1]
    make_file(tmp_path / "y", 2)
    os.replace(tmp_path / "y", path)
    for leftover in ("x.sqlite-wal", "x.sqlite-shm"):
        (tmp_path / leftover).unlink(missing_ok=True)
    assert prepared.first(name="a") == [2]


def test_a_file_that_is_gone_is_not_read_any_more(prepared: Prepared, path: Path) -> None:
    prepared.first(name="a")
    path.unlink()
    with pytest.raises(Unavailable):
        prepared.first(name="a")


def test_a_connection_that_failed_is_not_used_again(prepared: Prepared, opened: list[object]) -> None:
    prepared.first(name="a")
    opened[0].close()  # type: ignore[attr-defined]
    with pytest.raises(Unavailable):
        prepared.first(name="a")
    assert prepared.first(name="a") == [1]


def test_all_are_closed_with_the_engine(
    prepared: Prepared, engine: sa.Engine, opened: list[sqlite3.Connection]
) -> None:
    prepared.first(name="a")
    engine.dispose()
    with pytest.raises(sqlite3.ProgrammingError):
        opened[0].execute("SELECT 1")
    assert prepared.first(name="a") == [1]


def test_many_threads_at_once_leave_no_more_than_a_few(
    engine: sa.Engine, opened: list[sqlite3.Connection]
) -> None:
    connections = Connections(engine)
    together = threading.Barrier(3 * KEPT)

    def hold() -> None:
        connection = connections.take()
        together.wait(20)
        connections.give(connection)

    threads = [threading.Thread(target=hold) for _ in range(3 * KEPT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(opened) == 3 * KEPT
    assert sum(map(_is_open, opened)) == KEPT


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True
