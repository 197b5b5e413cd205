"""Figures for Prometheus, counted from the database.

Four web processes and any number of workers answer alike, because the rows are
the truth: nothing is counted in a process's own memory.
"""

from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from linkpeek.db import transaction, utcnow
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: Minutes that the figures about recent captures look back, and the captures they look at.
WINDOW, SAMPLE = 15, 500


class _Collector:
    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        with transaction(self._resources.sessions) as session:
            states = _states(session)
            recent = _recent(session)
        yield _family("linkpeek_snapshots", "Snapshots by state.", "state", states)
        yield GaugeMetricFamily("linkpeek_workers", "Workers alive.", len(self._resources.workers.alive()))
        mean: dict[str, float] = {}
        for step in {name for timings in recent for name in timings}:
            values = [timings[step] for timings in recent if step in timings]
            mean[step] = sum(values) / len(values)
        text = f"Mean seconds of each step of the captures of the last {WINDOW} minutes."
        yield _family("linkpeek_capture_step_seconds", text, "step", mean)


def _family(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _states(session: Session) -> dict[str, float]:
    counted = session.execute(sa.select(Snapshot.state, sa.func.count()).group_by(Snapshot.state))
    return dict.fromkeys(State, 0.0) | {state: float(count) for state, count in counted}


def _recent(session: Session) -> list[dict[str, float]]:
    since = utcnow() - timedelta(minutes=WINDOW)
    return [
        timings
        for timings in session.scalars(
            sa.select(Snapshot.timings)
            .where(Snapshot.state == State.READY, Snapshot.finished_at >= since)
            .order_by(Snapshot.finished_at.desc())
            .limit(SAMPLE)
        )
        if timings
    ]


def render(resources: Resources) -> bytes:
    """Give all figures as Prometheus reads them.

    :raises Unavailable: when the database does not answer.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(resources))
    return generate_latest(registry)
