"""What was asked for before is answered without the application, and the answer is the same."""

import pytest

from linkpeek.at_once import AtOnce
from linkpeek.errors import Unavailable
from tests.functional.test_api import captured, signed


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

    monkeypatch.setattr("linkpeek.prepared.Prepared.first", fail)
    response = asked.get(signed(), status=503)
    assert response.headers["X-LinkPeek-Error"] == "database-unavailable"


def test_a_forged_host_is_refused_as_ever(asked):
    response = asked.get(signed(), headers={"Host": 'a"b'}, status=400)
    assert response.headers["X-LinkPeek-Error"] == "bad-host"
