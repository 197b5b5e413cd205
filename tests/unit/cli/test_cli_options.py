"""The argument that every command has."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from linkpeek.cli.options import config_argument
from linkpeek.resources import Resources


@pytest.mark.parametrize("fails", [False, True])
def test_the_database_is_left_however_a_command_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text("[app:main]\nuse = egg:linkpeek\n")
    closed: list[Resources] = []
    monkeypatch.setattr(Resources, "close", lambda resources: closed.append(resources))

    @click.command()
    @config_argument
    def command(resources: Resources) -> None:
        assert resources.settings.ini_file == ini
        assert closed == []
        if fails:
            raise click.ClickException("no")

    result = CliRunner().invoke(command, [str(ini)])
    assert result.exit_code == fails
    assert len(closed) == 1
