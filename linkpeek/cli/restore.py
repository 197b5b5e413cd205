"""``linkpeek restore``: a service back from its backup."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from linkpeek.backup import Restored, inspect
from linkpeek.backup import restore as restore_service
from linkpeek.cli.config import load_settings
from linkpeek.cli.options import opened
from linkpeek.cli.progress import Progress, end_on_signals


@click.command()
@click.argument("ini", metavar="CONFIG.ini", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("source", metavar="FILE|-")
@click.option("--force", is_flag=True, help="Replace a service that is there; it must not be running.")
@click.option("--check", is_flag=True, help="Only read the backup through and tell whether it is good.")
@click.option("--quiet", is_flag=True, help="Show no progress, only what went wrong.")
def restore(ini: Path, source: str, force: bool, check: bool, quiet: bool) -> None:
    """Restore a service from a backup, a FILE or standard input.

    Where there is no CONFIG.ini, the one in the backup is put there. Everything is
    verified before anything is changed. Run it as the service's user, or as root,
    who gives everything to the user whom data_dir belongs to.
    """
    end_on_signals()
    progress, began = Progress("restore", quiet), time.monotonic()
    with _opened(source) as file:
        if check:
            restored = inspect(file, progress)
        else:
            restored = restore_service(ini, file, load_settings, force=force, progress=progress)
    done = "is good and unaltered" if check else "is restored"
    progress.end(f"{_summary(restored)} {done} ({time.monotonic() - began:.1f} s)")
    _say_more(ini, restored, progress)


def _opened(source: str) -> AbstractContextManager[BinaryIO]:
    if source == "-":
        return nullcontext(opened(sys.stdin, "standard input").buffer)
    try:
        return open(source, "rb")
    except OSError as exc:
        raise click.ClickException(f"{source} cannot be read: {exc.strerror}") from None


def _summary(restored: Restored) -> str:
    about = restored.about
    rows = ", ".join(f"{count} rows of {table}" for table, count in restored.rows.items())
    return f"backup of {about['created']}: {rows}, {restored.images} images"


def _say_more(ini: Path, restored: Restored, progress: Progress) -> None:
    if restored.without_picture:
        click.echo(f"restore: {restored.without_picture} snapshots had no picture in the backup", err=True)
    if restored.unreadable_keys:
        names = ", ".join(restored.unreadable_keys)
        click.echo(f"restore: the secret does not fit these keys, rotate them: {names}", err=True)
    if restored.other_configuration:
        progress.note(f"{ini} is kept; it differs from the configuration.ini in the backup")
    for path in restored.set_aside:
        progress.note(f"what was there before is now {path}")
