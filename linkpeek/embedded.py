"""The embedded worker: for development, where one command brings up everything.

The web process starts ``linkpeek worker`` as a child and starts it again when it
ends. The child dies with its parent, however the parent dies, so reloading the
application does not pile up workers.
"""

import atexit
import logging
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
    command = [sys.executable, "-m", "linkpeek", "worker", "--die-with-parent", str(settings.ini_file)]
    keeper = _Keeper(command)
    atexit.register(keeper.stop)
    # The kernel ties the child to the thread that started it, not to the
    # process: so one thread starts all of them and lives as long as we do.
    threading.Thread(target=keeper.run, name="embedded-worker", daemon=True).start()


class _Keeper:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while not self._stopping.is_set():
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command
            code = self._child.wait()
            if not self._stopping.wait(RESTART_PAUSE):
                log.warning("the embedded worker ended with code %s; starting it again", code)

    def stop(self) -> None:
        self._stopping.set()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                self._child.kill()
