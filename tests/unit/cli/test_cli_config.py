"""Reading the ini file of a command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from linkpeek.cli.config import load_settings, setup_logging
from linkpeek.errors import ConfigurationError

INI = "[app:main]\nuse = egg:linkpeek\n"
LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys =
[logger_root]
level = ERROR
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
"""


@contextmanager
def fresh_root() -> Iterator[logging.Logger]:
    """Give the root logger as it is in a new process; afterwards all is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    disabled = {name: logging.getLogger(name).disabled for name in root.manager.loggerDict}
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)
        for name, before in disabled.items():
            logging.getLogger(name).disabled = before


def test_a_relative_file_is_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "production.ini").write_text(f"{INI}linkpeek.data_dir = %(here)s/kept\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings("production.ini")
    assert settings.ini_file == tmp_path / "production.ini"
    assert settings.data_dir == tmp_path / "kept"


def test_defaults_of_the_file_count(tmp_path: Path) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text(f"[DEFAULT]\nname = elsewhere\n{INI}linkpeek.data_dir = /srv/%(name)s\n")
    assert load_settings(str(ini)).data_dir == Path("/srv/elsewhere")


@pytest.mark.parametrize("name", ["", "gone.ini", ".", "production.ini/x", "a b.ini", "a#b.ini"])
def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "production.ini").write_text(INI)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="there is no file"):
        load_settings(name)


def test_the_files_own_logging(tmp_path: Path) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text(INI + LOGGING)
    with fresh_root() as root:
        setup_logging(str(ini))
        assert (root.level, len(root.handlers)) == (logging.ERROR, 1)


def test_without_any_it_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text(INI)
    with fresh_root():
        setup_logging(str(ini))
        logging.getLogger("linkpeek").info("it has begun")
    assert "it has begun" in capsys.readouterr().err


def test_so_it_does_when_it_is_not_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text(INI + LOGGING.replace("StreamHandler", "NoSuchHandler"))
    with fresh_root():
        setup_logging(str(ini))
    assert "is not usable" in capsys.readouterr().err
