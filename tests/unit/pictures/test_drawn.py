"""Drawn pictures: at every size something is shown, and words where they can be read."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from linkpeek.pictures import drawn, error_picture, placeholder
from linkpeek.pictures.words import MAX_LENGTH, SIZES, _drawable, fit
from linkpeek.storage.whole import is_whole_image

MESSAGE = "The page could not be captured: there is no host of this name."
SIZES_ASKED = [(16, 16), (140, 100), (336, 252), (1024, 768), (3840, 16), (16, 3840), (728, 90), (120, 600)]


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def drawn_box(picture: Image.Image) -> tuple[int, int, int, int]:
    """Where anything is drawn on the background."""
    background = Image.new("RGB", picture.size, picture.getpixel((0, 0)))  # type: ignore[arg-type]
    box = ImageChops.difference(picture, background).getbbox()
    assert box is not None, "nothing is drawn"
    return box


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The lines that are written."""
    written: list[list[str]] = []
    write = drawn._write

    def recorded(canvas: object, block: object, *rest: object) -> None:
        written.append(block.lines)  # type: ignore[attr-defined]
        write(canvas, block, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(drawn, "_write", recorded)
    return written


@pytest.mark.parametrize(("width", "height"), SIZES_ASKED)
@pytest.mark.parametrize("kind", ["placeholder", "error"])
def test_is_centred_within_the_size_asked_for(kind: str, width: int, height: int) -> None:
    data = placeholder(width, height) if kind == "placeholder" else error_picture(width, height, MESSAGE)
    picture = decoded(data)

    assert is_whole_image(data, "png")
    assert (picture.size, picture.mode) == ((width, height), "RGB")
    left, top, right, bottom = drawn_box(picture)
    assert left > 0
    assert top > 0
    assert right < width
    assert bottom < height
    assert abs(left - (width - right)) <= max(3, width // 20)
    assert abs(top - (height - bottom)) <= max(4, height // 12)


@pytest.mark.parametrize(("width", "height"), [(140, 100), (200, 150), (336, 252), (728, 40), (3840, 3840)])
def test_the_whole_message_is_written(words: list[list[str]], width: int, height: int) -> None:
    error_picture(width, height, MESSAGE)

    assert " ".join(words[0]) == MESSAGE


@pytest.mark.parametrize(("width", "height"), [(16, 16), (32, 32), (16, 3840)])
def test_too_little_room_for_words_leaves_a_sign(words: list[list[str]], width: int, height: int) -> None:
    error_picture(width, height, MESSAGE)

    assert words == []


@pytest.mark.parametrize(("width", "height"), [(64, 64), (80, 60), (140, 100), (728, 40)])
def test_the_placeholder_says_what_happens(words: list[list[str]], width: int, height: int) -> None:
    placeholder(width, height)

    assert words == [["Capturing…"]]


def test_the_two_cannot_be_mistaken_for_each_other() -> None:
    waiting, wrong = decoded(placeholder(16, 16)), decoded(error_picture(16, 16, MESSAGE))

    assert waiting.getpixel((0, 0)) != wrong.getpixel((0, 0))
    assert waiting.getpixel((8, 2)) != wrong.getpixel((8, 2))


def test_same_in_same_out() -> None:
    assert placeholder(336, 252) == placeholder(336, 252)
    assert error_picture(336, 252, MESSAGE) == error_picture(336, 252, MESSAGE)


def test_words_grow_with_the_picture_up_to_a_point() -> None:
    heights = [fit("Capturing…", side, side).line_height for side in (64, 200, 400, 1000)]  # type: ignore[union-attr]

    assert heights == sorted(set(heights))
    assert fit("Capturing…", 3840, 3840).line_height == heights[-1]  # type: ignore[union-attr]


def test_a_word_wider_than_the_picture_is_broken_only_if_it_is_a_long_one() -> None:
    name = "a-rather-long-name-of-a-host.example"

    block = fit(name, 100, 100)

    assert block is not None
    assert len(block.lines) > 1
    assert "".join(block.lines) == name
    assert fit("Capturing…", 30, 100) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bücher für Čapek", "Bucher fur Capek"),
        ("a \N{EN DASH} b \N{EM DASH} c", "a - b - c"),
        ("5 €", "5 EUR"),
        ("“It\N{RIGHT SINGLE QUOTATION MARK}s”…", "“It\N{RIGHT SINGLE QUOTATION MARK}s”…"),
        ("two\r\n lines\tand\0more", "two lines and?more"),
        ("日本", "??"),
        ("\udcff", "?"),
    ],
)
def test_what_the_font_has_not_is_replaced(text: str, expected: str) -> None:
    assert _drawable(text) == expected


def test_a_long_message_is_cut() -> None:
    assert _drawable("word " * 1000).endswith("…")
    assert len(_drawable("word " * 1000)) == MAX_LENGTH


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=400), st.integers(16, 500), st.integers(16, 500))
def test_any_message_fits_any_size(message: str, width: int, height: int) -> None:
    picture = decoded(error_picture(width, height, message))

    left, top, right, bottom = drawn_box(picture)
    assert picture.size == (width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@settings(deadline=None, max_examples=60)
@given(st.text(min_size=1), st.integers(1, 600), st.integers(1, 300))
def test_lines_are_never_wider_or_higher_than_the_box(text: str, width: int, height: int) -> None:
    block = fit(text, width, height)

    if block is not None:
        assert block.height <= height
        assert all(block.font.getlength(line) <= width for line in block.lines)
        assert block.line_height >= SIZES[-1]
