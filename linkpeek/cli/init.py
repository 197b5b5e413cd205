"""``linkpeek init``: make what a service needs, or bring it up to date."""

import click

from linkpeek.cli.options import config_argument
from linkpeek.migrations import upgrade
from linkpeek.resources import Resources
from linkpeek.security import make_secret_file


@click.command()
@config_argument
def init(resources: Resources) -> None:
    """Make the secret file and the database, or bring the database up to date.

    May be run again at any time: it keeps everything that is there.
    """
    settings = resources.settings
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    made = make_secret_file(settings.secret_file)
    click.echo(f"secret:   {settings.secret_file} ({'made' if made else 'kept'})")
    upgrade(resources.engine)
    click.echo(f"database: {resources.engine.url.render_as_string(hide_password=True)} (up to date)")
    resources.storage.check()
    click.echo(f"storage:  {settings.storage_url} (writable)")
