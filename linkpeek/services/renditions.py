"""Renditions: the pictures that clients get, made from a snapshot's master.

The worker stores one master for each snapshot. A size that a client asks for is
made from it the first time and stored beside it, under a path that never
changes its content, so that Nginx can serve it from then on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from linkpeek import pictures
from linkpeek.errors import NotFound, Unavailable
from linkpeek.geometry import Size
from linkpeek.models import Snapshot
from linkpeek.services.lookups import Ready
from linkpeek.storage import Storage, image_path

#: The placeholders' folder: no snapshot's, for tokens are random.
PLACEHOLDER_TOKEN = "0" * 32

#: How many pictures one process makes at a time: the largest master takes 250 MB as it is
#: stored, and as much again decoded.
AT_ONCE = 2

#: Seconds that a request waits for its turn: whoever asks for one tall page in a hundred
#: sizes at once shall not hold every thread of a process.
PATIENCE = 5.0

_making = threading.BoundedSemaphore(AT_ONCE)


def master_path(token: str) -> str:
    """Give the path of a snapshot's master, the picture as it was captured."""
    return image_path(token, "master", "png")


def _place(snapshot: Snapshot | Ready, size: Size, image_format: str) -> str:
    if size.is_original and image_format == "png":
        return master_path(snapshot.token)
    return image_path(snapshot.token, str(size), image_format)


class RenditionService:
    """Makes and finds renditions in a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def path(self, snapshot: Snapshot | Ready, size: Size, image_format: str) -> str:
        """Give the storage path of a snapshot in a size, making the picture where needed.

        :param image_format: ``png`` or ``webp``.
        :raises NotFound: when the master is gone or damaged: the snapshot is lost.
        :raises Unavailable: when the storage does not answer or is full, and ``overloaded`` when
            too many pictures are being made.
        """
        if (found := self.found(snapshot, size, image_format)) is not None:
            return found
        path = _place(snapshot, size, image_format)
        if path == master_path(snapshot.token):
            raise NotFound("The stored picture is gone.")
        with _turn():
            master = self._storage.get(master_path(snapshot.token))
            picture = pictures.rendition(master, size, snapshot.viewport, image_format)
            del master
        self._storage.put(path, picture)
        return path

    def found(self, snapshot: Snapshot | Ready, size: Size, image_format: str) -> str | None:
        """Give the storage path of a snapshot in a size; None where the picture would have to be made."""
        path = _place(snapshot, size, image_format)
        return path if self._storage.exists(path) else None

    def placeholder_path(self, width: int, height: int) -> str:
        """Give the storage path of the picture that stands in while a capture is under way."""
        path = image_path(PLACEHOLDER_TOKEN, f"{width}x{height}", "png")
        if not self._storage.exists(path):
            self._storage.put(path, pictures.placeholder(width, height))
        return path


@contextmanager
def _turn() -> Iterator[None]:
    if not _making.acquire(timeout=PATIENCE):
        raise Unavailable("Too many pictures are being made just now.", code="overloaded")
    try:
        yield
    finally:
        _making.release()
