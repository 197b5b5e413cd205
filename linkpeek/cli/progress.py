"""Telling on standard error how far a long command is."""

import signal
import sys
import time
from types import FrameType

import click

#: Seconds between two lines: on a terminal one line is written over again.
_ON_TERMINAL, _IN_LOG = 0.2, 10.0


class Progress:
    """Called with how many are done, and of how many.

    :param what: the command, as each line begins.
    :param quiet: say nothing.
    """

    def __init__(self, what: str, quiet: bool) -> None:
        self._what = what
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._every = _ON_TERMINAL if self._terminal else _IN_LOG
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say so, if the last word was some time ago."""
        now = time.monotonic()
        if not self._quiet and now - self._last >= self._every:
            self._last = now
            start, end = ("\r", "") if self._terminal else ("", "\n")
            sys.stderr.write(f"{start}{self._what}: {done} of {total} snapshots{end}")
            sys.stderr.flush()

    def end(self, summary: str) -> None:
        """Say what was done."""
        if self._terminal and not self._quiet:
            sys.stderr.write("\r\x1b[K")
        self.note(summary)

    def note(self, text: str) -> None:
        """Say something more."""
        if not self._quiet:
            click.echo(f"{self._what}: {text}", err=True)


def end_on_signals() -> None:
    """Have TERM and HUP end this process as Ctrl-C does: with everything tidied up."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
