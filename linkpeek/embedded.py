"""The embedded worker: for development, where one command brings up everything.

The web process starts ``linkpeek worker`` as a child and starts it again when it
ends. The child dies with its parent, however the parent dies, so reloading the
application does not pile up workers.
"""

import atexit
import logging
import os
import subprocess
import sys
import threading

from linkpeek.errors import ConfigurationError
from linkpeek.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between the end of a worker and the next one.
RESTART_PAUSE = 3
STOP_TIME = 10


def start(settings: Settings) -> None:
    """Start the embedded worker and look after it until this process ends.

    :raises ConfigurationError: when the settings came from no ini file.
    """
    if settings.ini_file is None:
        raise ConfigurationError("linkpeek.worker = embedded needs an ini file to start the worker with")
    tie = ["--die-with-parent", str(os.getpid())]
    command = [sys.executable, "-m", "linkpeek", "worker", *tie, str(settings.ini_file)]
    keeper = _Keeper(command)
    atexit.register(keeper.stop)
    # The kernel ties the child to the thread that started it, not to the
    # process: so one thread starts all of them and lives as long as we do.
    threading.Thread(target=keeper.run, name="embedded-worker", daemon=True).start()


class _Keeper:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the worker, and again whenever it ends, until told to stop."""
        while True:
            with self._starting:
                if self._stopping.is_set():
                    return
                child = self._child = self._start()
            code = None if child is None else child.wait()
            if not self._stopping.wait(RESTART_PAUSE) and code is not None:
                log.warning("the embedded worker ended with code %s; starting it again", code)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        try:
            return subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command
        except OSError as exc:  # no process or no memory is left, for now
            log.error("the embedded worker does not start: %s; trying again", exc)
            return None

    def stop(self) -> None:
        """End the worker, and start no other."""
        self._stopping.set()
        with self._starting:  # what is being started is there to be ended
            child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                child.kill()
