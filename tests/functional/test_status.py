"""What monitors ask: each part of the service is broken in turn."""

import shutil
import sqlite3
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from linkpeek.services.health import TIME_LIMIT
from linkpeek.tasks import broker_folder
from tests.functional.test_api import captured

PARTS = {"database", "storage", "broker", "worker"}


@pytest.fixture
def app(app, monkeypatch):
    # Each look is at what there is then.
    monkeypatch.setattr(app.app.app.registry.health, "_good_for", 0)
    app.service.workers.beat("w1", 1, None)
    return app


def ready(app):
    """Ask whether the service is ready, and give the status and what is said of each part."""
    started = time.monotonic()
    response = app.get("/readyz", expect_errors=True)
    assert time.monotonic() - started < TIME_LIMIT + 5
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["checks"].keys() == PARTS
    return response


def assert_not_ready(app, *parts):
    response = ready(app)
    assert response.status_code == 503
    assert response.json["ready"] is False
    assert response.headers["X-LinkPeek-Error"] == "not-ready"
    assert int(response.headers["Retry-After"]) > 0
    assert {name for name, told in response.json["checks"].items() if told != "ok"} == set(parts)
    assert "Traceback" not in response.text
    return response


class TestHealthz:
    def test_this_process_answers(self, app):
        response = app.get("/healthz")
        assert (response.text, response.content_type) == ("ok\n", "text/plain")
        assert response.headers["Cache-Control"] == "no-store"
        assert app.head("/healthz").body == b""

    def test_whatever_else_is_gone(self, app, tmp_path):
        shutil.rmtree(tmp_path)
        assert app.get("/healthz").status_code == 200


class TestReadyz:
    def test_everything_is_there(self, app):
        response = ready(app)
        assert (response.status_code, response.json["ready"]) == (200, True)
        assert set(response.json["checks"].values()) == {"ok"}
        assert app.head("/readyz").body == b""

    def test_the_database_is_gone(self, app):
        ready(app)
        (app.service.settings.data_dir / "linkpeek.sqlite").unlink()
        assert_not_ready(app, "database", "worker")

    def test_the_database_is_damaged(self, app, tmp_path):
        damaged = tmp_path / "damaged"
        damaged.write_bytes(b"not a database" * 1000)
        # Into its place with nothing of the good one beside it, from which SQLite would go on reading.
        for beside in app.service.settings.data_dir.glob("linkpeek.sqlite-*"):
            beside.unlink()
        damaged.replace(app.service.settings.data_dir / "linkpeek.sqlite")
        assert_not_ready(app, "database", "worker")

    def test_the_database_belongs_to_another_version(self, app):
        with app.service.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        assert "9999" in assert_not_ready(app, "database").json["checks"]["database"]

    def test_a_database_that_somebody_writes_to_is_ready(self, app):
        writer = sqlite3.connect(app.service.settings.data_dir / "linkpeek.sqlite", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert ready(app).status_code == 200
        writer.close()

    def test_the_storage_is_no_folder(self, app):
        root = app.service.storage.root
        shutil.rmtree(root)
        root.write_text("")
        assert_not_ready(app, "storage")

    def test_the_storage_takes_nothing(self, app, monkeypatch):
        def fsync(handle):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("os.fsync", fsync)
        assert_not_ready(app, "storage")

    def test_the_brokers_folder_is_gone(self, app):
        shutil.rmtree(broker_folder(app.service.settings))
        assert_not_ready(app, "broker")

    def test_no_worker(self, app):
        app.service.workers.leave("w1")
        assert_not_ready(app, "worker")

    def test_everything_is_gone(self, app, tmp_path):
        ready(app)
        shutil.rmtree(tmp_path)
        tmp_path.write_text("")
        assert_not_ready(app, *PARTS)
        tmp_path.unlink()
        tmp_path.mkdir()

    @pytest.mark.parametrize("part", sorted(PARTS))
    def test_a_part_that_hangs_is_named_within_the_time_limit(self, app, monkeypatch, part):
        release = threading.Event()
        health = app.app.app.registry.health
        monkeypatch.setitem(health._checks, part, lambda: release.wait(60))
        real = health.check
        monkeypatch.setattr(health, "check", lambda: real(1))
        response = assert_not_ready(app, part)
        assert response.json["checks"][part] == "no answer within 1 seconds"
        release.set()

    def test_it_is_ready_again_when_the_part_is_back(self, app):
        app.service.workers.leave("w1")
        assert ready(app).status_code == 503
        app.service.workers.beat("w1", 1, None)
        assert ready(app).status_code == 200

    def test_no_path_or_secret_of_this_machine_is_told(self, app, tmp_path):
        shutil.rmtree(tmp_path)
        response = ready(app)
        assert str(tmp_path) not in response.text
        tmp_path.mkdir(exist_ok=True)  # the service may have made it again


class TestMetrics:
    @pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz", "/docs"])
    def test_an_address_with_a_line_break_is_another_one(self, app, path):
        """Else it would get past whoever guards the one without."""
        response = app.get(f"{path}%0a", expect_errors=True)
        assert (response.status_code, response.headers["X-LinkPeek-Error"]) == (404, "not-found")

    def test_prometheus_can_read_them(self, app):
        captured(app)
        response = app.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(response.text)}
        ready_ones = [s for s in families["linkpeek_snapshots"].samples if s.labels == {"state": "ready"}]
        assert [sample.value for sample in ready_ones] == [1]
        assert families["linkpeek_workers"].samples[0].value == 1
        assert all(family.documentation for family in families.values())
        assert app.head("/metrics").body == b""

    def test_without_a_database_there_are_none(self, app):
        (app.service.settings.data_dir / "linkpeek.sqlite").unlink()
        response = app.get("/metrics", status=503)
        assert response.headers["X-LinkPeek-Error"] == "database-unavailable"
        assert int(response.headers["Retry-After"]) > 0
