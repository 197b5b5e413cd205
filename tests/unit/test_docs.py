"""What the documents say about settings, commands and files is true."""

import re
from pathlib import Path

import pytest

from linkpeek.cli import main
from linkpeek.settings import TABLE

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def test_every_setting_is_documented_and_none_that_is_not() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \|", SETTINGS, re.MULTILINE)
    assert documented == list(TABLE)


@pytest.mark.parametrize("key", TABLE)
def test_a_documented_default_is_the_default(key: str) -> None:
    default = TABLE[key][1]
    (cell,) = re.findall(rf"^\| `{re.escape(key)}` \| ([^|]*) \|", SETTINGS, re.MULTILINE)
    # Where the default depends on other settings, the cell says so in words.
    if literal := re.fullmatch(r"`([^`]+)`", cell.strip()):
        assert literal[1].removeprefix("%(here)s/") == (default or "filesystem://")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    for command in re.findall(r"(?:^ {4}|`|env/bin/)linkpeek ([a-z]+)", document.read_text(), re.MULTILINE):
        assert command in main.commands, command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", document.read_text(), re.MULTILINE):
        assert target in targets, target


def test_every_module_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "linkpeek").iterdir():
        name = path.stem
        if name in {"__main__", "__pycache__", "templates", "static"}:
            continue
        assert f"`{name}`" in text or f"`{name}/`" in text, name
