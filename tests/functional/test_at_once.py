"""What was asked for before is answered without the application, and the answer is the same."""

from time import monotonic

import pytest
import sqlalchemy as sa

from linkpeek.at_once import COUNTED, LOOKS, SPAN, AtOnce
from linkpeek.db import transaction
from linkpeek.errors import Unavailable
from linkpeek.models import ApiKey
from linkpeek.services.keys import KeyService
from tests.functional.test_api import APIKEY, captured, signed


@pytest.fixture
def asked(app, monkeypatch):
    """Give the application after a first answer, and a list that gets the paths that come through to it."""
    captured(app)
    through = []
    at_once = app.app.app
    assert isinstance(at_once, AtOnce)
    rest = at_once._app

    def note(environ, start_response):
        through.append(environ["PATH_INFO"])
        return rest(environ, start_response)

    monkeypatch.setattr(at_once, "_app", note)
    app.through = through
    return app


def test_the_answer_is_the_one_of_the_application(asked, monkeypatch):
    once = asked.get(signed())
    assert asked.through == []
    monkeypatch.setattr(asked.app.app.registry.orders, "get", lambda query: None)
    in_full = asked.get(signed())
    assert asked.through == ["/api/v1"]
    assert sorted(once.headers.items()) == sorted(in_full.headers.items())
    assert (once.status, once.body) == (in_full.status, in_full.body)


def test_a_picture_that_is_not_made_yet_is_the_application_s(asked):
    """What it costs, and waits for, is paid once."""
    for image in asked.service.storage.root.rglob("336.*"):
        image.unlink()
    for _ in range(2):  # the first time only it goes through
        assert asked.get(signed()).headers["X-LinkPeek-State"] == "ready"
        assert asked.through == ["/api/v1"]


def test_head(asked):
    response = asked.head(signed())
    assert response.headers["X-LinkPeek-State"] == "ready"
    assert asked.through == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_the_application_s(asked, method):
    asked.request(signed(), method=method, status=405)
    assert asked.through == ["/api/v1"]


def test_an_error_becomes_an_answer_in_the_application(asked, monkeypatch):
    def fail(*_, **values):
        raise Unavailable("The database does not answer.", code="database-unavailable")

    write(asked)
    monkeypatch.setattr("linkpeek.prepared.Prepared.first", fail)
    response = asked.get(signed(), status=503)
    assert response.headers["X-LinkPeek-Error"] == "database-unavailable"


def test_a_forged_host_is_refused_as_ever(asked):
    response = asked.get(signed(), headers={"Host": 'a"b'}, status=400)
    assert response.headers["X-LinkPeek-Error"] == "bad-host"


class Clock:
    def __init__(self):
        self.now = monotonic()

    def __call__(self):
        return self.now


@pytest.fixture
def hot(asked, monkeypatch):
    """Give the application after its picture was asked for as often as is looked up at a time."""
    clock = Clock()
    monkeypatch.setattr(asked.app.app, "clock", clock)
    monkeypatch.setattr(asked.app.app.registry.resources.lookups._version, "_clock", clock)
    for _ in range(LOOKS):
        asked.get(signed())
    return asked


def write(app):
    """Have what was looked up be looked up again."""
    with transaction(app.service.sessions) as session:
        session.execute(sa.update(ApiKey).values(name="another"))


def disable(app):
    with transaction(app.service.sessions) as session:
        KeyService(session, app.service.box).disable(APIKEY)


def test_while_nothing_is_written_nothing_is_looked_up(asked, monkeypatch):
    monkeypatch.setattr("linkpeek.prepared.Prepared.first", None)
    response = asked.get(signed())
    assert response.headers["X-LinkPeek-State"] == "ready"
    assert asked.through == []


def test_a_picture_that_is_gone_is_noticed_all_the_same(asked):
    for image in asked.service.storage.root.rglob("*.png"):
        image.unlink()
    asked.get(signed())
    assert asked.through == ["/api/v1"]


def test_what_many_ask_for_at_once_is_not_looked_up_each_time(hot, monkeypatch):
    monkeypatch.setattr("linkpeek.prepared.Prepared.first", None)
    response = hot.get(signed())
    assert response.headers["X-LinkPeek-State"] == "ready"
    assert hot.through == []


def test_other_formats_and_hosts_are_looked_up(hot):
    webp = hot.get(signed(), headers={"Accept": "image/webp"})
    assert webp.headers["Location"].endswith(".webp")
    other = hot.get(signed(), headers={"Host": "other.example"})
    assert other.headers["Location"].startswith("http://other.example/")
    hot.get(signed(), headers={"Host": 'a"b'}, status=400)


def test_a_key_that_is_disabled_is_refused_a_moment_later(hot):
    disable(hot)
    assert hot.get(signed()).status_code == 302
    hot.app.app.clock.now += SPAN + 0.001
    hot.get(signed(), status=403)


def test_a_key_that_is_disabled_is_refused_at_once_where_few_ask(asked):
    asked.get(signed())
    disable(asked)
    asked.get(signed(), status=403)


def test_no_more_than_so_many_orders_are_counted(hot):
    at_once = hot.app.app
    for number in range(COUNTED + 10):
        hot.get(signed(), headers={"Host": f"host-{number}.example"})
    assert len(at_once._looks) <= COUNTED
