"""Making a backup while the service goes on.

The rows are those of one moment. The images they speak of are immutable, so it
does not matter how much later they are read; only the sweep can take one away
meanwhile, and then the backup does without it, as the service does.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from typing import BinaryIO

from linkpeek.backup.archive import CONFIGURATION, DATABASE, HEADER, IMAGES, SECRET, ArchiveWriter
from linkpeek.backup.dump import dump, one_view, ready_tokens
from linkpeek.backup.errors import disk_errors
from linkpeek.db import utcnow
from linkpeek.errors import ConfigurationError, NotFound
from linkpeek.migrations import current_revision
from linkpeek.resources import Resources
from linkpeek.settings import Settings
from linkpeek.storage import Storage, snapshot_folder

FORMAT = 1
#: Images that are fetched at once, and held: it is distant storages that need it. The largest has 250 MB.
_AT_ONCE = 4
#: Snapshots whose images are listed at a time.
_BATCH = 16

#: Told how many snapshots are done, and of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup holds.

    :ivar rows: how many rows of each table.
    :ivar missing: images that were damaged, or gone when their turn came.
    :ivar size: bytes of the whole.
    :ivar digest: SHA-256 of all before the last member, as that member has it.
    """

    rows: dict[str, int]
    images: int
    missing: int
    size: int
    digest: str


def back_up(resources: Resources, out: BinaryIO, progress: Progress = lambda done, total: None) -> Saved:
    """Write a backup of a service, which may be running, to a file or a pipe.

    :raises ConfigurationError: when the service is not initialised.
    :raises Unavailable: when the database or the storage does not answer, or the disk is full.
    """
    resources.require_ready()
    with disk_errors("The backup could not be written"), _scratch(resources.settings) as files:
        rows_file, tokens_file, manifest_file = files
        with one_view(resources.engine) as view:
            schema, rows = current_revision(view), dump(view, rows_file)
            total = _write_tokens(ready_tokens(view), tokens_file)
        created = utcnow()
        archive = ArchiveWriter(out, manifest_file, int(created.timestamp()))
        about = {
            "format": FORMAT,
            "service": "linkpeek",
            "version": version("linkpeek"),
            "schema": schema,
            "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
            "pictures": total,
        }
        archive.add(HEADER, json.dumps(about, indent=1).encode() + b"\n")
        _add_files(archive, resources.settings)
        size = rows_file.tell()
        rows_file.seek(0)
        archive.add_file(DATABASE, rows_file, size)
        tokens_file.seek(0)
        images, missing = _add_images(
            archive, resources.storage, tokens_file, lambda done: progress(done, total)
        )
        digest = archive.close()
        out.flush()
    return Saved(rows, images, missing, archive.size, digest)


@contextmanager
def _scratch(settings: Settings) -> Iterator[list[BinaryIO]]:
    """Give three files without a name under data_dir: gone when the process is, however it ends."""
    with ExitStack() as open_files:
        yield [open_files.enter_context(tempfile.TemporaryFile(dir=settings.data_dir)) for _ in range(3)]


def _write_tokens(tokens: Iterator[str], out: BinaryIO) -> int:
    count = 0
    for token in tokens:
        out.write(f"{token}\n".encode())
        count += 1
    return count


def _add_files(archive: ArchiveWriter, settings: Settings) -> None:
    if settings.ini_file is None:
        raise ConfigurationError("a backup needs the ini file that the service runs by")
    archive.add(CONFIGURATION, settings.ini_file.read_bytes(), settings.ini_file.stat().st_mode)
    archive.add(SECRET, settings.secret_file.read_bytes())


def _add_images(
    archive: ArchiveWriter, storage: Storage, tokens: BinaryIO, progress: Callable[[int], None]
) -> tuple[int, int]:
    done = images = missing = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while batch := [line.decode().strip() for line in islice(tokens, _BATCH)]:
            listed = list(pool.map(storage.images, map(snapshot_folder, batch)))
            missing += sum(not paths for paths in listed)
            paths = chain.from_iterable(listed)
            while few := list(islice(paths, _AT_ONCE)):
                for path, data in zip(few, pool.map(partial(_image, storage), few), strict=True):
                    if data is None:
                        missing += 1
                    else:
                        archive.add(IMAGES + path, data, 0o644)
                        images += 1
            done += len(batch)
            progress(done)
    return images, missing


def _image(storage: Storage, path: str) -> bytes | None:
    """Give an image; None where it is damaged or went away."""
    try:
        return storage.get(path)
    except NotFound:
        return None
