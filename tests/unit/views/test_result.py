import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.geometry import Size, Viewport
from linkpeek.views.result import age_in_words, keeping, link_to, notes_on, pixels, plain

#: Unicode's bidirectional formatting characters (UAX #9, section 2).
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.text(max_size=500), st.integers(2, 200))
def test_a_strangers_text_becomes_plain(text, longest):
    told = plain(text, longest)
    assert len(told) <= longest
    assert not BIDI & set(told)
    assert not [char for char in told if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    told.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=100))
def test_harmless_text_stays_as_it_is(text):
    assert plain(text) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86399, "23 hours ago"),
        (86400, "1 day ago"),
        (10**7, "115 days ago"),
    ],
)
def test_ages(seconds, words):
    assert age_in_words(seconds) == words


@pytest.mark.parametrize(
    ("uri", "linked"),
    [("http://a.example/", True), ("https://a.example/", True), ("javascript:alert(1)", False), ("", False),
     (" http://a.example/", False), ("httpx://a.example/", False)],
)  # fmt: skip
def test_only_web_addresses_are_linked_to(uri, linked):
    assert link_to(uri) == (uri if linked else "")


def test_a_good_picture_has_no_notes():
    same = "http://a.example/"
    assert notes_on(200, truncated=False, blank=False, uri=same, final_uri=same) == ()
    assert notes_on(None, truncated=False, blank=False, uri=same, final_uri=same) == ()


def test_each_oddity_has_its_note():
    notes = notes_on(503, truncated=True, blank=True, uri="http://a.example/", final_uri="http://b.example/")
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("size", "shown"),
    [(Size(None, None), (1280, 5000)), (Size(640, None), (640, 480)), (Size(200, 300), (200, 300))],
)
def test_the_size_shown_is_the_pictures(size, shown):
    assert pixels(size, Viewport(1280, 960), 1280, 5000) == shown


def test_before_the_capture_the_window_stands_for_the_whole_page():
    assert pixels(Size(None, None), Viewport(1280, 960), None, None) == (1280, 960)


@pytest.mark.parametrize(("days", "words"), [(30, "30 days"), (1, "a day"), (0, "stays at this URL.")])
def test_how_long_a_picture_stays(days, words):
    assert words in keeping(days)
