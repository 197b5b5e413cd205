import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from linkpeek import db
from linkpeek.db import UtcDateTime, insert_if_absent, make_engine, make_sessions, transaction, translated
from linkpeek.errors import ConfigurationError, Unavailable


class Own(db.DeclarativeBase):
    metadata = sa.MetaData()


class Thing(Own):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime | None] = mapped_column(UtcDateTime)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], sa.Engine]]:
    engines: list[sa.Engine] = []

    def make(url: str) -> sa.Engine:
        engine = make_engine(url)
        engines.append(engine)
        Own.metadata.drop_all(engine)
        Own.metadata.create_all(engine)
        return engine

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, make: Callable[[str], sa.Engine], tmp_path: Path) -> sa.Engine:
    if request.param == "sqlite":
        return make(f"sqlite:///{tmp_path}/x.sqlite")
    return make(request.getfixturevalue("postgres_url"))


@pytest.fixture
def embedded(make: Callable[[str], sa.Engine], tmp_path: Path) -> sa.Engine:
    return make(f"sqlite:///{tmp_path}/x.sqlite")


class TestEngine:
    def test_making_one_opens_nothing(self, tmp_path: Path) -> None:
        make_engine(f"sqlite:///{tmp_path}/x.sqlite")
        assert list(tmp_path.iterdir()) == []

    def test_sqlite_survives_a_power_cut_and_reads_while_it_writes(self, embedded: sa.Engine) -> None:
        with embedded.connect() as connection:
            assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
            assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
            assert connection.scalar(sa.text("PRAGMA busy_timeout")) == db.BUSY_TIMEOUT * 1000

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite:x",
            "",
            "postgresql+nodriver://me:sesame@h/d",
            "mysql+nodriver://me:sesame@h/d",
            "postgresql+pg8000://me:sesame@h/d",
            "postgresql://me:sesame@h:port/d",
        ],
    )
    def test_a_url_that_cannot_be_used_is_one_clear_line_without_its_password(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            make_engine(url)
        assert caught.value.message.startswith("sqlalchemy.url ")
        assert "sesame" not in caught.value.message

    @pytest.mark.parametrize(
        "rest",
        [
            "",
            "/",
            "/:memory:",
            "/file::memory:?uri=true",
            "/x?mode=memory",
            "/file:/srv/x?uri=true",
            "/x?uri=true&vfs=memdb",
        ],
    )
    def test_sqlite_without_the_path_of_a_file_is_refused(self, rest: str) -> None:
        with pytest.raises(ConfigurationError, match="must name SQLite's file"):
            make_engine(f"sqlite://{rest}")

    def test_nobody_waits_for_a_connection_for_long(
        self, embedded: sa.Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert embedded.pool.timeout() == db.BUSY_TIMEOUT
        monkeypatch.setattr(embedded.pool, "_timeout", 0.1)
        held = [embedded.connect() for _ in range(db.POOL["pool_size"] + db.POOL["max_overflow"])]
        with pytest.raises(Unavailable), translated():
            embedded.connect()
        for connection in held:
            connection.close()

    def test_what_a_statement_held_is_in_no_message(self, engine: sa.Engine) -> None:
        with pytest.raises(sa.exc.DBAPIError) as caught, engine.connect() as connection:
            connection.execute(sa.text("SELECT nothing FROM nowhere WHERE x = :secret"), {"secret": "sesame"})
        assert "sesame" not in str(caught.value)

    def test_a_server_that_does_not_answer_is_not_waited_for(self) -> None:
        engine = make_engine("postgresql+psycopg://me@192.0.2.1/d")
        arguments: dict[str, object] = {}

        @sa.event.listens_for(engine, "do_connect")
        def connect(dialect: object, record: object, args: object, kwargs: dict[str, object]) -> None:
            arguments.update(kwargs)
            raise sa.exc.TimeoutError

        with pytest.raises(Unavailable), translated():
            engine.connect()
        assert arguments["connect_timeout"] == db.BUSY_TIMEOUT
        assert "lock_timeout" in str(arguments["options"])

    def test_a_row_that_another_holds_is_not_waited_for_for_ever(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, make: Callable[[str], sa.Engine]
    ) -> None:
        monkeypatch.setattr(db, "BUSY_TIMEOUT", 1)
        engine = make(postgres_url)
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            session.add(Thing(name="a"))
        with transaction(sessions) as holder:
            holder.execute(sa.update(Thing).values(name="b"))
            started = time.monotonic()
            with pytest.raises(Unavailable), transaction(sessions) as session:
                session.execute(sa.update(Thing).values(name="c"))
            assert time.monotonic() - started < 5

    def test_a_url_may_set_its_own_options(self, postgres_url: str) -> None:
        engine = make_engine(f"{postgres_url}&options=-c%20lock_timeout%3D7s&connect_timeout=9")
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SHOW lock_timeout")) == "7s"
        engine.dispose()


class TestAFileThatGoesAway:
    def test_nothing_is_written_where_nobody_finds_it(self, embedded: sa.Engine, tmp_path: Path) -> None:
        sessions = make_sessions(embedded)
        with transaction(sessions) as session:
            session.add(Thing(name="a"))
        (tmp_path / "x.sqlite").unlink()
        with pytest.raises(Unavailable), transaction(sessions) as session:
            session.add(Thing(name="b"))

    def test_one_that_takes_its_place_is_used_at_once(self, embedded: sa.Engine, tmp_path: Path) -> None:
        sessions = make_sessions(embedded)
        with transaction(sessions) as session:
            session.add(Thing(name="new"))
        with sqlite3.connect(tmp_path / "x.sqlite") as source, sqlite3.connect(tmp_path / "y") as copy:
            source.backup(copy)
        source.close()
        copy.close()
        with transaction(sessions) as session:
            session.execute(sa.delete(Thing))
        os.replace(tmp_path / "y", tmp_path / "x.sqlite")
        for leftover in ("x.sqlite-wal", "x.sqlite-shm"):
            (tmp_path / leftover).unlink(missing_ok=True)
        with transaction(sessions) as session:
            assert session.scalars(sa.select(Thing.name)).all() == ["new"]

    def test_its_folder_too(self, make: Callable[[str], sa.Engine], tmp_path: Path) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        engine = make(f"sqlite:///{folder}/x.sqlite")
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(Unavailable), transaction(make_sessions(engine)) as session:
            session.scalar(sa.select(Thing.id))


class TestTroubles:
    def test_a_locked_database_is_told_within_its_time(self, tmp_path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/x.sqlite", connect_args={"timeout": 0.2})
        Own.metadata.create_all(engine)
        with engine.connect() as other:
            other.execute(sa.text("BEGIN IMMEDIATE"))
            with pytest.raises(Unavailable) as caught, transaction(make_sessions(engine)) as session:
                session.add(Thing(name="a"))
            other.rollback()
        assert caught.value.code == "database-unavailable"
        with transaction(make_sessions(engine)) as session:
            session.add(Thing(name="a"))
        engine.dispose()

    def test_a_damaged_file_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "x.sqlite").write_text("not a database " * 1000)
        engine = make_engine(f"sqlite:///{tmp_path}/x.sqlite")
        with pytest.raises(Unavailable), transaction(make_sessions(engine)) as session:
            session.scalar(sa.select(Thing.id))
        engine.dispose()

    def test_a_server_that_is_gone_is_told(self) -> None:
        engine = make_engine("postgresql+psycopg://me@/d?host=/nonexistent")
        with pytest.raises(Unavailable), transaction(make_sessions(engine)) as session:
            session.scalar(sa.select(Thing.id))

    @pytest.mark.parametrize("error", [KeyError("x"), ConfigurationError("x")])
    def test_other_errors_stay_what_they_are(self, error: Exception) -> None:
        with pytest.raises(type(error)), translated():
            raise error

    def test_a_mistake_of_ours_stays_what_it_is(self, engine: sa.Engine) -> None:
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            session.add(Thing(name="a"))
        with pytest.raises(sa.exc.IntegrityError), transaction(sessions) as session:
            session.add(Thing(name="a"))


class TestTransactions:
    def test_an_error_takes_everything_back(self, engine: sa.Engine) -> None:
        sessions = make_sessions(engine)

        def fail() -> None:
            with transaction(sessions) as session:
                session.add(Thing(name="a"))
                session.flush()
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with transaction(sessions) as session:
            assert session.scalar(sa.select(sa.func.count(Thing.id))) == 0

    def test_what_was_read_can_be_used_afterwards(self, engine: sa.Engine) -> None:
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            thing = Thing(name="a")
            session.add(thing)
        assert thing.name == "a"


class TestInsertIfAbsent:
    def test_says_whether_it_did(self, engine: sa.Engine) -> None:
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            assert insert_if_absent(session, Thing, {"name": "a"})
            assert not insert_if_absent(session, Thing, {"name": "a"})
            assert insert_if_absent(session, Thing, {"name": "b"})

    def test_of_many_at_once_one_did(self, engine: sa.Engine) -> None:
        sessions, done, barrier = make_sessions(engine), [], threading.Barrier(6)

        def insert() -> None:
            barrier.wait(30)
            with transaction(sessions) as session:
                done.append(insert_if_absent(session, Thing, {"name": "a"}))

        threads = [threading.Thread(target=insert) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(done) == [False] * 5 + [True]


class TestTimes:
    @pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
    def test_come_back_aware_and_in_utc(self, engine: sa.Engine, zone: timezone) -> None:
        at = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=zone)
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            session.add(Thing(name="a", at=at))
        with transaction(sessions) as session:
            found = session.scalars(sa.select(Thing.at)).one()
            assert session.scalar(sa.select(Thing.name).where(Thing.at <= at)) == "a"
        assert found == at
        assert found.tzinfo is UTC

    def test_none_stays_none(self, engine: sa.Engine) -> None:
        sessions = make_sessions(engine)
        with transaction(sessions) as session:
            session.add(Thing(name="a"))
        with transaction(sessions) as session:
            assert session.scalars(sa.select(Thing.at)).one() is None

    def test_now_is_aware(self) -> None:
        assert abs((datetime.now(UTC) - db.utcnow()).total_seconds()) < 5
