"""Counters in real databases: SQLite files and a PostgreSQL server."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from limits import RateLimitItemPerSecond
from limits.strategies import FixedWindowRateLimiter

from linkpeek.db import make_engine
from linkpeek.errors import Unavailable
from linkpeek.ratelimit_storage import RATE_COUNTER, DatabaseStorage, rate_counter_table

MINUTE = 60


class Clock:
    """A clock that is set by hand."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/counters.sqlite"
    server: str = request.getfixturevalue("postgres_url")
    return server


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = make_engine(url)
    RATE_COUNTER.drop(engine, checkfirst=True)
    RATE_COUNTER.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(engine: sa.Engine, clock: Clock) -> DatabaseStorage:
    return DatabaseStorage(engine, clock)


def rows(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(RATE_COUNTER)) or 0


class TestCounting:
    def test_counts_up(self, storage: DatabaseStorage) -> None:
        assert storage.get("a") == 0
        assert [storage.incr("a", MINUTE), storage.incr("a", MINUTE, 5), storage.incr("a", MINUTE)] == [
            1,
            6,
            7,
        ]
        assert storage.get("a") == 7

    def test_keys_do_not_mix(self, storage: DatabaseStorage) -> None:
        storage.incr("a", MINUTE)

        assert storage.incr("b", MINUTE) == 1
        assert storage.get("A") == 0

    @pytest.mark.parametrize(
        "key", ["", "\0", "\udcff", "é" * 10_000, "'; DROP TABLE rate_counter; --"], ids=ascii
    )
    def test_any_text_is_a_key(self, storage: DatabaseStorage, key: str) -> None:
        assert storage.incr(key, MINUTE) == 1
        assert storage.incr(key, MINUTE) == 2
        assert storage.get(key) == 2

    def test_a_window_starts_with_the_first_and_ends_for_all(
        self, storage: DatabaseStorage, clock: Clock
    ) -> None:
        start = clock.now
        assert storage.get_expiry("a") == start

        storage.incr("a", MINUTE)
        clock.now += 59
        storage.incr("a", MINUTE)
        assert storage.get_expiry("a") == start + 60

        clock.now += 1
        assert storage.get("a") == 0
        assert storage.get_expiry("a") == clock.now
        assert storage.incr("a", MINUTE) == 1
        assert storage.get_expiry("a") == start + 120

    def test_a_clock_set_back_locks_nobody_out(self, storage: DatabaseStorage, clock: Clock) -> None:
        for _ in range(100):
            storage.incr("a", MINUTE)
        clock.now -= 86400

        assert storage.get("a") == 0
        assert storage.incr("a", MINUTE) == 1
        assert storage.get_expiry("a") == clock.now + 60

    def test_clocks_a_little_apart_count_together(self, engine: sa.Engine, clock: Clock) -> None:
        ahead = Clock()
        ahead.now += 3
        machines = DatabaseStorage(engine, clock), DatabaseStorage(engine, ahead)

        assert [machines[n % 2].incr("a", MINUTE) for n in (1, 0, 1, 0)] == [1, 2, 3, 4]

    def test_clear_forgets_one_and_reset_all(self, storage: DatabaseStorage) -> None:
        for key in "abc":
            storage.incr(key, MINUTE)

        storage.clear("a")
        assert [storage.get(key) for key in "abc"] == [0, 1, 1]
        assert storage.reset() == 2
        assert [storage.get(key) for key in "abc"] == [0, 0, 0]

    def test_purge_removes_what_has_ended(
        self, storage: DatabaseStorage, engine: sa.Engine, clock: Clock
    ) -> None:
        storage.incr("short", 10)
        storage.incr("long", 100)
        assert storage.purge() == 0

        clock.now += 10
        assert storage.purge() == 1
        assert (storage.get("long"), rows(engine)) == (1, 1)

        clock.now -= 86400
        assert storage.purge() == 1
        assert rows(engine) == 0

    def test_no_key_is_kept_in_clear(self, storage: DatabaseStorage, engine: sa.Engine) -> None:
        storage.incr("192.0.2.1", MINUTE)

        with engine.connect() as connection:
            assert "192.0.2.1" not in str(connection.execute(sa.select(RATE_COUNTER)).all())


class TestWithLimits:
    def test_the_library_limits_with_it(self, storage: DatabaseStorage, clock: Clock) -> None:
        limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerSecond(3, MINUTE, "captures")

        assert limiter.test(item, "a")
        assert [limiter.hit(item, "a") for _ in range(5)] == [True, True, True, False, False]
        assert not limiter.test(item, "a")
        assert limiter.hit(item, "b")
        assert limiter.get_window_stats(item, "a") == (clock.now + 60, 0)

        clock.now += 60
        assert limiter.hit(item, "a")

    def test_a_limit_is_exact_however_many_ask_at_once(self, engine: sa.Engine) -> None:
        limiter = FixedWindowRateLimiter(DatabaseStorage(engine))
        item, let_in, guard = RateLimitItemPerSecond(25, 3600), 0, threading.Lock()

        def ask() -> None:
            nonlocal let_in
            for _ in range(10):
                if limiter.hit(item, "a"):
                    with guard:
                        let_in += 1

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

        assert let_in == 25


def count_in_process(url: str, times: int) -> None:
    engine = make_engine(url)
    storage = DatabaseStorage(engine)
    threads = [
        threading.Thread(target=lambda: [storage.incr("a", 3600) for _ in range(times)]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()


def test_processes_and_threads_lose_no_count(engine: sa.Engine, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count_in_process, args=(url, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)

    assert [worker.exitcode for worker in workers] == [0] * 4
    assert DatabaseStorage(engine).get("a") == 4 * 2 * 25


class TestFaults:
    def test_a_check_misses_the_table(self, engine: sa.Engine, storage: DatabaseStorage) -> None:
        assert storage.check()
        RATE_COUNTER.drop(engine)
        assert not storage.check()

    @pytest.mark.parametrize(
        "gone",
        ["sqlite:////nonexistent/counters.sqlite", "postgresql+psycopg://nobody@/none?host=/nonexistent"],
    )
    def test_a_database_that_is_gone_is_told(self, gone: str) -> None:
        engine = make_engine(gone)
        storage = DatabaseStorage(engine)

        assert not storage.check()
        for question in (
            lambda: storage.incr("a", MINUTE),
            lambda: storage.get("a"),
            lambda: storage.get_expiry("a"),
            lambda: storage.clear("a"),
            storage.reset,
            storage.purge,
        ):
            with pytest.raises(Unavailable) as caught:
                question()
            assert caught.value.code == "database-unavailable"
        engine.dispose()

    def test_a_locked_database_is_an_answer_within_its_time(self, tmp_path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/locked.sqlite", connect_args={"timeout": 0.2})
        RATE_COUNTER.create(engine)
        with engine.connect() as other:
            other.execute(sa.text("BEGIN IMMEDIATE"))
            with pytest.raises(Unavailable):
                DatabaseStorage(engine).incr("a", MINUTE)
            other.rollback()

        assert DatabaseStorage(engine).incr("a", MINUTE) == 1
        engine.dispose()


def test_the_table_can_be_put_on_any_metadata() -> None:
    metadata = sa.MetaData()

    assert rate_counter_table(metadata) is metadata.tables["rate_counter"]
