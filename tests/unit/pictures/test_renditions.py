"""Renditions, checked pixel by pixel on pages whose pixels are known."""

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageStat, PngImagePlugin

from linkpeek.errors import NotFound
from linkpeek.geometry import Size, Viewport
from linkpeek.pictures import rendition
from linkpeek.storage.whole import is_whole_image

WIDE = Viewport(1024, 768)
RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def page(width: int, height: int, red_rows: int) -> bytes:
    """A page that is red at the top and green below."""
    picture = Image.new("RGB", (width, height), GREEN)
    picture.paste(RED, (0, 0, width, red_rows))
    return png(picture)


def detailed(width: int = 1024, height: int = 768) -> Image.Image:
    """A page of text and lines."""
    picture = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(picture)
    for y in range(0, height, 24):
        draw.text((10, y), f"Line {y} of a page with words in it, " * 5, fill=(y % 256, 40, 90))
    return picture


def is_near(found: object, expected: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= 6 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("image_format", ["png", "webp"])
class TestBoth:
    @pytest.mark.parametrize(
        ("size", "viewport", "expected"),
        [
            (Size(336, None), WIDE, (336, 252)),
            (Size(336, None), Viewport(375, 667), (336, 598)),
            (Size(16, None), Viewport(3840, 64), (16, 1)),
            (Size(140, 100), WIDE, (140, 100)),
            (Size(2000, 16), WIDE, (2000, 16)),
            (Size(16, 3840), WIDE, (16, 3840)),
            (Size(3840, 16), WIDE, (3840, 16)),
        ],
        ids=str,
    )
    def test_has_the_size_asked_for(
        self, image_format: str, size: Size, viewport: Viewport, expected: tuple[int, int]
    ) -> None:
        master = page(viewport.width, viewport.height, 10)

        picture = rendition(master, size, viewport, image_format)

        assert decoded(picture).size == expected
        assert decoded(picture).format == image_format.upper()
        assert is_whole_image(picture, image_format)

    def test_is_cut_from_the_top(self, image_format: str) -> None:
        master = page(1000, 5000, red_rows=1000)

        picture = decoded(rendition(master, Size(100, 200), Viewport(1000, 800), image_format))

        assert is_near(picture.getpixel((50, 80)), RED)
        assert is_near(picture.getpixel((50, 120)), GREEN)
        assert is_near(picture.getpixel((50, 199)), GREEN)

    def test_a_width_alone_shows_the_viewport_of_a_taller_page(self, image_format: str) -> None:
        master = page(1000, 5000, red_rows=800)

        picture = decoded(rendition(master, Size(100, None), Viewport(1000, 800), image_format))

        assert picture.size == (100, 80)
        assert is_near(picture.getpixel((50, 70)), RED)

    def test_a_shorter_page_is_continued_in_white(self, image_format: str) -> None:
        master = page(1000, 500, red_rows=500)

        picture = decoded(rendition(master, Size(100, 200), Viewport(1000, 800), image_format))

        assert picture.size == (100, 200)
        assert is_near(picture.getpixel((50, 40)), RED)
        assert is_near(picture.getpixel((50, 60)), WHITE)
        assert is_near(picture.getpixel((50, 199)), WHITE)

    def test_nothing_is_seen_through(self, image_format: str) -> None:
        clear = png(Image.new("RGBA", (100, 100), (0, 0, 0, 0)))

        picture = decoded(rendition(clear, Size(50, 50), Viewport(100, 100), image_format))

        assert picture.mode == "RGB"
        assert is_near(picture.getpixel((25, 25)), WHITE)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
    def test_takes_every_kind_of_png(self, image_format: str, mode: str) -> None:
        master = png(Image.new(mode, (64, 64)))

        assert decoded(rendition(master, Size(32, 32), Viewport(64, 64), image_format)).size == (32, 32)

    @pytest.mark.parametrize("size", [Size(64, 64), Size(None, None)], ids=str)
    def test_keeps_no_metadata(self, image_format: str, size: Size) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", "sesame")
        master = png(
            detailed(64, 64), pnginfo=text, dpi=(72, 72), icc_profile=b"sesame", exif=b"Exif\0\0sesame"
        )
        assert b"sesame" in master

        picture = rendition(master, size, Viewport(64, 64), image_format)

        if image_format == "webp" or not size.is_original:
            assert b"sesame" not in picture
            assert not decoded(picture).info.keys() - {"loop", "background", "timestamp", "duration"}
        else:
            assert picture == master

    def test_same_in_same_out(self, image_format: str) -> None:
        master = png(detailed())

        assert len({rendition(master, Size(336, None), WIDE, image_format) for _ in range(3)}) == 1

    @pytest.mark.parametrize(
        "garbage",
        [
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a" + bytes(100),
            b"<svg/>",
            page(9, 9, 1)[:-30],
            page(9, 9, 1)[:45],
        ],
        ids=["empty", "signature", "gif", "svg", "torn", "header"],
    )
    def test_garbage_is_damaged(self, image_format: str, garbage: bytes) -> None:
        with pytest.raises(NotFound) as caught:
            rendition(garbage, Size(16, 16), WIDE, image_format)
        assert caught.value.code == "image-damaged"


class TestOriginal:
    def test_as_png_is_the_master(self) -> None:
        master = png(detailed())

        assert rendition(master, Size(None, None), WIDE, "png") is master

    def test_as_webp_is_the_master_pixel_for_pixel(self) -> None:
        picture = rendition(png(detailed()), Size(None, None), WIDE, "webp")

        assert ImageChops.difference(decoded(picture).convert("RGB"), detailed()).getbbox() is None
        assert len(picture) < len(png(detailed()))

    def test_a_page_too_tall_for_webp_loses_what_does_not_fit(self) -> None:
        picture = decoded(rendition(page(8, 16384, 16000), Size(None, None), WIDE, "webp"))

        assert picture.size == (8, 16383)
        assert picture.convert("RGB").getpixel((4, 15999)) == RED
        assert picture.convert("RGB").getpixel((4, 16001)) == GREEN


class TestQuality:
    def test_scaling_is_close_to_the_best(self) -> None:
        best = detailed().resize((336, 252), Image.Resampling.LANCZOS)

        as_png = decoded(rendition(png(detailed()), Size(336, None), WIDE, "png"))
        as_webp = decoded(rendition(png(detailed()), Size(336, None), WIDE, "webp"))

        assert max(ImageStat.Stat(ImageChops.difference(as_png, best)).rms) < 1
        assert max(ImageStat.Stat(ImageChops.difference(as_webp, best)).rms) < 12

    def test_webp_is_much_smaller(self) -> None:
        master = png(detailed())

        sizes = {kind: len(rendition(master, Size(336, None), WIDE, kind)) for kind in ("png", "webp")}

        assert sizes["webp"] < sizes["png"] / 2


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


class TestBounds:
    @pytest.mark.parametrize(
        ("width", "height"), [(3840, 16385), (30000, 30000), (2**31 - 1, 2**31 - 1), (0, 5), (5, 0)]
    )
    @pytest.mark.parametrize("size", [Size(16, 16), Size(None, None)], ids=str)
    def test_a_decompression_bomb_is_refused_unread(self, width: int, height: int, size: Size) -> None:
        with pytest.raises(NotFound) as caught:
            rendition(bomb(width, height), size, WIDE, "png")
        assert caught.value.code == "image-damaged"

    def test_the_largest_master_is_taken(self) -> None:
        master = png(Image.new("RGB", (3840, 16384), RED), compress_level=1)

        assert decoded(rendition(master, Size(336, None), Viewport(3840, 2880), "png")).size == (336, 252)

    @settings(deadline=None)
    @given(st.integers(0, 5000), st.integers(1, 255))
    def test_a_changed_byte_is_noticed_or_harmless(self, position: int, change: int) -> None:
        master = bytearray(png(detailed(120, 90)))
        master[position % len(master)] ^= change

        try:
            picture = rendition(bytes(master), Size(60, 45), Viewport(120, 90), "png")
        except NotFound:
            return
        assert decoded(picture).size == (60, 45)
