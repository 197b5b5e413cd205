"""``linkpeek worker``: run a capture worker until it is told to stop."""

import ctypes
import os
import signal
from types import FrameType
from typing import NoReturn

import click

from linkpeek.cli.config import setup_logging
from linkpeek.cli.options import config_argument
from linkpeek.resources import Resources
from linkpeek.worker import STOP_SIGNALS, CaptureWorker, on_stop_signals

_PR_SET_PDEATHSIG = 1  # prctl(2)


@click.command()
@config_argument
@click.option(
    "--die-with-parent",
    type=int,
    metavar="PID",
    help="Stop when the process that started this one, PID, ends.",
)
def worker(resources: Resources, die_with_parent: int | None) -> None:
    """Run a capture worker until it gets a TERM, INT or HUP signal.

    It then finishes what it is capturing, or gives it back after a few seconds.
    """
    if die_with_parent is not None:
        _die_with(die_with_parent)
    # Until it listens to signals itself, a stop is an exception, so that the browser is closed.
    on_stop_signals(_stop)
    setup_logging(str(resources.settings.ini_file))
    CaptureWorker(resources).run()


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    # A second one, which would cut the closing short, says nothing new: a terminal and
    # whoever started us may both send one.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before we said so, and then our parent is another process already.
    if os.getppid() != parent:
        raise SystemExit(1)
