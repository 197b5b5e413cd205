from pathlib import Path

import pytest

from linkpeek.capture import executable
from linkpeek.capture.executable import find_executable
from linkpeek.errors import ConfigurationError


def program(path: Path, content: bytes = b"\x7fELF...") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: programs in lib and bin."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(executable, "DIRECTORIES", (str(tmp_path / "lib"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_none_found_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match="install chromium-headless-shell"):
        find_executable()


def test_headless_shell_goes_first(machine: Path) -> None:
    program(machine / "lib" / "chromium")
    shell = program(machine / "lib" / "chromium-headless-shell")

    assert find_executable() == shell


def test_wrapper_on_the_path_is_passed_by(machine: Path) -> None:
    program(machine / "bin" / "chromium", b"#!/bin/sh\n")
    real = program(machine / "lib" / "chromium")

    assert find_executable() == real


def test_program_on_the_path(machine: Path) -> None:
    real = program(machine / "bin" / "google-chrome")

    assert find_executable() == real


def test_configured_program(machine: Path) -> None:
    mine = program(machine / "mine")

    assert find_executable(mine) == mine


def test_configured_wrapper_is_resolved(machine: Path) -> None:
    wrapper = program(machine / "bin" / "chromium", b"#!/bin/sh\n")
    real = program(machine / "lib" / "chromium")

    assert find_executable(wrapper) == real


def test_configured_script_of_unknown_purpose(machine: Path) -> None:
    with pytest.raises(ConfigurationError, match="script"):
        find_executable(program(machine / "mine", b"#!/bin/sh\n"))


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable"])
def test_configured_is_no_program(machine: Path, kind: str) -> None:
    path = machine / "mine"
    if kind == "folder":
        path.mkdir()
    elif kind == "not executable":
        program(path).chmod(0o644)

    with pytest.raises(ConfigurationError, match="no such program"):
        find_executable(path)
