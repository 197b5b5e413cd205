"""The trial before the start."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from linkpeek import preflight
from linkpeek.cli.config import load_settings
from linkpeek.errors import ConfigurationError
from linkpeek.initialise import initialise
from linkpeek.resources import Resources
from linkpeek.settings import Settings


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "production.ini"
    path.write_text("[app:main]\nuse = egg:linkpeek\n")
    initialise(Resources(Settings.from_ini({}, {"here": str(tmp_path)})))
    return path


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(preflight.time, "sleep", made.append)
    return made


def test_nothing_is_wrong(ini: Path) -> None:
    assert preflight.main([str(ini)]) == 0


def test_the_file_may_be_named_from_where_one_is(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ini.parent)
    assert preflight.main([ini.name]) == 0


def test_a_bad_setting_is_told_in_one_line(ini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ini.write_text(ini.read_text() + "linkpeek.wiat = 3\n")
    assert preflight.main([str(ini)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("LinkPeek cannot start: unknown setting linkpeek.wiat")
    assert line.count("\n") == 1


def test_what_nobody_thought_of_is_told_with_where_it_was(
    ini: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ini.write_text("[app:main]\nuse = egg:no-such-package\n")
    assert "no-such-package" in (preflight.problem(str(ini)) or "")
    assert "Traceback" in caplog.text


def test_without_an_ini_file_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_master_goes_on(ini: Path, pauses: list[float]) -> None:
    preflight.require_startable(str(ini))
    assert pauses == []


def test_the_master_ends_after_a_while(ini: Path, pauses: list[float]) -> None:
    ini.write_text("[app:main]\n")
    with pytest.raises(SystemExit) as ended:
        preflight.require_startable(str(ini))
    assert ended.value.code == 22
    assert pauses == [preflight.PACE]


@pytest.mark.parametrize(("worker", "expected"), [(0, []), (1, [preflight.PACE])])
def test_only_a_failing_worker_pauses(
    worker: int, expected: list[float], pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: worker))
    preflight.pace_failing_worker()
    assert pauses == expected


def test_no_pause_elsewhere(pauses: list[float]) -> None:
    preflight.pace_failing_worker()
    assert pauses == []


def test_a_percent_sign_is_told_of_without_the_password_it_stands_in(
    ini: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ini.write_text(ini.read_text() + "sqlalchemy.url = postgresql+psycopg://me:sesame%40tail@db/linkpeek\n")
    assert preflight.main([str(ini)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("LinkPeek cannot start: ")
    assert "[app:main] sqlalchemy.url: a % in a value has to be written %%" in line
    assert "tail" not in line + caplog.text
    with pytest.raises(ConfigurationError, match="has to be written %%") as caught:
        load_settings(str(ini))
    assert "tail" not in caught.value.message
