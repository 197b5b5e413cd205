"""Getting a service back from a backup.

Everything is read, verified and made ready in a folder of its own first. Then
the images take their place (nobody knows of them yet), the ini file where there
was none, the secret, and last, at once, the database. Whenever it is
interrupted, what was there still works, or restoring again completes it.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from linkpeek.backup.archive import DATABASE, IMAGES, SECRET, Member, read_archive
from linkpeek.backup.database import require_stopped, state_of
from linkpeek.backup.errors import BadBackup, ServiceExists, disk_errors
from linkpeek.backup.make import FORMAT, Progress
from linkpeek.backup.place import Restored, Staged, fill, move_into_place
from linkpeek.backup.staging import stage_image, staging, topmost_missing
from linkpeek.db import utcnow
from linkpeek.migrations import is_known
from linkpeek.settings import Settings
from linkpeek.storage.folders import remove_if_empty

#: Bytes that a description, an ini file or a secret may have at most.
_SMALL = 1 << 20

#: Reads the settings of an ini file.
Load = Callable[[str], Settings]


def _no_progress(done: int, total: int) -> None:
    pass


def restore(
    ini: Path, source: BinaryIO, load: Load, *, force: bool = False, progress: Progress = _no_progress
) -> Restored:
    """Put a service back where an ini file says; where there is none, the backup's own is used.

    :param source: the backup, read from front to back.
    :param load: reads an ini file.
    :param force: replace a service that is there; what can be kept is kept under another name.
    :raises BadBackup: when the backup is not whole and unaltered.
    :raises ServiceExists: when there is a service already, or one is running.
    :raises Unavailable: when the disk is full or the database or the storage does not answer.
    """
    members = read_archive(source)
    about = _read_about(next(members))
    with disk_errors("The service could not be restored"):
        configuration = next(members)
        text, mode = configuration.read(_SMALL), configuration.mode
        with _configured(ini, text, mode, load) as (settings, new_ini):
            secret = next(members).read(_SMALL)
            stamp = f"{utcnow():%Y%m%dT%H%M%SZ}" if _require_free(settings, secret, force) else None
            with staging(settings.data_dir) as folder:
                staged = Staged(folder, about, settings, new_ini)
                restored = Restored(about)
                _write_private(folder / SECRET, secret)
                restored.images = _stage(members, folder, about["pictures"], progress)
                move_into_place(staged, restored, stamp)
            restored.other_configuration = ini.read_bytes() != text
            os.sync()
    return restored


def inspect(source: BinaryIO, progress: Progress = _no_progress) -> Restored:
    """Read a whole backup as ``restore`` does, and change nothing.

    :raises BadBackup: when it could not be restored.
    """
    members = read_archive(source)
    restored = Restored(_read_about(next(members)))
    with disk_errors("The backup could not be unpacked"), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        next(members)
        _write_private(folder / SECRET, next(members).read(_SMALL))
        total = restored.about["pictures"]
        restored.images = _stage(members, folder, total, progress, images=False)
        with fill(folder, f"sqlite:///{folder}/inspected", restored, lambda token: True):
            pass
    return restored


def _read_about(member: Member) -> dict[str, Any]:
    """Read what a backup says of itself.

    :raises BadBackup: ``backup-newer`` when a later version of LinkPeek made it.
    """
    try:
        about: dict[str, Any] = json.loads(member.read(_SMALL))
        newer = int(about["format"]) > FORMAT or not is_known(str(about["schema"]))
        about |= {"pictures": int(about["pictures"]), "created": str(about["created"])}
    except (ValueError, KeyError, TypeError):
        raise BadBackup("The backup is damaged: it does not say what it is.") from None
    if newer:
        raise BadBackup(
            f"The backup is of LinkPeek {about.get('version')}, which is newer than this one: upgrade first.",
            code="backup-newer",
        )
    return about


@contextlib.contextmanager
def _configured(ini: Path, text: bytes, mode: int, load: Load) -> Iterator[tuple[Settings, Path | None]]:
    """Give the settings of the ini file, or those of the backup's beside which it is to be placed."""
    if ini.exists():
        yield load(str(ini)), None
        return
    missing = topmost_missing(ini.parent)
    ini.parent.mkdir(parents=True, exist_ok=True)
    new_ini = ini.parent / f".restore-{ini.name}"
    try:
        _write_private(new_ini, text)
        new_ini.chmod(mode)
        yield replace(load(str(new_ini)), ini_file=ini.absolute()), new_ini
    finally:
        new_ini.unlink(missing_ok=True)
        if missing is not None:
            remove_if_empty(
                *(path for path in (ini.parent, *ini.parents) if missing in (path, *path.parents))
            )


def _write_private(path: Path, data: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(data)


def _require_free(settings: Settings, secret: bytes, force: bool) -> bool:
    """See whether a service may be put here, and tell whether one is there that is to be replaced.

    A database without keys and snapshots, as ``linkpeek init`` makes it, is in nobody's
    way, nor is what an interrupted restore of the same backup left.
    """
    there = state_of(settings.database_url)
    if there == "nothing":
        old = settings.secret_file
        taken = old.exists() and old.read_bytes() != secret
    else:
        taken = there == "rows"
    if taken and not force:
        raise ServiceExists(
            f"There is a service already ({settings.secret_file}, {settings.data_dir}); "
            "--force replaces it and keeps its database and secret under other names."
        )
    require_stopped(settings.database_url)
    return taken


def _stage(
    members: Iterator[Member], folder: Path, total: int, progress: Progress, *, images: bool = True
) -> int:
    """Unpack the rows and the images, and give how many images there are; all is verified then."""
    with open(folder / DATABASE, "wb") as rows:
        next(members).copy_to(rows)
    count = snapshots = 0
    last = ""
    for member in members:
        path = member.name.removeprefix(IMAGES)
        if images:
            with open(stage_image(folder, path), "wb") as file:
                member.copy_to(file)
        snapshots += path[:38] != last
        last, count = path[:38], count + 1
        progress(snapshots, total)
    return count
