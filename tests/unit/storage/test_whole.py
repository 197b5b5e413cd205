"""Whole images, and every way of not being one."""

import io

import pytest
from contracts.storage import image, noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linkpeek.errors import NotFound
from linkpeek.storage.whole import is_whole_file, is_whole_image, require_whole

PNG = image()
WEBP = image(image_format="WEBP")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_png_of_every_kind_is_whole(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (7, 5)).save(buffer, "PNG", dpi=(72, 72))

    assert is_whole_image(buffer.getvalue(), "png")


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 1}, {"exif": b"Exif\0\0x"}], ids=str)
def test_webp_of_every_kind_is_whole(options: dict[str, object]) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (7, 5)).save(buffer, "WEBP", **options)

    assert is_whole_image(buffer.getvalue(), "webp")


def test_a_large_png_of_many_chunks_is_whole() -> None:
    assert noise(500).count(b"IDAT") > 1
    assert is_whole_image(noise(500), "png")


def test_a_file_is_read_from_its_start_whatever_was_read_of_it() -> None:
    file = io.BytesIO(PNG)
    file.seek(5)

    assert is_whole_file(file, "png")
    assert require_whole(file, "a/b.png").read() == PNG


def test_a_file_that_is_not_whole_is_closed() -> None:
    file = io.BytesIO(PNG)

    with pytest.raises(NotFound) as caught:
        require_whole(file, "a/b.webp")
    assert caught.value.code == "image-damaged"
    assert file.closed


@pytest.mark.parametrize("length", range(len(PNG)))
def test_no_beginning_of_a_png_is_whole(length: int) -> None:
    assert not is_whole_image(PNG[:length], "png")


@pytest.mark.parametrize("length", range(len(WEBP)))
def test_no_beginning_of_a_webp_is_whole(length: int) -> None:
    assert not is_whole_image(WEBP[:length], "webp")


@pytest.mark.parametrize("position", range(len(PNG)))
def test_no_png_with_a_flipped_bit_is_whole(position: int) -> None:
    flipped = bytearray(PNG)
    flipped[position] ^= 1

    assert not is_whole_image(bytes(flipped), "png")


@given(st.binary(max_size=200), st.sampled_from(["png", "webp"]))
def test_other_bytes_are_not(data: bytes, ending: str) -> None:
    assert not is_whole_image(data, ending)


def test_one_kind_is_not_the_other() -> None:
    assert not is_whole_image(PNG, "webp")
    assert not is_whole_image(WEBP, "png")
