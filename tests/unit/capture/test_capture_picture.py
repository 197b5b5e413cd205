import io
import os

import pytest
from PIL import Image

from linkpeek.capture.picture import is_blank, png_size


def png(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def test_size_is_read_from_the_header() -> None:
    assert png_size(png(Image.new("RGB", (321, 123)))) == (321, 123)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"x" * 40])
def test_not_a_png(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        png_size(data)


@pytest.mark.parametrize("colour", ["white", "black", "#123456"])
@pytest.mark.parametrize("level", [1, 9])
def test_one_colour_is_blank(colour: str, level: int) -> None:
    assert is_blank(png(Image.new("RGB", (1024, 768), colour), compress_level=level))


def test_one_pixel_makes_the_difference() -> None:
    picture = Image.new("RGB", (1024, 768), "white")
    picture.putpixel((1000, 700), (254, 255, 255))

    assert not is_blank(png(picture))


def test_large_file_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.frombytes("RGB", (200, 200), os.urandom(200 * 200 * 3))
    data = png(noise)
    monkeypatch.setattr(Image, "open", lambda _: pytest.fail("decoded"))

    assert not is_blank(data)
