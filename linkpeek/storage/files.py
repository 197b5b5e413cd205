"""Images as files, laid out so that Nginx serves them itself.

A file is written under ``.tmp`` in the same file system, synced, and renamed to
its place, so no reader ever meets half of one. A snapshot is deleted the other
way round: its folder is renamed to ``.tmp``, then emptied there. What a crash
leaves is thus always under ``.tmp``, where the sweep finds it.
"""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from linkpeek.errors import ConfigurationError, NotFound, Unavailable
from linkpeek.storage.folders import (
    entries,
    make_folder,
    older,
    remove,
    remove_if_empty,
    remove_tree,
    size,
    sync,
    translated,
)
from linkpeek.storage.limited import TimeLimited
from linkpeek.storage.paths import is_image_path, is_shard, is_snapshot_folder
from linkpeek.storage.whole import damaged, is_whole_image, require_whole

CHECK_SECONDS = 5.0

#: Nginx, another user, reads images; only the service's own user writes them.
_FILE_MODE, _FOLDER_MODE, _PRIVATE_MODE = 0o644, 0o755, 0o700

#: Bytes that pictures leave free, for a database that lives on the same disk: when
#: there is no room for pictures any more, it can still say so, and take orders.
RESERVE = 32 * 1024 * 1024

#: How often a write starts over when a deletion takes away the folder under it.
_TRIES = 100

_PROBE = ".probe-"


class FileStorage:
    """Images in a folder; implements ``linkpeek.storage.Storage``.

    :param root: the folder, made with its parents on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / ".tmp"
        self._probing = TimeLimited(self._probe, CHECK_SECONDS)

    @classmethod
    def from_url(cls, rest: str) -> "FileStorage":
        """Read what follows ``file:`` in a storage URL: an absolute path, perhaps after ``//``.

        :raises ConfigurationError: if it is not absolute.
        """
        path = rest.removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise ConfigurationError(f"storage_url 'file:{rest}': the folder must be an absolute path")
        return cls(Path(path))

    def put(self, path: str, data: bytes) -> None:
        """Keep an image; see ``Storage.put``."""
        if not is_image_path(path):
            raise ValueError(f"not an image's path: {path!r}")
        if not is_whole_image(data, path.rpartition(".")[2]):
            raise ValueError("not a whole image of the kind the path names")
        with translated():
            temporary = self._write(data)
            try:
                self._move(temporary, self.root / path)
            finally:
                temporary.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:
        """Give the image's bytes; see ``Storage.get``."""
        with self.open(path) as file, translated():
            return file.read()

    def open(self, path: str) -> IO[bytes]:
        """Give the image as a file; see ``Storage.open``."""
        if not is_image_path(path):
            raise NotFound("There is no such image.")
        with translated():
            try:
                return require_whole((self.root / path).open("rb"), path)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFound("There is no such image.") from None
            except IsADirectoryError:
                raise damaged() from None

    def exists(self, path: str) -> bool:
        """Tell whether something is kept under this path."""
        if not is_image_path(path):
            return False
        with translated():
            try:
                os.stat(f"{self.root}/{path}")
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def images(self, folder: str) -> list[str]:
        """Give the paths of a snapshot's images; see ``Storage.images``."""
        if not is_snapshot_folder(folder):
            raise ValueError(f"not a snapshot's folder: {folder!r}")
        with translated():
            paths = [f"{folder}/{entry.name}" for entry in entries(self.root / folder)]
        return sorted(path for path in paths if is_image_path(path))

    def delete(self, folder: str) -> int:
        """Remove a snapshot's folder, and shard folders left empty; see ``Storage.delete``."""
        if not is_snapshot_folder(folder):
            raise ValueError(f"not a snapshot's folder: {folder!r}")
        place = self.root / folder
        doomed = self._temporary / f"{place.name}-{secrets.token_hex(8)}"
        with translated():
            self._prepare()
            try:
                os.rename(place, doomed)
            except FileNotFoundError:
                return 0
            freed = size(doomed)
            remove_tree(doomed)
            remove_if_empty(place.parent, place.parent.parent)
        return freed

    def check(self) -> None:
        """Write, read and remove a small file; see ``Storage.check``."""
        self._probing.ask()

    def usage(self) -> int:
        """Give the bytes kept in all; see ``Storage.usage``."""
        with translated():
            return size(self.root)

    def tokens(self, older_than: float) -> Iterator[str]:
        """Give the token of each snapshot folder; see ``Storage.tokens``."""
        latest = time.time() - older_than
        with translated():
            for shard in entries(self.root):
                for second in entries(shard.path) if is_shard(shard.name) else ():
                    for entry in entries(second.path):
                        if is_snapshot_folder(f"{shard.name}/{second.name}/{entry.name}") and older(
                            entry, latest
                        ):
                            yield entry.name

    def sweep_temporary(self, older_than: float) -> int:
        """Remove what interrupted writes and deletions left; see ``Storage.sweep_temporary``."""
        latest, count = time.time() - older_than, 0
        with translated():
            probes = [entry for entry in entries(self.root) if entry.name.startswith(_PROBE)]
            for entry in probes + entries(self._temporary):
                if older(entry, latest):
                    remove(entry)
                    count += 1
        return count

    def _prepare(self) -> None:
        """Make the root and the folder for temporary files, if they are not there."""
        if self._temporary.is_dir():
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        make_folder(self.root, _FOLDER_MODE)
        make_folder(self._temporary, _PRIVATE_MODE)
        sync(self.root.parent)

    def _require_room(self, size: int) -> None:
        disk = os.statvfs(self._temporary)
        if disk.f_bavail * disk.f_frsize < RESERVE + size:
            raise Unavailable("The image storage is full.", code="storage-full")

    def _write(self, data: bytes) -> Path:
        """Give a temporary file that holds these bytes safely on disk, or leave nothing."""
        self._prepare()
        self._require_room(len(data))
        handle, name = tempfile.mkstemp(dir=self._temporary)
        temporary = Path(name)
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(handle, _FILE_MODE)
                os.fsync(handle)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _move(self, temporary: Path, target: Path) -> None:
        """Rename to the final place, and have all folders on the way there written to disk."""
        folders = [self.root / folder for folder in target.relative_to(self.root).parents]
        for _ in range(_TRIES):
            # A deletion may take a folder away between any two of these steps.
            with contextlib.suppress(FileNotFoundError):
                for folder in reversed(folders[:-1]):
                    make_folder(folder, _FOLDER_MODE)
                os.rename(temporary, target)
                break
        else:
            raise Unavailable("The image could not be put in its place.", code="storage-unavailable")
        with contextlib.suppress(FileNotFoundError):
            for folder in folders:
                sync(folder)

    def _probe(self) -> None:
        """Do what ``put``, ``get`` and ``delete`` do, with a file in the root."""
        data = secrets.token_bytes(64)
        with translated():
            probe = self._write(data)
            moved = self.root / f"{_PROBE}{probe.name}"
            try:
                os.rename(probe, moved)
                sync(self.root)
                if moved.read_bytes() != data:
                    raise Unavailable("The image storage gives back other bytes.", code="storage-unavailable")
            finally:
                probe.unlink(missing_ok=True)
                moved.unlink(missing_ok=True)
