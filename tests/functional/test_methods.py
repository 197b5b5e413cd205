"""Methods that an address does not take: what is answered, and how."""

import pytest

from tests.functional.test_fuzz import ROUTES

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}

#: What is taken where it is not GET and HEAD.
TAKEN = {"generator.create": ["POST"]}
#: The route of Pyramid's own that serves files.
STATIC = "__static/"


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - {STATIC}))
def test_each_route_takes_its_methods_only(app, route):
    taken = TAKEN.get(route, ["GET", "HEAD"])
    for method in METHODS:
        response = app.request(ROUTES[route], method=method, expect_errors=True)
        told = response.status_code, response.headers.get("X-LinkPeek-Error"), response.headers.get("Allow")
        if method in taken:
            assert 405 not in told, method
        else:
            assert told == (405, "method-not-allowed", ", ".join(taken)), method


@pytest.mark.parametrize("method", sorted(METHODS))
def test_files_are_only_read(app, method):
    response = app.request(ROUTES[STATIC], method=method, expect_errors=True)
    assert response.status_code == (200 if method in {"GET", "HEAD"} else 404)


@pytest.mark.parametrize(
    ("path", "accept", "kind", "start"),
    [
        ("/api/v1", None, "text/plain", b"method-not-allowed: This address takes GET, HEAD only."),
        ("/api/v1", "application/json", "application/json", b'{"error":"method-not-allowed",'),
        ("/api/v1", "image/avif,image/webp,*/*;q=0.8", "image/png", b"\x89PNG"),
        ("/docs", "text/html", "text/html", b"<!doctype html>"),
    ],
)
def test_it_is_answered_as_every_error_is(app, path, accept, kind, start):
    response = app.post(path, headers={"Accept": accept} if accept else {}, expect_errors=True)
    assert (response.content_type, response.headers["Allow"]) == (kind, "GET, HEAD")
    assert response.body.startswith(start)
    assert response.headers["Cache-Control"] == "no-store"


def test_an_address_that_is_not_ours_takes_nothing(app):
    response = app.post("/api/v2", expect_errors=True)
    assert (response.status_code, response.headers.get("Allow")) == (404, None)
