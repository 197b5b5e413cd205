"""Viewports and sizes: what part of a page is captured and how large the picture is.

API v1 writes both as short words. ``viewport`` is the window the page is laid
out in: ``W`` (the height is 3/4 of it), ``WxH``, ``desktop``, ``tablet``,
``mobile``, or empty for 1024. ``size`` is the picture that comes back: ``W``
(the viewport's height in proportion), ``WxH`` (scaled to the width and cut from
the top), ``original`` (the whole page at full size), or empty for 336.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from linkpeek.errors import ParameterError

DEFAULT_VIEWPORT_WIDTH = 1024
DEFAULT_SIZE_WIDTH = 336

#: Bounds in CSS pixels. The least is what a page can still be laid out in; the
#: greatest keeps one capture's bitmap within what the browser's cage allows.
VIEWPORT_MIN, VIEWPORT_MAX = 64, 3840
SIZE_MIN, SIZE_MAX = 16, 3840

#: The tallest picture of a whole page, in pixels. Chromium's software compositor
#: draws textures up to 16384 px a side and repeats or blanks what is beyond.
MAX_PAGE_HEIGHT = 16384

#: The tallest picture of a width, in pixels: the longest side WebP's format has bits for (RFC 9649, 2.6
#: and 3.4). A narrow, high window scaled to a great width would else take gigabytes.
PICTURE_MAX_HEIGHT = 16383

_DIGITS = re.compile(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", re.ASCII)


class Extent(StrEnum):
    """How far down a capture reaches."""

    VIEWPORT = "viewport"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Viewport:
    """The window a page is laid out in, in CSS pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


NAMED_VIEWPORTS = {
    "desktop": Viewport(1280, 960),
    "tablet": Viewport(768, 1024),
    "mobile": Viewport(375, 667),
}


@dataclass(frozen=True, slots=True)
class Size:
    """The picture asked for: width and height in pixels, either None where free.

    ``Size(None, None)`` is ``original``; ``Size(336, None)`` is ``336``.
    """

    width: int | None
    height: int | None

    @property
    def is_original(self) -> bool:
        """Whether the whole page at full size is asked for."""
        return self.width is None

    def extent(self, viewport: Viewport) -> Extent:
        """Give how far down the page must be captured to make this picture."""
        if self.width is None:
            return Extent.FULL
        if self.height is None or self.height * viewport.width <= viewport.height * self.width:
            return Extent.VIEWPORT
        return Extent.FULL

    def pixels(self, viewport: Viewport) -> tuple[int, int]:
        """Give the picture's (width, height), as far as it is known before the capture.

        ``original`` is known only afterwards; for it this is the viewport's size.
        """
        if self.width is None:
            return viewport.width, viewport.height
        height = self.height or max(1, round(self.width * viewport.height / viewport.width))
        return self.width, height

    def __str__(self) -> str:
        if self.width is None:
            return "original"
        return f"{self.width}x{self.height}" if self.height else f"{self.width}"


def parse_viewport(text: str) -> Viewport:
    """Read API v1's ``viewport``.

    :raises ParameterError: ``bad-viewport``.
    """
    if text in NAMED_VIEWPORTS:
        return NAMED_VIEWPORTS[text]
    width, height = _dimensions(text or str(DEFAULT_VIEWPORT_WIDTH), "viewport", VIEWPORT_MIN, VIEWPORT_MAX)
    if height is None:
        height = max(VIEWPORT_MIN, round(width * 3 / 4))
    return Viewport(width, height)


def parse_size(text: str, viewport: Viewport) -> Size:
    """Read API v1's ``size``, for a page laid out in a window.

    :raises ParameterError: ``bad-size``; also where the window's proportion makes it too high.
    """
    if text == "original":
        return Size(None, None)
    size = Size(*_dimensions(text or str(DEFAULT_SIZE_WIDTH), "size", SIZE_MIN, SIZE_MAX))
    _, height = size.pixels(viewport)
    if height > PICTURE_MAX_HEIGHT:
        raise ParameterError(
            f"With this viewport the picture would be {height} pixels high; "
            f"{PICTURE_MAX_HEIGHT} is the most.",
            code="bad-size",
        )
    return size


def _dimensions(text: str, name: str, least: int, greatest: int) -> tuple[int, int | None]:
    match = _DIGITS.fullmatch(text)
    if match is None:
        words = "original" if name == "size" else ", ".join(NAMED_VIEWPORTS)
        raise ParameterError(f"{name} must be W, WxH or {words}.", code=f"bad-{name}")
    width, height = int(match[1]), int(match[2]) if match[2] else None
    for value in (width, height):
        if value is not None and not least <= value <= greatest:
            raise ParameterError(
                f"{name} must be between {least} and {greatest} pixels a side.", code=f"bad-{name}"
            )
    return width, height
