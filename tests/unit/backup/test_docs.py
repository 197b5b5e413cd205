"""docs/backup.md says what is so."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from linkpeek.backup.archive import FIRST, MANIFEST, WHOLE
from linkpeek.cli import main

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/backup.md").read_text()


def test_every_code_is_explained() -> None:
    sources = [path.read_text() for path in (ROOT / "linkpeek/backup").glob("*.py")]
    codes = {code for text in sources for code in re.findall(r'code = "([a-z-]+)"|code="([a-z-]+)"', text)}
    names = {name for pair in codes for name in pair if name} - {"disk-unavailable"}
    assert names >= {"backup-incomplete", "service-running"}
    assert not [name for name in names if f"`{name}`" not in TEXT]


def test_every_member_is_listed() -> None:
    assert not [name for name in (*FIRST, MANIFEST, WHOLE) if f"| `{name}` |" not in TEXT]


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_every_option_is_there_and_no_other(command: str) -> None:
    used = set(re.findall(r"(--[a-z]+)", TEXT)) - {"--quiet", "--help"}
    offered = {
        option for param in main.commands[command].params for option in param.opts if option[:2] == "--"
    }
    help_text = CliRunner().invoke(main, [command, "--help"]).stdout
    assert all(option in help_text for option in offered)
    assert offered - {"--quiet", "--output"} <= used
