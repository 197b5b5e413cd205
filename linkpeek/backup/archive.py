"""The format of a backup: a tar file (POSIX.1-2001, ustar) of a strict kind.

    backup.json         what this is: format, version, schema, counts
    configuration.ini   the ini file
    secret              the secret file
    database.jsonl      the rows, see ``dump``
    images/...          the images, in the order of their names
    manifest.sha256     a digest of each of the above, as sha256sum writes and checks it
    whole.sha256        a digest of every byte before this member

Both digests come last, so a backup can be written to a pipe and is known to be
whole when it ends. Any tar program unpacks it; the reader here takes only what
the writer writes, to the bit: a member of another name or kind (a link, a
device, a way out such as ``../``) cannot even be expressed.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from linkpeek.backup.errors import BadBackup
from linkpeek.storage import is_image_path

HEADER, CONFIGURATION, SECRET, DATABASE = FIRST = (
    "backup.json",
    "configuration.ini",
    "secret",
    "database.jsonl",
)
IMAGES = "images/"
MANIFEST, WHOLE = "manifest.sha256", "whole.sha256"

BLOCK = tarfile.BLOCKSIZE
#: A tar file ends with two blocks of zeros.
END = bytes(2 * BLOCK)
_CHUNK = 1 << 18


class ArchiveWriter:
    """Writes a backup to a file or a pipe.

    :param out: where to; written from front to back.
    :param scratch: an empty file for the manifest until it is due.
    :param mtime: the time noted for all members, in seconds since the epoch.
    """

    def __init__(self, out: BinaryIO, scratch: BinaryIO, mtime: int) -> None:
        self._out = out
        self._manifest = scratch
        self._mtime = mtime
        self._whole = hashlib.sha256()
        self._last = ""
        self.size = 0

    def add(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Write a member."""
        self.add_file(name, io.BytesIO(data), len(data), mode)

    def add_file(self, name: str, source: BinaryIO, size: int, mode: int = 0o600) -> None:
        """Write a member of so many bytes from a file.

        :raises ValueError: images that come in another order would be refused when the backup is read.
        """
        if name.startswith(IMAGES):
            if name <= self._last:
                raise ValueError(f"{name} comes after {self._last}")
            self._last = name
        digest = hashlib.sha256()
        self._write(_header(name, size, mode, self._mtime))
        for chunk in _chunks(source, size):
            digest.update(chunk)
            self._write(chunk)
        self._write(_padding(size))
        self._manifest.write(_manifest_line(digest.hexdigest(), name))

    def close(self) -> str:
        """Write the digests and the end, and give the digest of the whole."""
        size = self._manifest.tell()
        self._manifest.seek(0)
        self._write(_header(MANIFEST, size, 0o600, self._mtime))
        for chunk in _chunks(self._manifest, size):
            self._write(chunk)
        self._write(_padding(size))
        whole = self._whole.hexdigest()
        self._write(_last_member(whole, self._mtime))
        return whole

    def _write(self, data: bytes) -> None:
        self._whole.update(data)
        self._out.write(data)
        self.size += len(data)


@dataclass
class Member:
    """A part of a backup that is being read; good for nothing before all of it was."""

    name: str
    size: int
    mode: int
    _source: "_Source"

    def __post_init__(self) -> None:
        self._left = self.size
        self._digest = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        """Give what has not been read yet."""
        while self._left:
            chunk = self._source.take(min(self._left, _CHUNK))
            self._left -= len(chunk)
            self._digest.update(chunk)
            yield chunk

    def read(self, limit: int) -> bytes:
        """Give all of it, if it is no more than so many bytes."""
        if self.size > limit:
            raise BadBackup(f"The backup is damaged: {self.name} is too large.")
        return b"".join(self.chunks())

    def copy_to(self, out: BinaryIO) -> None:
        """Write all of it to a file."""
        for chunk in self.chunks():
            out.write(chunk)

    def finish(self) -> bytes:
        """Read what is left, and give the member's line of the manifest."""
        for _ in self.chunks():
            pass
        self._source.expect(_padding(self.size))
        return _manifest_line(self._digest.hexdigest(), self.name)


