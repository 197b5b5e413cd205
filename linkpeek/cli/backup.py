"""``linkpeek backup``: the whole service in one file."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from linkpeek.backup import Saved, back_up
from linkpeek.backup.errors import disk_errors
from linkpeek.backup.output import dated_name, prune, whole_file
from linkpeek.cli.options import config_argument, opened
from linkpeek.cli.progress import Progress, end_on_signals
from linkpeek.db import utcnow
from linkpeek.resources import Resources


@click.command()
@config_argument
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|FOLDER|-",
    help="A file; a folder, for a new file in it named by the time; or `-`, standard output.",
)
@click.option("--keep", type=click.IntRange(1), help="With a folder: keep only so many of the newest.")
@click.option("--quiet", is_flag=True, help="Show no progress, only what went wrong.")
def backup(resources: Resources, output: str, keep: int | None, quiet: bool) -> None:
    """Back up database, secret, images and configuration, while the service goes on.

    The file holds the service's secret: keep it private, or encrypt it on the way:

        linkpeek backup production.ini -o - | age -r ... | ssh elsewhere 'cat > linkpeek.tar.age'
    """
    folder = Path(output) if output != "-" and Path(output).is_dir() else None
    if keep is not None and folder is None:
        raise click.UsageError("--keep is for a folder of backups: -o FOLDER")
    target = folder / dated_name(utcnow()) if folder else Path(output)
    if target.exists() and not target.is_file():
        raise click.UsageError(f"{output} is no file, nor a folder; - writes to standard output")
    end_on_signals()
    progress, began = Progress("backup", quiet), time.monotonic()
    with disk_errors("The backup could not be written"):
        with _standard_output() if output == "-" else whole_file(target.resolve()) as out:
            saved = back_up(resources, out, progress)
        removed = prune(folder, keep, target) if folder and keep else []
    progress.end(_summary(saved, time.monotonic() - began, output if output == "-" else str(target)))
    if saved.missing:
        click.echo(f"backup: {saved.missing} images were damaged or gone and are not in it", err=True)
    for path in removed:
        progress.note(f"removed {path}")


def _standard_output() -> AbstractContextManager[BinaryIO]:
    out = opened(sys.stdout, "standard output")
    if out.isatty():
        raise click.UsageError("a backup is no text for a terminal; name a file, or pipe it into a program")
    return nullcontext(out.buffer)


def _summary(saved: Saved, seconds: float, where: str) -> str:
    rows = ", ".join(f"{count} rows of {table}" for table, count in saved.rows.items())
    return (
        f"{rows}, {saved.images} images, {saved.size / 1e6:.1f} MB in {seconds:.1f} s to {where}, "
        f"sha256 of the whole {saved.digest[:16]}..."
    )
