"""Stored pictures, where the application serves them itself."""

import tracemalloc

import pytest
from contracts.storage import PATH, image, large_png
from webtest.app import TestRequest


@pytest.fixture
def opened(app, monkeypatch):
    """Note the files that the storage opens."""
    storage, files = app.app.app.registry.resources.storage, []
    real = storage.open

    def noting(path):
        files.append(real(path))
        return files[-1]

    monkeypatch.setattr(storage, "open", noting)
    return files


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_very_bytes(app, opened, method):
    app.service.storage.put(PATH, image())
    response = app.request(f"/snapshots/{PATH}", method=method)
    assert response.body == (image() if method == "GET" else b"")
    assert response.headers["Content-Length"] == str(len(image()))
    assert [file.closed for file in opened] == [True]


def test_a_large_one_takes_little_memory(app, opened):
    root = app.service.storage.root
    (root / PATH).parent.mkdir(parents=True)
    with (root / PATH).open("wb") as file:
        file.writelines(large_png(64))
        size = file.tell()
    request = TestRequest.blank(f"/snapshots/{PATH}")
    request.environ.update(app.extra_environ)
    request.call_application(app.app)[2].close()  # all that is made once is there
    tracemalloc.start()
    try:
        status, headers, chunks = request.call_application(app.app)
        sent = sum(map(len, chunks))
        chunks.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (status, sent) == ("200 OK", size)
    assert ("Content-Length", str(size)) in headers
    assert peak < 8 * 2**20
    assert all(file.closed for file in opened)


def test_a_damaged_one_is_not_begun(app, opened):
    app.service.storage.put(PATH, image())
    path = app.service.storage.root / PATH
    path.write_bytes(path.read_bytes() + b"more")
    response = app.get(f"/snapshots/{PATH}", expect_errors=True)
    assert (response.status_code, response.headers["X-LinkPeek-Error"]) == (404, "image-damaged")
    assert opened == []
