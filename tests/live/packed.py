"""Answers that cost their sender kilobytes, and whoever unpacks them gigabytes."""

import zlib

#: A gzip member's beginning (RFC 1952), and an empty stored block of deflate (RFC 1951, 3.2.4).
HEAD = bytes.fromhex("1f8b08000000000000ff")
NOTHING = b"\x00\x00\x00\xff\xff"

MIB = 2**20


def block(data: bytes) -> bytes:
    """Pack data so that the result may be repeated within one stream."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    return pack.compress(data) + pack.flush(zlib.Z_FULL_FLUSH)


def silent(gigabytes: int) -> bytes:
    """gzip in gzip in gzip: what is unpacked twice is so much, and of it nothing comes out."""
    eight = block(NOTHING * (8 * MIB // len(NOTHING)))
    return HEAD + block(HEAD + block(HEAD)) + block(eight * 128) * gigabytes


def spaces(mebibytes: int) -> tuple[bytes, bytes]:
    """A beginning, and what may follow it any number of times: so much of nothing but spaces, packed."""
    return HEAD + block(b" "), block(b" " * MIB) * mebibytes
