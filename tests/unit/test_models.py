import pytest
import sqlalchemy as sa

from linkpeek.db import transaction, utcnow
from linkpeek.geometry import Extent, Viewport
from linkpeek.models import ACTIVE_STATES, Snapshot, State
from tests.factories import make_service


@pytest.fixture
def sessions(tmp_path):
    service = make_service(tmp_path)
    yield service.sessions
    service.close()


def snapshot(token, **values):
    given = {
        "token": token * 32,
        "key": "k",
        "uri": "http://a.example/",
        "viewport_width": 800,
        "viewport_height": 600,
        "extent": Extent.FULL,
        "requester": "key:1",
        "requested_at": utcnow(),
        "not_before": utcnow(),
    }
    return Snapshot(**(given | values))


@pytest.mark.parametrize("first", ACTIVE_STATES)
@pytest.mark.parametrize("second", ACTIVE_STATES)
def test_one_key_has_one_active_snapshot(sessions, first, second):
    with transaction(sessions) as session:
        session.add(snapshot("a", state=first))
    with pytest.raises(sa.exc.IntegrityError), transaction(sessions) as session:
        session.add(snapshot("b", state=second))
    with transaction(sessions) as session:
        session.add(snapshot("c", state=second, key="other"))


@pytest.mark.parametrize("ended", [State.READY, State.FAILED])
def test_and_any_number_that_have_ended(sessions, ended):
    with transaction(sessions) as session:
        session.add_all([snapshot("a", state=ended), snapshot("b", state=ended), snapshot("c")])
    with transaction(sessions) as session:
        assert session.scalar(sa.select(sa.func.count(Snapshot.id))) == 3


def test_starts_queued_and_not_attempted(sessions):
    with transaction(sessions) as session:
        session.add(snapshot("a"))
    with transaction(sessions) as session:
        found = session.scalars(sa.select(Snapshot)).one()
    assert (found.state, found.attempts, found.truncated, found.blank) == (State.QUEUED, 0, False, False)
    assert found.viewport == Viewport(800, 600)
    assert found.reach is Extent.FULL
