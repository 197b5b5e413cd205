from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.errors import ParameterError
from linkpeek.geometry import (
    NAMED_VIEWPORTS,
    PICTURE_MAX_HEIGHT,
    SIZE_MAX,
    SIZE_MIN,
    VIEWPORT_MAX,
    VIEWPORT_MIN,
    Extent,
    Size,
    Viewport,
    parse_size,
    parse_viewport,
)

WINDOW = Viewport(1024, 768)
SIDES = st.integers(SIZE_MIN, SIZE_MAX)
VIEWPORTS = st.builds(
    Viewport, st.integers(VIEWPORT_MIN, VIEWPORT_MAX), st.integers(VIEWPORT_MIN, VIEWPORT_MAX)
)


class TestViewport:
    @pytest.mark.parametrize(
        ("text", "width", "height"),
        [
            ("", 1024, 768),
            ("1024", 1024, 768),
            ("1000x500", 1000, 500),
            ("desktop", 1280, 960),
            ("tablet", 768, 1024),
            ("mobile", 375, 667),
            ("64", 64, 64),
            ("3840x64", 3840, 64),
            ("0100", 100, 75),
        ],
    )
    def test_words(self, text: str, width: int, height: int) -> None:
        assert parse_viewport(text) == Viewport(width, height)

    @pytest.mark.parametrize(
        "text", ["63", "3841", "100x63", "100x", "x100", "Desktop", "100X100", " 100", "100\n"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(ParameterError) as caught:
            parse_viewport(text)
        assert caught.value.code == "bad-viewport"

    @given(VIEWPORTS)
    def test_is_read_as_it_is_written(self, viewport: Viewport) -> None:
        assert parse_viewport(str(viewport)) == viewport

    @pytest.mark.parametrize("name", NAMED_VIEWPORTS)
    def test_a_named_one_can_be_written_in_numbers(self, name: str) -> None:
        assert parse_viewport(str(parse_viewport(name))) == NAMED_VIEWPORTS[name]


class TestSize:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("", Size(336, None)),
            ("200", Size(200, None)),
            ("200x100", Size(200, 100)),
            ("original", Size(None, None)),
            ("16", Size(16, None)),
            ("3840x3840", Size(3840, 3840)),
        ],
    )
    def test_words(self, text: str, size: Size) -> None:
        assert parse_size(text, WINDOW) == size

    @pytest.mark.parametrize(
        "text",
        ["15", "3841", "0", "-1", "1.5", "Original", "original ", "\uff13\uff13\uff16", "20x20x20", "\0"],
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(ParameterError) as caught:
            parse_size(text, WINDOW)
        assert caught.value.code == "bad-size"

    @given(st.one_of(st.builds(Size, SIDES, st.none() | SIDES), st.just(Size(None, None))))
    def test_is_read_as_it_is_written(self, size: Size) -> None:
        assert parse_size(str(size), WINDOW) == size

    @given(SIDES, VIEWPORTS)
    def test_no_picture_of_a_width_is_higher_than_webp_can_be(self, width: int, viewport: Viewport) -> None:
        if round(width * viewport.height / viewport.width) <= PICTURE_MAX_HEIGHT:
            assert parse_size(str(width), viewport) == Size(width, None)
            return
        with pytest.raises(ParameterError) as caught:
            parse_size(str(width), viewport)
        assert caught.value.code == "bad-size"

    @pytest.mark.parametrize("viewport", NAMED_VIEWPORTS.values())
    def test_the_named_windows_can_be_shown_in_every_width(self, viewport: Viewport) -> None:
        assert parse_size(str(SIZE_MAX), viewport) == Size(SIZE_MAX, None)

    def test_a_width_has_the_viewports_proportion(self) -> None:
        assert Size(336, None).pixels(Viewport(1024, 768)) == (336, 252)
        assert Size(320, None).pixels(Viewport(375, 667)) == (320, 569)
        assert Size(16, None).pixels(Viewport(3840, 64)) == (16, 1)
        assert Size(200, 400).pixels(Viewport(1024, 768)) == (200, 400)
        assert Size(None, None).pixels(Viewport(1024, 768)) == (1024, 768)

    @pytest.mark.parametrize(
        ("size", "extent"),
        [
            (Size(336, None), Extent.VIEWPORT),
            (Size(200, 150), Extent.VIEWPORT),
            (Size(200, 100), Extent.VIEWPORT),
            (Size(200, 151), Extent.FULL),
            (Size(None, None), Extent.FULL),
        ],
    )
    def test_only_what_goes_below_the_window_needs_the_whole_page(self, size: Size, extent: Extent) -> None:
        assert size.extent(Viewport(1024, 768)) is extent

    @given(SIDES, st.none() | SIDES, VIEWPORTS)
    def test_the_window_is_captured_only_where_it_fills_the_picture(
        self, width: int, height: int | None, viewport: Viewport
    ) -> None:
        size = Size(width, height)
        columns, rows = size.pixels(viewport)
        assert columns == width
        assert rows >= 1
        if size.extent(viewport) is Extent.VIEWPORT and height is not None:
            assert rows <= viewport.height * width / viewport.width


@given(st.text())
def test_any_text_is_a_value_within_bounds_or_a_parameter_error(text: str) -> None:
    for parse, code, least, greatest in (
        (partial(parse_size, viewport=WINDOW), "bad-size", SIZE_MIN, SIZE_MAX),
        (parse_viewport, "bad-viewport", VIEWPORT_MIN, VIEWPORT_MAX),
    ):
        value, problem = None, code
        try:
            value = parse(text)
        except ParameterError as error:
            problem = error.code
        assert problem == code
        sides = [value.width, value.height] if value else []
        assert all(least <= side <= greatest for side in sides if side is not None)
