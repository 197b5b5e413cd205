"""``linkpeek key``: the API keys."""

import sys

import click

from linkpeek.cli.options import config_argument, opened
from linkpeek.db import transaction
from linkpeek.errors import ParameterError
from linkpeek.resources import Resources
from linkpeek.services.keys import KeyService


@click.group()
def key() -> None:
    """Add, list, disable and rotate API keys."""


@key.command()
@config_argument
@click.option("--name", required=True, help="For whom the key is.")
@click.option("--apikey", help="An existing key to bring along; made when left out.")
@click.option("--secret", help="Its secret; made when left out. `-` reads it from standard input.")
@click.option("--md5/--no-md5", default=True, help="Whether MD5 tokens are good for it, or only HMAC ones.")
def add(resources: Resources, name: str, apikey: str | None, secret: str | None, md5: bool) -> None:
    """Add a key, new or brought along from an older service.

    Its secret is shown only now.
    """
    resources.require_ready()
    given = _secret(secret)
    with transaction(resources.sessions) as session:
        added, shown = KeyService(session, resources.box).add(name, apikey, given, md5_tokens=md5)
    click.echo(f"apikey: {added.apikey}\nsecret: {shown}")


@key.command("list")
@config_argument
def list_keys(resources: Resources) -> None:
    """List all keys, without their secrets."""
    resources.require_ready()
    with transaction(resources.sessions) as session:
        for one in KeyService(session, resources.box).list():
            state = f"disabled {one.disabled_at:%Y-%m-%d}" if one.disabled_at else "enabled"
            tokens = "MD5, HMAC" if one.md5_tokens else "HMAC"
            click.echo(f"{one.apikey}\t{state}\t{tokens}\t{one.created_at:%Y-%m-%d}\t{one.name}")


@key.command()
@config_argument
@click.argument("apikey")
def disable(resources: Resources, apikey: str) -> None:
    """Disable a key: its requests are refused from now on.

    One that begins with a hyphen goes behind `--`.
    """
    resources.require_ready()
    with transaction(resources.sessions) as session:
        KeyService(session, resources.box).disable(apikey)
    click.echo(f"{apikey} is disabled")


@key.command()
@config_argument
@click.argument("apikey")
@click.option("--secret", help="The new secret; made when left out. `-` reads it from standard input.")
@click.option(
    "--md5/--no-md5", default=None, help="Whether MD5 tokens are good for it; as before when left out."
)
def rotate(resources: Resources, apikey: str, secret: str | None, md5: bool | None) -> None:
    """Give a key a new secret; the old one stops working at once.

    One that begins with a hyphen goes behind `--`.
    """
    resources.require_ready()
    given = _secret(secret)
    with transaction(resources.sessions) as session:
        _, shown = KeyService(session, resources.box).rotate(apikey, given, md5_tokens=md5)
    click.echo(f"apikey: {apikey}\nsecret: {shown}")


def _secret(given: str | None) -> str | None:
    """Read a secret from standard input where asked, so that it shows in no process list."""
    if given != "-":
        return given
    try:
        return opened(sys.stdin, "standard input").readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ParameterError("The secret is not UTF-8.", code="bad-key") from None
