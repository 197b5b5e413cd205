"""Throw-away folders for the browser, and the removal of those whose owner died.

A folder is held by a lock on a file inside it for as long as its owner lives. The
kernel drops the lock however the owner ends, so a folder that can be locked is
nobody's; process ids, which are reused and differ between containers that share a
temp folder, are not needed.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = "linkpeek-browser-"
_LOCK = "lock"


class Profile:
    """One throw-away folder; its path is for the browser's ``--user-data-dir``."""

    def __init__(self, base: Path | None = None) -> None:
        """:param base: where to make it; the system's temp folder when None."""
        self._lock: int | None = None
        while self._lock is None:  # another worker's sweep may take it between the two
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            self._lock = _lock(self.path)

    def remove(self) -> None:
        """Delete the folder; may be repeated. A browser that still dies may write for a moment."""
        if self._lock is not None:
            _remove(self.path)
            os.close(self._lock)
            self._lock = None


def remove_stale(base: Path | None = None) -> int:
    """Delete the folders that dead owners left; give how many."""
    removed = 0
    for path in Path(base or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = _lock(path)
        if lock is not None:
            removed += _remove(path)
            os.close(lock)
    return removed


def _lock(path: Path) -> int | None:
    """Lock a folder that is ours; None where that is impossible or someone holds it."""
    try:
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return None
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _remove(path: Path) -> bool:
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return True
    log.warning("%s could not be removed", path)
    return False
