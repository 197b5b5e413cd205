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
_MAX_LINES = 8
_LARGEST_PART = 14

#: Words of at least this many letters, such as a host's name, may be broken; at small sizes only.
_LONG_WORD = 17
_BREAKING_SIZES = tuple(size for size in SIZES if size <= 12)

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
    largest = max(SIZES[-4], max(width, 2 * height) // _LARGEST_PART)
    for size in SIZES:
        if size <= largest and (block := _block(words, size, width, height)) is not None:
            return block
    for size in _BREAKING_SIZES:
        if (block := _block(_broken(words, _font(size), width), size, width, height)) is not None:
            return block
    return None


def _block(words: list[str], size: int, width: int, height: int) -> Block | None:
    """Break words into lines, in letters of one size; None if they do not fit."""
    font, line_height = _font(size), round(size * 1.3)
    most = min(_MAX_LINES, height // line_height)
    lines = _wrapped(words, font, width) if most > 0 else None
    if not lines or len(lines) > most:
        return None
    return Block(_balanced(lines, font, width), font, line_height)


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
    lines: list[str] = []
    for word in words:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        elif font.getlength(word) <= width:
            lines.append(word)
        else:
            return None
    return lines


def _balanced(lines: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Make as many lines of about the same length."""
    words = " ".join(lines).split()
    while width := width * 19 // 20:
        narrower = _wrapped(words, font, width)
        if narrower is None or len(narrower) > len(lines):
            break
        lines = narrower
    return lines


def _broken(words: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break the long words that are wider than a line into parts that each fill one."""
    parts = []
    for word in words:
        start = 0
        if len(word) >= _LONG_WORD:
            for end in range(2, len(word) + 1):
                if end - start > 1 and font.getlength(word[start:end]) > width:
                    parts.append(word[start : end - 1])
                    start = end - 1
        parts.append(word[start:])
    return parts


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font
