"""``linkpeek sweep``: take back lost work and delete what is too old or too much."""

import click

from linkpeek.cli.options import config_argument
from linkpeek.resources import Resources


@click.command()
@config_argument
def sweep(resources: Resources) -> None:
    """Take back lost captures and delete what is too old or too much.

    The worker does this by itself every few minutes; running it by hand does no harm.
    """
    resources.require_ready()
    swept = resources.sweeper.sweep()
    for _ in range(resources.sweeper.due()):
        resources.wake()
    click.echo(
        f"taken back: {swept.taken_back}, expired: {swept.expired}, over the storage's limit: "
        f"{swept.evicted}, strays: {swept.strays}, freed: {swept.freed_bytes} bytes"
    )
