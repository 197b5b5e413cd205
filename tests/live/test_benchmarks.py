"""The benchmarks measure: a little of each kind, for what they say of this machine is of no interest here."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import captures, scale, servers
from benchmarks.load import wrk
from benchmarks.peers import BARE, LINKPEEK, RAW
from benchmarks.service import Service, hits


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """Give the tests back the cores that a benchmark takes from its process."""
    mine = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, mine)


def test_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "QUICK_PAGES", 2)
    monkeypatch.setattr(captures, "QUICK_AT_ONCE", (1,))
    result = captures.run(quick=True)
    assert set(result["peers"]) == {LINKPEEK, BARE, RAW}
    assert all(found["best"] > 0 and found["cpu_ms"] > 0 for found in result["peers"].values())
    assert set(captures.tables(result)) == {"captures rate", "captures latency", "captures cost"}


def test_signed_hits_under_load(tmp_path: Path) -> None:
    service = Service(tmp_path, egress_ports="*")
    service.fill(10)
    with servers.running(servers.SERVERS[0], service) as (address, pid):
        (row,) = servers.measure(address, pid, 1, (4,), hits(10))
        refused = wrk(address, ["/api/v1?uri=example.com&apikey=nobody&token=0"], 1, 1)
    service.close()
    assert row["requests"] > 10
    assert (row["errors"], row["memory_mb"] > 10) == (0, True)
    assert refused["errors"] == refused["requests"]


def test_look_ups_at_scale_go_by_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "QUICK_COUNTS", (50, 100))
    monkeypatch.setattr(scale, "ASKED", 30)
    result = scale.run(quick=True)
    assert [row["snapshots"] for row in result["sqlite"]] == [50, 100]
    assert len(result["plans"]) > 5
    assert ", 0 of them through all of a table." in scale.tables(result)["scale plans"]
