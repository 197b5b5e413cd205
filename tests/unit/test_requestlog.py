"""The path in uWSGI's request log."""

import sys
from types import SimpleNamespace

import pytest

from linkpeek.requestlog import LONGEST, loggable_path, with_request_log


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/api/v1", "/api/v1"),
        ("/a b\nforged\x1b[31m", "/a%20b%0Aforged%1B%5B31m"),
        ("/\xc3\xbc", "/%C3%BC"),
        ("/" + "x" * 1000, "/" + "x" * (LONGEST - 1)),
    ],
)
def test_path_is_one_plain_line(path: str, logged: str) -> None:
    assert loggable_path({"PATH_INFO": path, "QUERY_STRING": "apikey=k&token=t"}) == logged


def _app(environ: object, start_response: object) -> list[bytes]:
    return [b"served"]


def test_other_servers_get_the_application_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", None)
    assert with_request_log(_app) is _app


def test_uwsgi_is_told_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(set_logvar=told.__setitem__))
    assert with_request_log(_app)({"PATH_INFO": "/a", "SCRIPT_NAME": ""}, None) == [b"served"]
    assert told == {"path": "/a"}
