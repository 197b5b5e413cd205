import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkpeek import doctor
from linkpeek.doctor import Finding, examine
from linkpeek.errors import CaptureError, CaptureRefused, ConfigurationError
from linkpeek.resources import Resources
from linkpeek.tasks import broker_folder
from tests.factories import make_capture, make_service, make_settings


class PaperEngine:
    browser_version = "Paper/1"
    answer: Exception | None = CaptureRefused("The guard refused it.")
    stopped = 0

    def __init__(self, settings: object) -> None:
        pass

    def start(self) -> None:
        pass

    def capture(self, request: object) -> object:
        if self.answer is not None:
            raise self.answer
        return make_capture(request)

    def stop(self) -> None:
        PaperEngine.stopped += 1


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Engine", PaperEngine)
    monkeypatch.setattr(doctor, "missing_fonts", list)
    monkeypatch.setattr("os.geteuid", lambda: 1000)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Resources]:
    service = make_service(tmp_path)
    service.workers.beat("w1", 4, None)
    yield service
    service.close()


def found(service: Resources, name: str) -> Finding:
    return {finding.name: finding for finding in examine(service)}[name]


def test_all_is_well(service: Resources) -> None:
    findings = list(examine(service))
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert [finding.name for finding in findings] == [
        "secret",
        "database",
        "storage",
        "broker",
        "user",
        "browser",
        "fonts",
        "clock",
        "egress",
        "worker",
    ]


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    service = Resources(make_settings(tmp_path / "new"))
    problems = {finding.name: finding for finding in examine(service) if finding.level == "problem"}
    assert {"secret", "database", "broker"} <= problems.keys()
    assert all("linkpeek init" in problems[name].advice for name in ("secret", "database"))


def test_a_secret_that_others_can_read(service: Resources) -> None:
    service.settings.secret_file.chmod(0o644)
    finding = found(service, "secret")
    assert (finding.level, finding.advice) == ("problem", f"chmod 600 {service.settings.secret_file}")


def test_a_storage_that_takes_nothing(service: Resources) -> None:
    shutil.rmtree(service.storage.root)
    service.storage.root.write_text("a file")
    assert found(service, "storage").level == "problem"


def test_little_space(service: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 5 * 2**20})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert (found(service, "storage").level, found(service, "storage").text) == (
        "warning",
        "only 5 MiB are free",
    )


def test_a_broker_folder_that_is_gone(service: Resources) -> None:
    shutil.rmtree(broker_folder(service.settings))
    assert found(service, "broker").level == "problem"


def test_root_has_no_sandbox(service: Resources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert found(service, "user").level == "problem"
    allowed = Resources(make_settings(tmp_path, allow_root="true"))
    assert found(allowed, "user").level == "warning"
    allowed.close()


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (CaptureRefused("No."), "ok"),
        (CaptureError("It crashed.", code="browser-crashed"), "problem"),
        (ConfigurationError("There is no browser."), "problem"),
        (None, "problem"),
    ],
)
def test_a_browser_that_does_not_obey_the_guard_is_a_problem(
    service: Resources, monkeypatch: pytest.MonkeyPatch, answer: Exception | None, level: str
) -> None:
    monkeypatch.setattr(PaperEngine, "answer", answer)
    before = PaperEngine.stopped
    finding = found(service, "browser")
    assert finding.level == level
    assert PaperEngine.stopped == before + 1
    if level == "problem":
        assert finding.advice


def test_missing_fonts(service: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing_fonts", lambda: ["emoji", "CJK"])
    finding = found(service, "fonts")
    assert (finding.level, "emoji and CJK" in finding.text) == ("warning", True)
    assert "apt-get install" in finding.advice


def test_a_clock_that_cannot_be_right(service: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.getmtime", lambda path: 9e9)
    assert found(service, "clock").level == "problem"


def test_what_is_open_besides_the_world(service: Resources, tmp_path: Path) -> None:
    opened = Resources(make_settings(tmp_path, egress_allow="10.0.0.0/8"))
    finding = found(opened, "egress")
    assert (finding.level, finding.text) == ("warning", "also opens 10.0.0.0/8")
    opened.close()


def test_no_worker(service: Resources) -> None:
    service.workers.leave("w1")
    assert found(service, "worker").level == "warning"


def test_no_password_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkpeek.tasks.WakeUp.check", lambda self: None)
    monkeypatch.setattr(doctor, "require_current", lambda engine: None)
    service = Resources(
        make_settings(
            tmp_path,
            database_url="postgresql+psycopg://me:sesame@/x?host=/nonexistent",
            broker_url="redis://:sesame@127.0.0.1:1/0",
        )
    )
    text = " ".join(f"{finding.text} {finding.advice}" for finding in examine(service))
    assert "postgresql" in text
    assert "redis" in text
    assert "sesame" not in text
