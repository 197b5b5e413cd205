"""``linkpeek init``: make what a service needs, or bring it up to date."""

import click

from linkpeek.cli.options import config_argument
from linkpeek.initialise import initialise
from linkpeek.resources import Resources


@click.command()
@config_argument
def init(resources: Resources) -> None:
    """Make the secret file and the database, or bring the database up to date.

    May be run again at any time: it keeps everything that is there.
    """
    settings = resources.settings
    made = initialise(resources)
    click.echo(f"secret:   {settings.secret_file} ({'made' if made else 'kept'})")
    click.echo(f"database: {resources.engine.url.render_as_string(hide_password=True)} (up to date)")
    click.echo(f"storage:  {settings.storage_url} (writable)")
