"""Pictures that are drawn: one that stands in for a capture, one that says what is wrong.

Both are made for any size, from a dot to a wall: as much of symbol and words is
shown as can still be read. The font is the one Pillow carries, so every machine
draws the same.
"""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from linkpeek.pictures.words import Block, fit

Colour = tuple[int, int, int]
Symbol = Callable[[int, "Look"], Image.Image]


@dataclass(frozen=True, slots=True)
class Look:
    """The colours of a drawn picture."""

    background: Colour
    symbol: Colour
    words: Colour


_WAITING = Look(background=(242, 245, 249), symbol=(148, 163, 184), words=(71, 85, 105))
_WRONG = Look(background=(252, 246, 240), symbol=(201, 106, 36), words=(92, 58, 30))

#: Pictures that are drawn at a time in one process: the largest takes 250 MB.
_drawing = threading.BoundedSemaphore(2)

#: How much finer symbols are drawn than shown, which smooths their edges.
_FINER = 4

#: The least height, in pixels, of a picture that has room for a symbol above words.
_ROOM_FOR_BOTH = 64

#: The side, in pixels, of a symbol that stands without words.
_LARGEST_ALONE = 48


def placeholder(width: int, height: int) -> bytes:
    """Give a calm PNG that says a capture is under way.

    :param width: in pixels, 16 to 3840; the height 1 to 16383.
    """
    return _picture(width, height, "Capturing…", _WAITING, _page)


def error_picture(width: int, height: int, message: str) -> bytes:
    """Give a PNG that says in plain words what is wrong.

    :param width: in pixels, 16 to 3840; the height 1 to 3840.
    :param message: a sentence; where there is no room for it, a sign alone is drawn.
    """
    return _picture(width, height, message, _WRONG, _warning)


def _picture(width: int, height: int, message: str, look: Look, symbol: Symbol) -> bytes:
    with _drawing:
        return _drawn(width, height, message, look, symbol)


def _drawn(width: int, height: int, message: str, look: Look, symbol: Symbol) -> bytes:
    canvas = Image.new("RGB", (width, height), look.background)
    margin = max(1, min(width, height) // 12)
    room = (width - 2 * margin, height - 2 * margin)
    side = _symbol_side(width, height)
    below = fit(message, room[0], room[1] - side - side // 4) if height >= _ROOM_FOR_BOTH else None
    if below is not None:
        top = (height - side - side // 4 - below.height) // 2
        _paste(canvas, symbol(side, look), top)
        _write(canvas, below, top + side + side // 4, look)
    elif (alone := fit(message, *room)) is not None:
        _write(canvas, alone, (height - alone.height) // 2, look)
    else:
        side = max(10, min(*room, _LARGEST_ALONE))
        _paste(canvas, symbol(side, look), (height - side) // 2)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _symbol_side(width: int, height: int) -> int:
    return max(16, min(width // 5, height // 4, 480))


def _paste(canvas: Image.Image, symbol: Image.Image, top: int) -> None:
    canvas.paste(symbol, ((canvas.width - symbol.width) // 2, top), symbol)


def _write(canvas: Image.Image, block: Block, top: int, look: Look) -> None:
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(block.lines):
        place = (canvas.width / 2, top + (number + 0.5) * block.line_height)
        draw.text(place, line, fill=look.words, font=block.font, anchor="mm")


def _page(side: int, look: Look) -> Image.Image:
    """Draw a browser's window with three dots in it, as for something to come."""
    image = Image.new("RGBA", (side * _FINER, side * _FINER), (*look.symbol, 0))
    draw, unit = ImageDraw.Draw(image), side * _FINER / 24
    stroke = max(_FINER, round(1.5 * unit))
    draw.rounded_rectangle(
        (unit, 3 * unit, 23 * unit, 21 * unit), radius=2.5 * unit, outline=look.symbol, width=stroke
    )
    draw.rectangle((unit * 2, 7 * unit, 22 * unit, 7 * unit + stroke), fill=look.symbol)
    for x in (7, 12, 17):
        _dot(draw, x * unit, 14.5 * unit, 1.7 * unit, look.symbol)
    return image.resize((side, side), Image.Resampling.BOX)


def _warning(side: int, look: Look) -> Image.Image:
    """Draw a disc with an exclamation mark."""
    image = Image.new("RGBA", (side * _FINER, side * _FINER), (*look.symbol, 0))
    draw, unit = ImageDraw.Draw(image), side * _FINER / 24
    _dot(draw, 12 * unit, 12 * unit, 11 * unit, look.symbol)
    mark = look.background
    draw.rounded_rectangle((10.6 * unit, 5.5 * unit, 13.4 * unit, 13.8 * unit), radius=1.3 * unit, fill=mark)
    _dot(draw, 12 * unit, 17.2 * unit, 1.7 * unit, mark)
    return image.resize((side, side), Image.Resampling.BOX)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
