"""What files and folders need that the standard library does not do in one go.

Everything here may meet another process that removes what was just listed.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from linkpeek.errors import Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: How often the removal of a folder starts over when something was moved into it meanwhile.
_TRIES = 100


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the system's errors into the service's."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise Unavailable("The image storage is full.", code="storage-full") from exc
        raise Unavailable("The image storage is not available.", code="storage-unavailable") from exc


def make_folder(folder: Path, mode: int) -> None:
    """Make one folder, whatever the umask; it is fine if it is there."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode)
        folder.chmod(mode)


def sync(folder: Path) -> None:
    """Have the system write a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Give what a folder holds; nothing if it has just been removed or is no folder."""
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except (FileNotFoundError, NotADirectoryError):
        return []


def size(folder: str | Path) -> int:
    """Give the bytes of all files below a folder; what may not be read (``lost+found``) is not ours."""
    total = 0
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(PermissionError):
                total += size(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def older(entry: os.DirEntry[str], latest: float) -> bool:
    """Tell whether an entry was last touched before a moment; gone ones are not."""
    try:
        return entry.stat(follow_symlinks=False).st_ctime <= latest
    except FileNotFoundError:
        return False


def remove(entry: os.DirEntry[str]) -> None:
    """Remove a file, or a folder with all that is in it; gone already is fine."""
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        Path(entry.path).unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, and with what is still being moved into it.

    A rename whose way to the folder was looked up before the folder was moved aside
    ends inside it all the same, perhaps after it was listed and before it is removed.

    :raises OSError: if it cannot be removed; ``FileNotFoundError`` if it is not there.
    """
    for _ in range(_TRIES):
        try:
            shutil.rmtree(folder)
        except OSError as exc:
            if exc.errno != errno.ENOTEMPTY:
                raise
        else:
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))


def remove_if_empty(*folders: Path) -> None:
    """Remove the folders, innermost first, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
