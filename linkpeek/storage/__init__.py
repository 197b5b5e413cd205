"""Where images are kept: one small interface, and a backend for each kind of place.

Images are immutable and appear whole or not at all. Which snapshots exist, how
old they are and what they show is the database's business; a storage only keeps
bytes under paths (see ``paths``). Every backend passes ``tests/contracts/storage.py``.
"""

from collections.abc import Iterator
from typing import IO, Protocol

from linkpeek.errors import ConfigurationError
from linkpeek.storage.files import FileStorage
from linkpeek.storage.paths import image_path, is_image_path, media_type, snapshot_folder
from linkpeek.storage.s3 import S3Storage

__all__ = ["Storage", "image_path", "is_image_path", "media_type", "snapshot_folder", "storage_from_url"]


class Storage(Protocol):
    """What every backend does; safe to use from many threads and processes.

    Each method but ``put`` and ``delete`` takes any text for a path and treats
    one of the wrong shape as something that is not there. Each raises
    ``Unavailable``, with code ``storage-full`` or ``storage-unavailable``, when
    the place itself fails.
    """

    def put(self, path: str, data: bytes) -> None:
        """Keep an image; when this returns it would survive a power cut.

        A reader sees the whole image, or what was there before, never a part.

        :raises ValueError: for a path of the wrong shape, or bytes that are not one
            whole image of the kind the path names.
        """

    def get(self, path: str) -> bytes:
        """Give the image's bytes.

        :raises NotFound: if there is none, or, with code ``image-damaged``, if what
            is there is not a whole image: capture or render it again.
        """

    def open(self, path: str) -> IO[bytes]:
        """Give the image as a file at its start, in little memory, for the caller to close.

        All of it was looked at before, as for ``get``: what is not a whole image is not begun.

        :raises NotFound: as ``get``.
        """

    def exists(self, path: str) -> bool:
        """Tell whether something is kept under this path."""

    def images(self, folder: str) -> list[str]:
        """Give the paths of all images of a snapshot, sorted; none is no error.

        :param folder: the snapshot's folder, as ``snapshot_folder`` gives it.
        :raises ValueError: for anything but such a folder.
        """

    def delete(self, folder: str) -> int:
        """Remove all images of a snapshot, and give how many bytes that freed.

        Nothing there is no error: 0.

        :param folder: the snapshot's folder, as ``snapshot_folder`` gives it.
        :raises ValueError: for anything but such a folder.
        """

    def check(self) -> None:
        """Write, read and remove a small probe, within a few seconds.

        :raises Unavailable: if any of it fails or takes too long.
        """

    def usage(self) -> int:
        """Give the bytes kept in all. Goes through everything: for the sweep, not for a request."""

    def tokens(self, older_than: float) -> Iterator[str]:
        """Give the token of each snapshot something is kept of, so that the sweep finds strays.

        :param older_than: leave out what was changed less than so many seconds ago.
        """

    def sweep_temporary(self, older_than: float) -> int:
        """Remove what interrupted writes and deletions left, and give how many such things.

        :param older_than: leave alone what is younger, in seconds: it may be in use.
        """


def storage_from_url(url: str) -> Storage:
    """Give the storage that a URL names; nothing is opened or made before its first use.

    ``file:/absolute/folder`` (the rest is taken to the letter, no percent-decoding), or
    ``s3://bucket/prefix?endpoint_url=...&region_name=...`` (needs the extra ``s3``).

    :raises ConfigurationError: for any other URL, or if boto3 is needed and missing.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file":
        return FileStorage.from_url(rest)
    if scheme == "s3":
        return S3Storage.from_url(url)
    raise ConfigurationError(f"storage_url {url!r}: there are file:/absolute/folder and s3://bucket/prefix")
