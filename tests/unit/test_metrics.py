from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from linkpeek import metrics
from linkpeek.db import transaction, utcnow
from linkpeek.errors import Unavailable
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.services.snapshots import SnapshotService, Target
from tests.factories import PaperWorker, make_service, make_settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Resources]:
    service = make_service(tmp_path)
    yield service
    service.close()


def figures(service: Resources) -> dict[tuple[str, str], float]:
    """Give the figures as Prometheus reads them, by name and label."""
    text = metrics.render(service).decode()
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(service: Resources, name: str) -> None:
    with transaction(service.sessions) as session:
        snapshots = SnapshotService(session, service.capture_limits, lambda: None, ttl=0, queue_limit=99)
        target = Target(f"http://example.com/{name}", Viewport(64, 64), Extent.VIEWPORT)
        snapshots.request(target, max_age=0, requester="key:1")


def test_snapshots_by_state_those_without_any_too(service: Resources) -> None:
    for name in "abc":
        ask(service, name)
    PaperWorker(service).work()
    ask(service, "d")
    found = figures(service)
    assert found["linkpeek_snapshots", "ready"] == 3
    assert found["linkpeek_snapshots", "queued"] == 1
    assert found["linkpeek_snapshots", "capturing"] == found["linkpeek_snapshots", "failed"] == 0


def test_workers_alive(service: Resources) -> None:
    assert figures(service)["linkpeek_workers", ""] == 0
    service.workers.beat("w1", 1, None)
    assert figures(service)["linkpeek_workers", ""] == 1


def test_the_mean_of_each_step_of_the_last_captures(service: Resources) -> None:
    for name in "abc":
        ask(service, name)
    PaperWorker(service).work()
    with transaction(service.sessions) as session:
        rows = session.scalars(sa.select(Snapshot)).all()
        rows[0].timings = {"navigation": 1.0}
        rows[1].timings = {"navigation": 2.0, "settle": 5.0}
        rows[2].timings = {"navigation": 99.0}
        rows[2].finished_at = utcnow() - timedelta(minutes=metrics.WINDOW + 1)
    found = figures(service)
    assert found["linkpeek_capture_step_seconds", "navigation"] == 1.5
    assert found["linkpeek_capture_step_seconds", "settle"] == 5


def test_nothing_was_captured_yet(service: Resources) -> None:
    assert figures(service)["linkpeek_snapshots", State.READY] == 0


def test_a_database_that_is_gone_is_told(tmp_path: Path) -> None:
    service = Resources(make_settings(tmp_path / "nowhere"))
    with pytest.raises(Unavailable):
        metrics.render(service)
