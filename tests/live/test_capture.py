"""The capture engine with a real Chromium and the local fixture site: pictures and failures."""

import asyncio
import re
from pathlib import Path

import pytest

from linkpeek.capture import Browser, Capture
from linkpeek.errors import CaptureError, CaptureRefused
from linkpeek.geometry import MAX_PAGE_HEIGHT
from tests.live.capturing import Loop, colours, image, outcome_of, request
from tests.live.site import Site

#: The ways in which a page comes to its end, as the page itself lists them.
WAYS = re.findall(r"(?m)^  '(.+?)':", (Path(__file__).parent / "pages" / "ends.html").read_text())

RED, GREEN, BLUE = (170, 0, 0), (0, 170, 0), (0, 0, 255)

pytestmark = pytest.mark.alone


@pytest.fixture
def take(loop: Loop, browser: Browser, site: Site):
    """Capture a page of the site (or any address); a failure fails the test."""

    def take(path: str, **options: object) -> Capture:
        uri = site.url(path) if path.startswith("/") else path
        return loop.run(browser.capture(request(uri, **options)))  # type: ignore[arg-type]

    return take


@pytest.fixture
def fail(loop: Loop, browser: Browser, site: Site):
    """Capture a page that cannot be captured; give the error."""

    def fail(path: str, **options: object) -> CaptureError:
        uri = site.url(path) if path.startswith("/") else path
        outcome, _ = loop.run(outcome_of(browser, request(uri, **options)))  # type: ignore[arg-type]
        assert isinstance(outcome, CaptureError), outcome
        return outcome

    return fail


# A picture and what is known of it


def test_static_page(take, site: Site) -> None:
    capture = take("/static")

    assert image(capture).size == (800, 600)
    assert len(colours(image(capture))) > 10
    assert (capture.status, capture.title, capture.final_uri) == (200, "A static page", site.url("/static"))
    assert (capture.truncated, capture.blank, capture.complete) == (False, False, True)
    assert "/" in capture.browser_version
    assert set(capture.timings) == {"context", "navigation", "settle", "screenshot"}


@pytest.mark.parametrize("size", [(64, 64), (375, 667), (1024, 768), (1920, 1080)])
def test_viewport_is_the_picture(take, size: tuple[int, int]) -> None:
    assert image(take("/static", size=size)).size == size


@pytest.mark.parametrize("path", ["/client-redirect", "/refresh", "/onload-redirect", "/redirect?n=10"])
def test_follows_redirects_of_every_kind(take, path: str) -> None:
    capture = take(path)

    assert "/static" in capture.final_uri
    assert (capture.title, capture.status) == ("A static page", 200)


@pytest.mark.parametrize("to", ["/204", "/attachment", "/never"])
def test_page_that_sends_itself_to_where_nothing_is_stays_what_it_is(take, site: Site, to: str) -> None:
    capture = take(f"/stays?to={to}")

    assert (capture.title, capture.status, capture.blank) == ("Stays", 200, False)
    assert capture.final_uri == site.url(f"/stays?to={to}")


@pytest.mark.parametrize("code", [404, 410, 500, 503])
def test_http_errors_are_pictures_with_their_status(take, code: int) -> None:
    capture = take(f"/status?code={code}")

    assert (capture.status, capture.title, capture.blank) == (code, str(code), False)


def test_http_error_without_a_page(take) -> None:
    capture = take("/status?code=404&empty")

    assert (capture.status, capture.blank) == (404, True)


def test_title_is_the_real_one_in_one_line(take) -> None:
    assert take("/shadowed").title == "The real title"


def test_says_who_it_is(take) -> None:
    title = take("/headers").title

    assert "Headless" not in title
    assert "LinkPeek" in title


def test_speaks_english(take) -> None:
    assert take("/language").title == "en-US,en;q=0.9 | en-US | en"


def test_keeps_no_room_for_scroll_bars(take) -> None:
    """Neither beside the page nor in a part of it that scrolls: red would shine through."""
    assert colours(image(take("/gutter"))) == {GREEN}


# Waiting well


def test_waits_for_what_scripts_fill_in_late(take) -> None:
    capture = take("/late")

    assert capture.title == "Filled"
    assert image(capture).getpixel((200, 200)) == GREEN


@pytest.mark.parametrize("way", WAYS)
def test_waits_for_the_end_whichever_way_a_script_comes_to_it(take, way: str) -> None:
    """Most of them begin with the first frame, which comes well after the load event."""
    assert image(take(f"/ends?{way}")).getpixel((700, 500)) == GREEN


def test_does_not_wait_on_a_static_page(take) -> None:
    settling = min(take("/static").timings["settle"] for _ in range(6))

    assert settling < 0.45  # a fixed wait for a quiet network would take 0.5


def test_waits_for_web_fonts(take, site: Site) -> None:
    capture = take("/fonts")
    picture = image(capture)

    assert capture.title == "fonts true"
    # In the fixed-width font six i are as wide as six W: the first half is not empty.
    ink = [x for x in range(picture.width) if any(picture.getpixel((x, y))[0] < 128 for y in range(20, 120))]
    assert sum(x < 270 for x in ink) > 40
    assert ink[-1] > 400


def test_ends_animations_and_hides_the_caret(take) -> None:
    picture = image(take("/animation"))

    assert picture.getpixel((650, 50)) == BLUE
    assert picture.getpixel((50, 350)) == RED
    assert (255, 0, 255) not in colours(picture)


