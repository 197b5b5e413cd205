"""Throw-away folders for the browser, and the removal of those whose owner died.

A folder is held by a lock on itself for as long as its owner lives. The kernel
drops the lock however the owner ends, so a folder that can be locked is nobody's;
process ids, which are reused and differ between containers that share a temp
folder, are not needed. Nor is a file inside to be locked: one that is removed and
made anew while two look at it is two files, each of which can be locked.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from linkpeek.capture.leftovers import end_session
from linkpeek.errors import Unavailable

log = logging.getLogger(__name__)

PREFIX = "linkpeek-browser-"

#: How often a folder is made before it is given up: one may fall to another worker's sweep.
TRIES = 5

#: How often a folder is emptied, and seconds between: what a process that is being killed
#: was writing at the time may still appear.
REMOVALS, REMOVAL_PAUSE = 5, 0.02


class Profile:
    """One throw-away folder; its path is for the browser's ``--user-data-dir``."""

    def __init__(self, base: Path | None = None) -> None:
        """:param base: where to make it; the system's temp folder when None.

        :raises Unavailable: there can be none, and why.
        """
        self._lock: int | None = None
        try:
            self._make(base)
        except OSError as exc:
            raise Unavailable(f"There can be no folder for the browser: {exc}") from exc

    def _make(self, base: Path | None) -> None:
        for _ in range(TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            self._lock = _lock(self.path)
            if self._lock is not None:
                return
            _remove(self.path)
        raise OSError(f"{self.path.parent} does not let folders be locked")

    def remove(self) -> None:
        """Delete the folder; may be repeated."""
        if self._lock is not None:
            _remove(self.path)
            os.close(self._lock)
            self._lock = None


def remove_stale(base: Path | None = None) -> int:
    """Delete the folders that dead owners left, and end what outlived them; give how many."""
    removed = 0
    for path in _folders(base):
        lock = _lock(path)
        if lock is not None:
            if ended := end_session(path):
                log.warning("ended %d processes of a browser whose worker is gone", ended)
            removed += _remove(path)
            os.close(lock)
    return removed


def _folders(base: Path | None) -> list[Path]:
    try:
        return list(Path(base or tempfile.gettempdir()).glob(f"{PREFIX}*"))
    except OSError:  # who wants to make a folder there is told
        return []


def _lock(path: Path) -> int | None:
    """Lock a folder that is ours; None where that is impossible, someone holds it, or it is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        folder = os.fstat(lock)
        if folder.st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two, whoever held it may have removed it.
            if os.path.samestat(folder, os.stat(path, follow_symlinks=False)):
                return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _remove(path: Path) -> bool:
    for attempt in range(REMOVALS):
        if attempt:
            time.sleep(REMOVAL_PAUSE)
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return True
    log.warning("%s could not be removed", path)
    return False
