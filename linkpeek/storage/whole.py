"""Whether bytes are one whole image: what a torn or foreign file fails.

Not a decoder: it follows the container only, at more than a gigabyte a second, and
holds no more than a block of it at a time.
Formats: PNG (ISO/IEC 15948:2004, 5.2 to 5.4) and WebP (RFC 9649, 2.3 to 2.5).
"""

import contextlib
import io
import os
import zlib
from typing import IO

from linkpeek.errors import NotFound

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Bytes of a file that are held in memory at a time.
BLOCK = 64 * 1024


def is_whole_image(data: bytes, ending: str) -> bool:
    """Tell whether these bytes are one complete image of the kind the file ending names.

    :param ending: ``png`` or ``webp``.
    """
    return is_whole_file(io.BytesIO(data), ending)


def is_whole_file(file: IO[bytes], ending: str) -> bool:
    """Tell whether a file is one complete image of the kind its ending names.

    :param file: one that can be sought in; it is read from its start to its end.
    :param ending: ``png`` or ``webp``.
    """
    file.seek(0)
    return _is_whole_png(file) if ending == "png" else _is_whole_webp(file)


def require_whole(file: IO[bytes], path: str) -> IO[bytes]:
    """Give a file back, at its start, that is a whole image of the kind its path names; close any other.

    :raises NotFound: ``image-damaged``.
    """
    with contextlib.ExitStack() as failing:
        failing.enter_context(file)
        if not is_whole_file(file, path.rpartition(".")[2]):
            raise damaged()
        file.seek(0)
        failing.pop_all()
    return file


def damaged() -> NotFound:
    """Give the error for something that is kept and is not a whole image."""
    return NotFound("The stored image is damaged.", code="image-damaged")


def _is_whole_png(file: IO[bytes]) -> bool:
    """Follow the chunks from IHDR to an IEND that ends the file."""
    if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE or _read_chunk(file) != b"IHDR":
        return False
    while kind := _read_chunk(file):
        if kind == b"IEND":
            return not file.read(1)
    return False


def _read_chunk(file: IO[bytes]) -> bytes:
    """Read a chunk and give its type; nothing where it is cut short or fails its checksum."""
    head = file.read(8)
    left, kind = int.from_bytes(head[:4]), head[4:]
    checksum = zlib.crc32(kind)
    while left:
        block = file.read(min(left, BLOCK))
        if not block:
            return b""
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    return kind if file.read(4) == checksum.to_bytes(4) else b""


def _is_whole_webp(file: IO[bytes]) -> bool:
    """Compare the RIFF header's length; WebP has no checksum."""
    head, size = file.read(20), file.seek(0, os.SEEK_END)
    return (
        size > 20
        and head[:4] == b"RIFF"
        and head[8:12] == b"WEBP"
        and head[12:15] == b"VP8"
        and int.from_bytes(head[4:8], "little") == size - 8
    )
