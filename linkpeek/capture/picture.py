"""The captured image as bytes: its size, and whether there is anything on it."""

import io
import struct

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: A picture of one colour compresses to less than a byte for this many pixels; only
#: one that small is looked at pixel by pixel.
_PIXELS_A_BYTE = 40


def png_size(image: bytes) -> tuple[int, int]:
    """Give (width, height) in pixels from the header.

    :raises ValueError: not a PNG.
    """
    if image[:8] != _SIGNATURE or len(image) < 24:
        raise ValueError("not a PNG")
    width, height = struct.unpack_from(">II", image, 16)
    return width, height


def may_be_blank(image: bytes) -> bool:
    """Whether a PNG is small enough to be of one colour: told at once, from its length."""
    width, height = png_size(image)
    return len(image) <= 4096 + width * height / _PIXELS_A_BYTE


def is_blank(image: bytes) -> bool:
    """Whether every pixel of a PNG has the same colour."""
    if not may_be_blank(image):
        return False
    with Image.open(io.BytesIO(image)) as picture:
        return picture.convert("RGB").getcolors(1) is not None
