"""Where a backup goes: a file that is whole or not there, and how many of them are kept."""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from linkpeek.storage.folders import sync

_NAME = re.compile(r"linkpeek-[0-9]{8}T[0-9]{6}Z\.tar", re.ASCII)
_PART, _SUFFIX = ".linkpeek-", ".part"


def dated_name(now: datetime) -> str:
    """Give the name of a backup in a folder of them; names sort by time."""
    return f"linkpeek-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.tar"


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write to; it takes the target's place when the block ends well.

    Only its owner may read it. Nothing is left of one that was not finished; what
    a killed process left is removed the next time.
    """
    _remove_abandoned(target.parent)
    handle, name = tempfile.mkstemp(_SUFFIX, _PART, target.parent)
    part = Path(name)
    try:
        with open(handle, "wb") as file:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fsync(handle)
            os.replace(part, target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def prune(folder: Path, keep: int, made: Path) -> list[Path]:
    """Remove all but the newest backups of a folder, and give what was removed.

    Only files with names as ``dated_name`` gives them are looked at.

    :param made: the one made just now: it is kept, also where the clock was ahead before.
    """
    others = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path != made)
    doomed = others[: max(0, len(others) - (keep - 1))]
    for path in doomed:
        path.unlink()
    return doomed


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished files that no living process holds."""
    for part in folder.glob(f"{_PART}*{_SUFFIX}"):
        with contextlib.suppress(OSError), open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
