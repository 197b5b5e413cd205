"""Words on a picture: the largest letters at which a sentence fits.

The font is Aileron, as Pillow carries it: it has ASCII and the typographer's
quotes and dots, so everything else is first written with those.
"""

import unicodedata
from dataclasses import dataclass

from PIL import ImageFont

#: Sizes of letters in pixels, tried from the largest; below the last nobody reads them.
SIZES = (120, 96, 80, 64, 52, 44, 36, 30, 26, 22, 20, 18, 16, 15, 14, 13, 12, 11, 10)

#: A sentence longer than this is cut: it has to be read, and drawn in bounded time.
MAX_LENGTH = 300

#: Lines at most, and letters at most this part of the width, so large pictures do not shout.
_MAX_LINES = 6
_LARGEST_PART = 14

_SUBSTITUTES = {"\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{EURO SIGN}": "EUR"}
_IN_FONT = frozenset(map(chr, range(0x20, 0x7F))) | {
    "\N{HORIZONTAL ELLIPSIS}",
    "\N{LEFT SINGLE QUOTATION MARK}",
    "\N{RIGHT SINGLE QUOTATION MARK}",
    "\N{LEFT DOUBLE QUOTATION MARK}",
    "\N{RIGHT DOUBLE QUOTATION MARK}",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of words and the font that makes them fit."""

    lines: list[str]
    font: ImageFont.FreeTypeFont
    line_height: int

    @property
    def height(self) -> int:
        """The height of all lines, in pixels."""
        return len(self.lines) * self.line_height


def fit(text: str, width: int, height: int) -> Block | None:
    """Break a text into lines that fit into a box, in letters as large as that allows.

    :param width: of the box, in pixels.
    :returns: None if the box is too small for letters that can be read.
    """
    words = _drawable(text).split()
    for size in SIZES:
        line_height = round(size * 1.3)
        most = min(_MAX_LINES, height // line_height)
        if not words or most < 1 or (size > SIZES[-4] and size > max(width, 2 * height) // _LARGEST_PART):
            continue
        font = _font(size)
        lines = _wrapped(words, font, width)
        if lines is not None and len(lines) <= most:
            return Block(lines, font, line_height)
    return None


def _drawable(text: str) -> str:
    """Write a text, cut to its greatest length, with the letters the font has."""
    text = " ".join(text[: 2 * MAX_LENGTH].split())
    if len(text) > MAX_LENGTH:
        text = text[: MAX_LENGTH - 1] + "…"
    return "".join(map(_drawable_letter, text))


def _drawable_letter(letter: str) -> str:
    """Give a letter as it is, or without its accent, or a question mark."""
    if letter in _IN_FONT or letter in _SUBSTITUTES:
        return _SUBSTITUTES.get(letter, letter)
    parts = [part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part)]
    return "".join(part if part in _IN_FONT else "?" for part in parts)


def _wrapped(words: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str] | None:
    """Fill lines with words; None if one word is wider than a line."""
    lines = [""]
    for word in words:
        if font.getlength(word) > width:
            return None
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font
