"""The command ``linkpeek``: one module a subcommand, errors as one clear line.

Exit codes: 0 done, 1 it could not be done (the line on standard error says why
and what to do), 2 the command was not used as it is meant.
"""

import os
from typing import Any

import click

from linkpeek.cli.backup import backup
from linkpeek.cli.capture import capture
from linkpeek.cli.check import check
from linkpeek.cli.doctor import doctor
from linkpeek.cli.init import init
from linkpeek.cli.key import key
from linkpeek.cli.restore import restore
from linkpeek.cli.sweep import sweep
from linkpeek.cli.worker import worker
from linkpeek.errors import LinkPeekError


class _Commands(click.Group):
    """A group that shows the service's own errors as one line, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LinkPeekError as exc:
            raise click.ClickException(f"{exc.message} [{exc.code}]") from None
        except BrokenPipeError:
            raise  # nobody reads what we say; click ends quietly
        except OSError as exc:
            place = "" if exc.filename is None else f"{os.fsdecode(exc.filename)}: "
            raise click.ClickException(f"{place}{exc.strerror or exc}") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="linkpeek")
def main() -> None:
    """LinkPeek captures, stores, serves and refreshes pictures of web pages.

    Every command takes the ini file of the service it is about.
    """


for command in (init, key, worker, capture, sweep, doctor, check, backup, restore):
    main.add_command(command)
