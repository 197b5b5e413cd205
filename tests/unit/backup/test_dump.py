"""The database as lines: one moment of it, and from any database into any other."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from linkpeek.backup.dump import dump, load, one_view, ready_tokens
from linkpeek.backup.errors import BadBackup
from linkpeek.db import Base, make_engine, make_sessions, transaction, utcnow
from linkpeek.migrations import upgrade, upgrade_to
from linkpeek.models import ApiKey, Snapshot, State, Worker
from tests.postgres import postgres_server


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite"])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    def make(kind: str, name: str) -> Engine:
        if kind == "sqlite":
            return make_engine(f"sqlite:///{tmp_path}/{name}")
        engine = make_engine(request.getfixturevalue("postgres_url"))
        with engine.begin() as connection:
            Base.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
        return engine

    source, target = (make(kind, name) for kind, name in zip(request.param.split(" to "), "ab", strict=True))
    upgrade(source)
    yield source, target
    source.dispose()
    target.dispose()


def snapshot(number: int, **more: Any) -> Snapshot:
    now = utcnow()
    values = {
        "token": f"{number:032x}",
        "key": f"{number:032x}",
        "uri": "http://bücher.example/\N{SNOWMAN}?\"'\\",
        "viewport_width": 1024,
        "viewport_height": 768,
        "extent": "viewport",
        "requester": "key:1",
        "state": State.READY,
        "requested_at": now,
        "not_before": now,
        "finished_at": now,
        "title": "line\nbreak \U0001f600",
        "timings": {"queue": 0.25},
        "duration": 1.5,
    }
    return Snapshot(**(values | more))


def fill(engine: Engine) -> None:
    with transaction(make_sessions(engine)) as session:
        session.add(
            ApiKey(
                apikey="k",
                name="ü",
                encrypted_secret=bytes(range(256)),
                created_at=utcnow(),
                disabled_at=None,
            )
        )
        session.add(snapshot(7))
        session.add(snapshot(3, timings=None, blank=True, finished_at=utcnow() - timedelta(days=400)))
        session.add(snapshot(5, state=State.CAPTURING, lease_owner="w", lease_until=utcnow()))
        session.add(Worker(id="w", host="h", pid=1, concurrency=1, started_at=utcnow(), beat_at=utcnow()))


def rows(engine: Engine, model: type[Base]) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(model.__table__).order_by(*model.__table__.primary_key)))


def test_every_value_comes_through(engines: tuple[Engine, Engine]) -> None:
    source, target = engines
    fill(source)
    out = io.BytesIO()
    with one_view(source) as view:
        counts = dump(view, out)
        assert list(ready_tokens(view)) == [f"{3:032x}", f"{7:032x}"]
    assert counts == {"api_key": 1, "snapshot": 3}

    out.seek(0)
    with target.begin() as connection:
        upgrade_to(connection)
        assert load(connection, out, lambda table, row: True) == counts

    for model in (ApiKey, Snapshot):
        assert rows(target, model) == rows(source, model)
    assert rows(target, Worker) == []
    with target.connect() as connection:
        nothing = sa.select(sa.func.count()).where(Snapshot.timings.is_(sa.null()))
        assert connection.scalar(nothing) == 1
    # New rows are numbered after the ones brought along.
    with transaction(make_sessions(target)) as session:
        session.add(new := snapshot(9))
        session.flush()
        assert new.id == 4


def test_shows_one_moment_whatever_is_committed_meanwhile(engines: tuple[Engine, Engine]) -> None:
    source, _ = engines
    fill(source)
    with one_view(source) as view:
        assert view.scalar(sa.select(sa.func.count(ApiKey.id))) == 1
        with transaction(make_sessions(source)) as session:
            session.execute(sa.delete(ApiKey))
            session.execute(sa.update(Snapshot).values(title="changed"))
            session.add(snapshot(9))
        out = io.BytesIO()
        assert dump(view, out) == {"api_key": 1, "snapshot": 3}
        assert b"changed" not in out.getvalue()


@pytest.mark.parametrize(
    "lines",
    [
        ["not json"],
        [{"table": "sqlite_master", "columns": []}],
        [{"table": "api_key", "columns": ["id", "evil"]}, [1, 2]],
        [{"table": "api_key", "columns": ["id"]}, [1, 2]],
        [{"table": "api_key", "columns": ["id", "apikey"]}, [1, "x"]],
        [{"table": "api_key"}],
        [[1]],
        [{"table": "snapshot", "columns": ["requested_at"]}, ["yesterday"]],
    ],
)
def test_what_no_dump_holds_is_refused(tmp_path: Path, lines: list[Any]) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/b")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    upgrade(engine)
    with engine.begin() as connection, pytest.raises(BadBackup):
        load(connection, io.BytesIO(text.encode()), lambda table, row: True)
    engine.dispose()


def test_pictures_come_in_an_order_that_no_language_changes(postgres_url: str) -> None:
    """In Danish "aa" is one letter, the last; whoever reads the backup goes by the characters."""
    engine = make_engine(postgres_url)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
        upgrade_to(connection)
        connection.exec_driver_sql(
            'ALTER TABLE snapshot ALTER COLUMN token TYPE varchar(32) COLLATE "da-x-icu"'
        )
    numbers = [0xAA << 112, 0xAB << 112]
    with transaction(make_sessions(engine)) as session:
        session.add_all(map(snapshot, numbers))
    with one_view(engine) as view:
        assert list(ready_tokens(view)) == [f"{number:032x}" for number in numbers]
    engine.dispose()