def read_archive(source: BinaryIO) -> Iterator[Member]:
    """Give the members of a backup one by one, and judge the whole at the end.

    :raises BadBackup: at the first thing that is not as the writer writes it, and
        after the last member if any bit differs: nothing read before may be used.
    """
    stream, manifest, last = _Source(source), hashlib.sha256(), ""
    for position in range(1 << 62):
        info = _parse(stream.take(BLOCK), first=position == 0)
        member = Member(info.name, info.size, info.mode, stream)
        if position >= len(FIRST) and member.name == MANIFEST:
            break
        _check_order(member.name, last, position)
        last = member.name
        yield member
        manifest.update(member.finish())
    listed = hashlib.sha256()
    for chunk in member.chunks():
        listed.update(chunk)
    member.finish()
    if listed.digest() != manifest.digest():
        raise BadBackup("The backup is damaged: its parts are not those that its manifest lists.")
    stream.expect(_last_member(stream.whole(), int(info.mtime)))
    if stream.ahead():
        raise BadBackup("The backup is damaged: something was added to it.")


class _Source:
    """Bytes that come one after another and are counted into the digest of the whole."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._whole = hashlib.sha256()

    def whole(self) -> str:
        """Give the digest of all that was read."""
        return self._whole.copy().hexdigest()

    def take(self, size: int) -> bytes:
        """Give exactly so many bytes."""
        data = b""
        while len(data) < size:
            chunk = self._source.read(size - len(data))
            if not chunk:
                raise BadBackup("The backup is cut short.", code="backup-incomplete")
            data += chunk
        self._whole.update(data)
        return data

    def expect(self, data: bytes) -> None:
        """Read what must be there."""
        if self.take(len(data)) != data:
            raise BadBackup("The backup is damaged: it is not what was written.")

    def ahead(self) -> bool:
        """Tell whether there is anything more."""
        return bool(self._source.read(1))


def _parse(block: bytes, *, first: bool) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if info.size >= 0 and block == _header(info.name, info.size, info.mode, int(info.mtime)):
            return info
    except (tarfile.HeaderError, ValueError):
        pass
    if not first:
        raise BadBackup("The backup is damaged, or it holds what no backup of LinkPeek holds.")
    hint = " (it is compressed: unpack it first)" if block[:2] in (b"\x1f\x8b", b"\x28\xb5", b"BZ") else ""
    raise BadBackup(f"This is no backup of LinkPeek{hint}.", code="backup-foreign")


def _check_order(name: str, last: str, position: int) -> None:
    """See to it that a member is the next one there may be; so none can be there twice."""
    if position < len(FIRST):
        right = name == FIRST[position]
    else:
        right = name.startswith(IMAGES) and is_image_path(name.removeprefix(IMAGES))
        right = right and (position == len(FIRST) or name > last)
    if not right:
        code = "backup-damaged" if position else "backup-foreign"
        raise BadBackup(f"No backup of LinkPeek holds {name!r:.120} here: it is not used.", code=code)


def _header(name: str, size: int, mode: int, mtime: int) -> bytes:
    """Give the header block of a member: an ordinary file of nobody in particular."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode & 0o777, mtime
    block = info.tobuf(tarfile.GNU_FORMAT)
    if len(block) != BLOCK:
        raise ValueError(f"too long a name: {name!r}")
    return block


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _manifest_line(digest: str, name: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def _last_member(whole: str, mtime: int) -> bytes:
    data = f"{whole}\n".encode()
    return _header(WHOLE, len(data), 0o600, mtime) + data + _padding(len(data)) + END


def _chunks(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise ValueError("the source is shorter than was said")
        size -= len(chunk)
        yield chunk
