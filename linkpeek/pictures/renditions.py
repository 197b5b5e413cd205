"""Renditions: a captured page at the size that was asked for.

The settings of the encoders were chosen by measurement on captures of text and of
photographs, see ``docs/storage.md``.
"""

import io
import struct
import zlib

from PIL import Image

from linkpeek.errors import NotFound
from linkpeek.geometry import MAX_PAGE_HEIGHT, PICTURE_MAX_HEIGHT, VIEWPORT_MAX, Size, Viewport

#: The most pixels a master can have; decoded, each takes four bytes.
MAX_PIXELS = VIEWPORT_MAX * MAX_PAGE_HEIGHT

#: With zlib-ng smaller and twice as fast as Pillow's default of 6.
PNG_LEVEL = 3

_BACKGROUND = (255, 255, 255)
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def rendition(master: bytes, size: Size, viewport: Viewport, image_format: str) -> bytes:
    """Make the picture of a page in a size.

    The page is scaled to the width, then cut from the top to the height, or
    continued in white where it is shorter. Nothing but pixels is kept.

    :param master: the PNG that was captured. For ``original`` as PNG it is the
        result, to the byte; as WebP it is kept pixel for pixel, but for the last row
        of a page as tall as WebP cannot be.
    :param image_format: ``png`` or ``webp``.
    :raises NotFound: ``image-damaged`` if the master cannot be read or is too large.
    """
    if size.is_original and image_format == "png":
        _dimensions(master)
        return master
    page = _decode(master)
    if size.is_original:
        return _encode_original(page)
    picture = _scaled(page, *size.pixels(viewport))
    del page
    return _encode(picture, image_format)


def _dimensions(png: bytes) -> tuple[int, int]:
    """Read width and height, and refuse what would take too much memory to decode."""
    if not png.startswith(_PNG_START) or len(png) < len(_PNG_START) + 8:
        raise _damaged()
    width, height = struct.unpack_from(">II", png, len(_PNG_START))
    if not 0 < width * height <= MAX_PIXELS:
        raise _damaged()
    return width, height


def _decode(png: bytes) -> Image.Image:
    """Give the pixels as RGB, without any metadata, on the page's background."""
    _dimensions(png)
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.load()
            pixels: Image.Image = image  # a copy would take a quarter of a thumbnail's time
            if image.mode != "RGB" or "transparency" in image.info:
                coloured = image.convert("RGBA")
                pixels = Image.new("RGB", image.size, _BACKGROUND)
                pixels.paste(coloured, mask=coloured)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as exc:
        raise _damaged() from exc
    pixels.info.clear()
    return pixels


def _scaled(page: Image.Image, width: int, height: int) -> Image.Image:
    """Scale to the width; cut from the top, or pad below, to the height."""
    rows = min(float(page.height), height * page.width / width)
    drawn = min(height, max(1, round(rows * width / page.width)))
    picture = page.resize(
        (width, drawn), Image.Resampling.LANCZOS, box=(0, 0, page.width, rows), reducing_gap=3.0
    )
    if drawn == height:
        return picture
    padded = Image.new("RGB", (width, height), _BACKGROUND)
    padded.paste(picture)
    return padded


def _encode(picture: Image.Image, image_format: str) -> bytes:
    """Encode a thumbnail; as WebP with loss, for a third of the bytes."""
    buffer = io.BytesIO()
    if image_format == "png":
        picture.save(buffer, "PNG", compress_level=PNG_LEVEL)
    else:
        picture.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()


def _encode_original(page: Image.Image) -> bytes:
    """Encode a whole page as WebP without loss: text stays sharp, at about half a PNG's bytes."""
    if page.height > PICTURE_MAX_HEIGHT:
        page = page.crop((0, 0, page.width, PICTURE_MAX_HEIGHT))
    buffer = io.BytesIO()
    page.save(buffer, "WEBP", lossless=True, quality=20, method=1)
    return buffer.getvalue()


def _damaged() -> NotFound:
    return NotFound("The stored image is damaged.", code="image-damaged")
