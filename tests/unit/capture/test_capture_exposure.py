import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.capture.exposure import MAX_TITLE, clean
from linkpeek.capture.stage import user_agent


@pytest.mark.parametrize(
    ("title", "cleaned"),
    [
        ("", ""),
        ("A title", "A title"),
        ("  two\n\tlines\r\x00 ", "two lines"),
        ("a\u202eb\u2066c\u200f", "a b c"),
        ("lone \ud83d half", "lone ? half"),
        ("漢字 😀 é", "漢字 😀 é"),
    ],
)
def test_title_is_cleaned(title: str, cleaned: str) -> None:
    assert clean(title) == cleaned


def test_long_title_is_cut() -> None:
    assert clean("x" * 5000) == "x" * (MAX_TITLE - 1) + "…"


@given(st.text(st.characters(), max_size=2 * MAX_TITLE))
def test_any_title_becomes_one_line_that_can_be_stored(title: str) -> None:
    cleaned = clean(title)

    assert len(cleaned) <= MAX_TITLE
    assert "\x00" not in cleaned
    assert cleaned.splitlines() in ([], [cleaned])
    cleaned.encode()


def test_user_agent_is_a_chromium_that_says_it_is_ours() -> None:
    agent = user_agent("HeadlessChrome/156.0.8078.79")

    assert "Chrome/156.0.0.0" in agent["userAgent"]
    assert "LinkPeek/" in agent["userAgent"]
    assert "Headless" not in str(agent)
