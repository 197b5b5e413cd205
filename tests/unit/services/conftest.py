"""Services on real databases: SQLite, and PostgreSQL as it serves many machines."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from linkpeek.db import Base, transaction
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import Snapshot
from linkpeek.resources import Resources
from linkpeek.services.captures import CaptureService
from linkpeek.services.limits import LimitService
from linkpeek.services.snapshots import SnapshotService, Target, Ticket
from linkpeek.services.sweep import SweepService
from linkpeek.services.workers import WorkerService
from linkpeek.settings import Rate
from tests.factories import Clock, make_service, make_settings

PAGE = "http://example.com/"


def target(name: str = "page", extent: Extent = Extent.VIEWPORT) -> Target:
    return Target(f"http://example.com/{name}", Viewport(64, 64), extent)


class Bench:
    """The services of one database under one clock that is set by hand."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.sessions = resources.sessions
        self.storage = resources.storage
        self.clock = Clock()
        self.woken = 0

    def plan(self, sql: str, parameters: Any) -> str:
        """Give how the database goes about a statement, when it has the choice of an index."""
        with self.resources.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # which goes through a small table, and is right to
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
                return str(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).all())
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all())

    def captures(self, worker_id: str = "w1", timeout: float = 30) -> CaptureService:
        return CaptureService(self.sessions, self.storage, worker_id, timeout, self.clock)

    def workers(self) -> WorkerService:
        return WorkerService(self.sessions, self.clock)

    def sweeper(self, *, retention_days: int = 30, max_bytes: int = 0) -> SweepService:
        return SweepService(
            self.sessions,
            self.storage,
            self.workers(),
            retention_days=retention_days,
            max_bytes=max_bytes,
            purge_counters=lambda: 0,
            now=self.clock,
        )

    def ask(
        self,
        name: str = "page",
        *,
        max_age: int | None = 0,
        requester: str = "key:1",
        ttl: int = 100,
        queue_limit: int = 1000,
        rate: int = 1000,
        extent: Extent = Extent.VIEWPORT,
    ) -> Ticket:
        """Ask as a request does, in a transaction of its own."""
        limits = LimitService(self.resources.limit_storage, Rate(rate, 3600), "test")
        with transaction(self.sessions) as session:
            service = SnapshotService(
                session, limits, self._wake, ttl=ttl, queue_limit=queue_limit, now=self.clock
            )
            return service.request(target(name, extent), max_age=max_age, requester=requester)

    def _wake(self) -> None:
        self.woken += 1

    def rows(self) -> list[Snapshot]:
        with transaction(self.sessions) as session:
            return list(session.scalars(sa.select(Snapshot).order_by(Snapshot.id)))

    def row(self) -> Snapshot:
        (row,) = self.rows()
        return row

    def change(self, **values: object) -> None:
        """Change all snapshots, as time or an accident would."""
        with transaction(self.sessions) as session:
            session.execute(sa.update(Snapshot).values(values))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service that was initialised once, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    make_service(folder).close()
    return folder


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL database with our schema."""
    server = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE services"))
    url = sa.make_url(postgres_url).set(database="services").render_as_string(hide_password=False)
    make_service(tmp_path_factory.mktemp("postgres"), database_url=url).close()
    yield url
    server.dispose()


@pytest.fixture
def make_resources(
    request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path
) -> Iterator[Callable[[str], Resources]]:
    made: list[Resources] = []

    def make(database: str) -> Resources:
        url = ""
        shutil.copytree(sqlite_template, tmp_path, dirs_exist_ok=True)
        if database == "postgresql":
            url = request.getfixturevalue("migrated_postgres")
        resources = Resources(make_settings(tmp_path, database_url=url))
        if url:
            with resources.engine.begin() as connection:
                names = ", ".join(table.name for table in Base.metadata.sorted_tables)
                connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY"))
        made.append(resources)
        return resources

    yield make
    for resources in made:
        resources.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def bench(request: pytest.FixtureRequest, make_resources: Callable[[str], Resources]) -> Bench:
    """Services on each kind of database."""
    return Bench(make_resources(request.param))
