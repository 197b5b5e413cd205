import pytest

from linkpeek.errors import LimitExceeded, Unavailable
from linkpeek.ratelimit_storage import DatabaseStorage
from linkpeek.services.limits import LimitService
from linkpeek.settings import Rate
from tests.unit.services.conftest import Bench


class Seconds:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def limit(bench: Bench, clock: Seconds, namespace: str = "captures", amount: int = 2) -> LimitService:
    storage = DatabaseStorage(bench.resources.engine, clock)
    return LimitService(storage, Rate(amount, 60), namespace, clock)


def test_so_many_in_a_window_and_again_in_the_next(bench: Bench, clock: Seconds) -> None:
    limits = limit(bench, clock)
    limits.count("a")
    limits.count("a")
    clock.now += 20
    with pytest.raises(LimitExceeded) as caught:
        limits.count("a")
    assert (caught.value.code, caught.value.retry_after) == ("rate-limited", 40)
    clock.now += 40
    limits.count("a")


def test_callers_and_kinds_do_not_mix(bench: Bench, clock: Seconds) -> None:
    one, other = limit(bench, clock, amount=1), limit(bench, clock, "failures", amount=1)
    one.count("a")
    one.count("b")
    other.count("a")
    with pytest.raises(LimitExceeded):
        one.count("a")


def test_checking_does_not_count(bench: Bench, clock: Seconds) -> None:
    limits = limit(bench, clock, amount=1)
    for _ in range(3):
        limits.check("a")
    limits.count("a")
    with pytest.raises(LimitExceeded):
        limits.check("a")


def test_who_is_over_the_limit_writes_no_more(
    bench: Bench, clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood would else hold the one lock for writing that SQLite has."""
    limits = limit(bench, clock, amount=1)
    limits.count("a")
    monkeypatch.setattr(DatabaseStorage, "incr", None)
    with pytest.raises(LimitExceeded):
        limits.count("a")


def test_a_clock_set_back_makes_nobody_wait_longer_than_a_window(bench: Bench, clock: Seconds) -> None:
    limits = limit(bench, clock, amount=1)
    limits.count("a")
    clock.now -= 30
    with pytest.raises(LimitExceeded) as caught:
        limits.count("a")
    assert 1 <= caught.value.retry_after <= 60


def test_a_database_that_is_gone_is_told(bench: Bench, clock: Seconds) -> None:
    class Gone(DatabaseStorage):
        def incr(self, key: str, expiry: int, amount: int = 1) -> int:
            raise Unavailable("The database does not answer.", code="database-unavailable")

    limits = LimitService(Gone(bench.resources.engine), Rate(1, 1), "x")
    with pytest.raises(Unavailable):
        limits.count("a")
