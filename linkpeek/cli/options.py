"""What the commands have in common."""

from collections.abc import Callable
from typing import Any, TextIO

import click

from linkpeek.cli.config import load_settings
from linkpeek.resources import Resources


class ResourcesType(click.ParamType[Resources]):
    """Turns the path of an ini file into the resources of its service."""

    name = "CONFIG.ini"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Resources:
        """Read the file."""
        if isinstance(value, Resources):
            return value
        resources = Resources(load_settings(value))
        if ctx is not None:
            ctx.call_on_close(resources.close)
        return resources


def opened(stream: TextIO | None, name: str) -> TextIO:
    """Give a standard stream, which Python does not have where it was closed from the start."""
    if stream is None:
        raise click.ClickException(f"{name} is closed")
    return stream


def config_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument CONFIG.ini, given to the command as its ``resources``."""
    return click.argument("resources", type=ResourcesType(), metavar="CONFIG.ini")(function)