def test_long_requests_do_not_count(take) -> None:
    capture = take("/hanging-image", limit=20)

    assert capture.title == "One image never comes"
    assert not capture.complete
    assert sum(capture.timings.values()) < 15


# The whole page


def test_lazy_images_are_there(take, site: Site) -> None:
    before = site.hits["/pixel.png"]
    picture = image(take("/lazy", full=True))

    assert site.hits["/pixel.png"] - before == 10
    assert picture.width == 800
    assert 9000 < picture.height < 9400
    section = picture.height / 10
    reds = [picture.getpixel((100, round(section * (n + 0.5) - 250))) for n in range(10)]
    assert len(set(reds)) == 1
    assert reds[0][0] > 200 > 60 > reds[0][1]


def test_tall_page_is_cut_and_says_so(take) -> None:
    capture = take("/tall", full=True)
    picture = image(capture)

    assert capture.truncated
    assert picture.height == MAX_PAGE_HEIGHT
    assert picture.getpixel((700, 16250)) == picture.getpixel((700, 250)) != picture.getpixel((700, 15750))


def test_whole_page_keeps_the_windows_layout(take) -> None:
    capture = take("/longish", full=True)
    picture = image(capture)

    assert (picture.height, capture.truncated) == (600 + 1600, False)
    assert picture.getpixel((400, 20)) == (0, 51, 102)
    assert picture.getpixel((400, 1000)) == (238, 255, 238)
    assert picture.getpixel((400, 2190)) == (238, 255, 238)


def test_short_page_is_as_high_as_the_window(take) -> None:
    assert image(take("/static", full=True)).size == (800, 600)


# Blank pages


def test_blank_page_says_so(take, site: Site) -> None:
    before = site.hits["/blank"]
    capture = take("/blank")

    assert (capture.blank, capture.status, capture.title) == (True, 200, "Blank")
    assert site.hits["/blank"] - before == 2


def test_page_that_is_blank_at_first_is_tried_once_more(take) -> None:
    capture = take("/second-load?key=engine")

    assert not capture.blank
    assert len(colours(image(capture))) > 10


# All the world's writing


def test_emoji_and_cjk(take) -> None:
    capture = take("/emoji")
    picture = image(capture)
    line = picture.crop((0, 30, 800, 90))

    assert capture.title == "Emoji 😀 and 漢字"
    assert len({c for c in colours(line) if max(c) - min(c) > 100}) > 50, "emoji have colours"


# Failures


@pytest.mark.parametrize(
    ("path", "code", "lasting"),
    [
        ("/204", "no-content", True),
        ("/redirect?n=11", "too-many-redirects", True),
        ("/redirect-loop", "too-many-redirects", True),
        ("/attachment", "download", True),
        ("/octets", "download", True),
        ("/hang-up", "navigation-failed", False),
        ("/nonsense", "navigation-failed", False),
        ("http://nosuch.example/", "dns-failed", True),
    ],
)
def test_failure_has_its_code(fail, path: str, code: str, lasting: bool) -> None:
    error = fail(path)

    assert (error.code, error.lasting) == (code, lasting)
    assert "net::" not in error.message


def test_refused_connection(fail, unused_port: int) -> None:
    assert fail(f"http://127.0.0.1:{unused_port}/").code == "connection-refused"


def test_tls_error(fail, site: Site) -> None:
    assert fail(f"https://127.0.0.1:{site.port}/").code == "tls-error"


@pytest.fixture
def unused_port() -> int:
    with Site() as gone:
        return gone.port


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("http://10.0.0.1/", "address-refused"),
        ("http://127.0.0.1:6000/", "port-refused"),
        ("/redirect?to=http://10.0.0.1/", "address-refused"),
        ("/redirect?to=file:///etc/passwd", "address-refused"),
        ("/redirect?to=chrome://version", "address-refused"),
        ("/to-refused", "address-refused"),
        ("file:///etc/passwd", "scheme-refused"),
        ("chrome://crash", "scheme-refused"),
        ("javascript://%0Aalert(1)", "scheme-refused"),
        ("view-source:http://x://", "scheme-refused"),
    ],
)
def test_refused_address(fail, path: str, code: str) -> None:
    error = fail(path)

    assert isinstance(error, CaptureRefused)
    assert error.code == code
    assert error.lasting


# Nothing is left for the next one


def test_no_state_survives_a_capture(take) -> None:
    assert [take("/state").title for _ in range(2)] == ["before:|", "before:|"]


def test_no_cache_survives_a_capture(take, site: Site) -> None:
    before = site.hits["/cached.css"]
    for _ in range(3):
        assert image(take("/cacheable")).getpixel((400, 400)) == GREEN

    assert site.hits["/cached.css"] - before == 3


def test_pages_have_no_powers(take, site: Site) -> None:
    assert take("/powers").title == "got:"
    assert site.hits["/popped"] == 0


def test_many_at_once(loop: Loop, browser: Browser, site: Site) -> None:
    async def all_of_them() -> list[Capture]:
        paths = [f"/status?code={200 + n}" for n in range(10, 18)]
        return await asyncio.gather(*(browser.capture(request(site.url(path))) for path in paths))

    captures = loop.run(all_of_them())

    assert [(c.status, c.title) for c in captures] == [(n, str(n)) for n in range(210, 218)]
