"""The folder beside the final places in which everything is made ready first.

It is ``.restore`` in data_dir: the service's user may write there, and what lies
there is renamed to its place at once.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from linkpeek.backup.errors import ServiceExists
from linkpeek.settings import Settings
from linkpeek.storage import Storage
from linkpeek.storage.files import FileStorage
from linkpeek.storage.folders import entries, make_folder

FOLDER = ".restore"
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


@contextlib.contextmanager
def staging(data_dir: Path) -> Iterator[Path]:
    """Give an empty folder in data_dir; if the block fails, data_dir is as it was before.

    :raises ServiceExists: ``restore-running`` when another process is restoring there.
    """
    missing = topmost_missing(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    folder, lock = data_dir / FOLDER, os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(lock)
        # What a killed restore left.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        if missing is not None:
            shutil.rmtree(missing, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def image_in(folder: Path, path: str) -> Path:
    """Give where an image with this storage path is staged."""
    return folder / "images" / path


def stage_image(folder: Path, path: str) -> Path:
    """Give where an image with this storage path is staged, and make the folder for it."""
    target = image_in(folder, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def staged_images(folder: Path) -> Iterator[str]:
    """Give the folders of all staged snapshots: ``3f/9a/3f9a...``."""
    for shard in entries(folder / "images"):
        for second in entries(shard.path):
            for snapshot in entries(second.path):
                yield f"{shard.name}/{second.name}/{snapshot.name}"


def place_images(folder: Path, storage: Storage) -> None:
    """Move the staged images into the storage.

    One that is there already has the same bytes, for a path never changes its content.
    """
    storage.check()
    near = isinstance(storage, FileStorage) and storage.root.stat().st_dev == folder.stat().st_dev
    for snapshot in staged_images(folder):
        source = folder / "images" / snapshot
        if near and isinstance(storage, FileStorage):
            _rename_images(source, storage.root / snapshot)
        else:
            for entry in entries(source):
                storage.put(f"{snapshot}/{entry.name}", Path(entry.path).read_bytes())


def place_file(source: Path, target: Path) -> None:
    """Move a file to its place at once, from another file system if need be."""
    try:
        os.replace(source, target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}{FOLDER}")
        try:
            shutil.copy2(source, beside)
            os.sync()
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


def give_to_owner(settings: Settings, storage: Storage, *more: Path) -> None:
    """Give what root has made to the user whom data_dir belongs to."""
    if os.geteuid() != 0:
        return
    owner = settings.data_dir.stat()
    roots = [settings.data_dir, settings.secret_file, *more]
    if isinstance(storage, FileStorage):
        roots.append(storage.root)
    for root in roots:
        # Only root's own links are followed: that user could have made one to anywhere.
        top = root.resolve() if root.is_symlink() and root.lstat().st_uid == 0 else root
        os.chown(top, owner.st_uid, owner.st_gid, follow_symlinks=False)
        for _, _, files, folder in os.fwalk(top):
            os.chown(folder, owner.st_uid, owner.st_gid)
            for name in files:
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


def _rename_images(source: Path, target: Path) -> None:
    source.chmod(_FOLDER_MODE)
    for image in source.iterdir():
        image.chmod(_FILE_MODE)
    for folder in (target.parent.parent, target.parent):
        make_folder(folder, _FOLDER_MODE)
    try:
        os.rename(source, target)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        for image in source.iterdir():
            os.replace(image, target / image.name)


def topmost_missing(folder: Path) -> Path | None:
    """Give what making this folder with its parents would make first; None if it is there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1] if missing else None


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServiceExists("Another restore is at work there.", code="restore-running") from None
