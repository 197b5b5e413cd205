import shutil
from pathlib import Path

import pytest

from linkpeek.capture import fonts


def fake_fc_list(folder: Path, monkeypatch: pytest.MonkeyPatch, *known: str) -> None:
    program = folder / "fc-list"
    lines = "\n".join(f"':charset={char}') echo Some Font;;" for char in known)
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{lines}\n*) ;;\nesac\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))


def test_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fc_list(tmp_path, monkeypatch, "1f600", "4e2d", "3042", "d55c")

    assert fonts.missing_fonts() == {}


def test_missing_ones_come_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fc_list(tmp_path, monkeypatch, "4e2d", "3042")

    assert fonts.missing_fonts() == {"emoji": "fonts-noto-color-emoji", "Korean": "fonts-noto-cjk"}


def test_without_fontconfig_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert fonts.missing_fonts() == {}
