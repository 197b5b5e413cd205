from pathlib import Path

import pytest

from linkpeek.db import make_engine, transaction
from linkpeek.errors import Unavailable
from linkpeek.security import SecretBox
from linkpeek.services import lookups as module
from linkpeek.services.keys import KeyService
from linkpeek.services.lookups import Lookups
from linkpeek.services.snapshots import CLOCK_SLACK
from tests.factories import make_capture
from tests.unit.services.conftest import Bench, target

BOX = SecretBox("x" * 40)


@pytest.fixture
def lookups(bench: Bench) -> Lookups:
    with transaction(bench.sessions) as session:
        KeyService(session, BOX).add("n", "a-key", "sesame")
    return Lookups(bench.resources.engine, ttl=100, now=bench.clock)


def capture(bench: Bench) -> None:
    bench.ask()
    captures = bench.captures()
    claim = captures.claim()
    assert claim is not None
    captures.finish(claim, make_capture(claim.request))


def test_a_key_is_found_with_its_secret(lookups: Lookups) -> None:
    found = lookups.credentials("a-key")
    assert found is not None
    assert BOX.decrypt(found.encrypted_secret) == "sesame"
    assert (found.md5_tokens, found.disabled_at) == (True, None)
    assert lookups.credentials("another") is None


def test_a_disabled_key_is_found_as_one(bench: Bench, lookups: Lookups) -> None:
    with transaction(bench.sessions) as session:
        key = KeyService(session, BOX).disable("a-key")
    assert lookups.credentials("a-key").disabled_at == key.disabled_at
    assert lookups.credentials_and_fresh("a-key", "", None)[0].disabled_at == key.disabled_at


def test_the_newest_ready_snapshot_is_found_with_and_without_a_key(bench: Bench, lookups: Lookups) -> None:
    key = target().key
    assert lookups.fresh(key, None) is None
    assert lookups.credentials_and_fresh("a-key", key, None) == (lookups.credentials("a-key"), None)
    capture(bench)
    bench.clock.step(50)
    assert lookups.fresh(key, 49) is None
    assert lookups.fresh(key, 50).id == 1
    bench.clock.step(51)
    assert lookups.fresh(key, None) is None
    capture(bench)
    ready = lookups.fresh(key, None)
    assert (ready.id, ready.token, ready.viewport) == (2, bench.rows()[1].token, target().viewport)
    assert lookups.credentials_and_fresh("a-key", key, None) == (lookups.credentials("a-key"), ready)
    assert lookups.credentials_and_fresh("nobody", key, None) == (None, None)


def test_what_is_remembered_is_as_good_as_new(
    bench: Bench, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = target().key
    capture(bench)
    first = lookups.credentials_and_fresh("a-key", key, None)
    looked: list[str] = []
    real = lookups._both.first
    monkeypatch.setattr(lookups._both, "first", lambda **names: looked.append(names["key"]) or real(**names))
    assert lookups.credentials_and_fresh("a-key", key, None) == first
    bench.clock.step(101)
    assert lookups.credentials_and_fresh("a-key", key, None) == (first[0], None)
    assert looked == ([] if bench.resources.engine.dialect.name == "sqlite" else [key, key])
    capture(bench)
    assert lookups.credentials_and_fresh("a-key", key, None)[1].id == 2
    assert looked[-1] == key


def test_no_more_is_remembered_than_may_be(
    bench: Bench, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for number in range(10):
        assert lookups.credentials_and_fresh("a-key", f"{number}", None)[0] is not None
    assert len(lookups._known) <= 3


def test_one_from_the_future_is_not_fresh(bench: Bench, lookups: Lookups) -> None:
    capture(bench)
    bench.clock.step(-CLOCK_SLACK - 1)
    assert lookups.fresh(target().key, None) is None


def test_no_look_up_goes_through_a_table(bench: Bench, lookups: Lookups) -> None:
    for one in lookups.prepared:
        plan = bench.plan(one.sql, one.parameters(apikey="a", key="k"))
        assert "SCAN" not in plan
        assert "Seq Scan" not in plan


def test_a_database_that_fails_is_unavailable(tmp_path: Path) -> None:
    lookups = Lookups(make_engine(f"sqlite:///{tmp_path}/empty"), ttl=1)
    for _ in range(20):  # more often than there are connections: each is given back
        with pytest.raises(Unavailable):
            lookups.credentials("a-key")
