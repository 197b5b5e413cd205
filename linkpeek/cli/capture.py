"""``linkpeek capture``: one page into one file, without database, storage or web."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from linkpeek import pictures
from linkpeek.address import parse_address, with_scheme
from linkpeek.capture.model import CaptureRequest
from linkpeek.cli.options import config_argument
from linkpeek.engine import Engine
from linkpeek.errors import ParameterError
from linkpeek.geometry import parse_size, parse_viewport
from linkpeek.resources import Resources

FORMATS: dict[str, Literal["png", "webp"]] = {".png": "png", ".webp": "webp"}


@click.command()
@config_argument
@click.argument("uri")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A .png or .webp file.",
)
@click.option("--size", default="original", show_default=True, help="W, WxH or original.")
@click.option("--viewport", default="", help="W, WxH, desktop, tablet or mobile; 1024 when left out.")
def capture(resources: Resources, uri: str, output: Path, size: str, viewport: str) -> None:
    """Capture the page at URI into a file, with a browser started just for it.

    The address goes through the same guard as in the service.
    """
    settings = resources.settings
    image_format = FORMATS.get(output.suffix.lower())
    if image_format is None:
        raise ParameterError("The file's name must end in .png or .webp.", code="bad-output")
    if not os.access(output.parent, os.W_OK) or output.is_dir():
        raise ParameterError(f"The file {output} cannot be written.", code="bad-output")
    window = parse_viewport(viewport)
    wanted = parse_size(size, window)
    address = parse_address(with_scheme(uri), ports=settings.egress_ports, allow=settings.egress_allow)
    request = CaptureRequest(address.uri, window, wanted.extent(window), settings.capture_timeout)
    engine = Engine(settings)
    with _progress(f"capturing {address.uri}"):
        try:
            engine.start()
            captured = engine.capture(request)
        finally:
            engine.stop()
    output.write_bytes(pictures.rendition(captured.image, wanted, window, image_format))
    notes = [note for note, is_so in (("cut off", captured.truncated), ("blank", captured.blank)) if is_so]
    click.echo(
        f"{output}: {captured.final_uri} (HTTP status {captured.status or 'none'}, "
        f"{captured.width}x{captured.height}{''.join(', ' + note for note in notes)})"
    )


@contextmanager
def _progress(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    started = time.monotonic()

    def show() -> None:
        while not done.wait(0.2):
            click.echo(f"\r{text} … {time.monotonic() - started:.0f} s", err=True, nl=False)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        click.echo("\r\033[K", err=True, nl=False)
