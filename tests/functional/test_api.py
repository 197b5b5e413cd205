import json
import threading
import time
from io import BytesIO
from urllib.parse import quote, quote_plus, urlencode

import pytest
from PIL import Image
from webtest.app import TestRequest

from linkpeek.db import transaction
from linkpeek.errors import CaptureError, CaptureRefused, CaptureTimeout
from linkpeek.models import Snapshot, State
from linkpeek.security import hmac_token, md5_token
from linkpeek.services.keys import KeyService
from tests.factories import APIKEY, SECRET, PaperWorker, make_capture

PAGE = "http://example.com/"
CHROMIUM_IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def signed(uri=PAGE, size="336", **more):
    """Give the path of a signed request."""
    values = {"uri": uri, "apikey": APIKEY, "token": md5_token(SECRET, uri, size), "size": size, **more}
    return "/api/v1?" + urlencode(values)


def raw_get(app, query):
    """Ask with a query string that goes through to the letter, as bytes of UTF-8."""
    request = TestRequest.blank("/api/v1")
    request.environ["QUERY_STRING"] = query.encode().decode("latin-1")
    return app.do_request(request, expect_errors=True)


def captured(app, uri=PAGE, size="336", **more):
    """Ask for a page, have it captured, and give the answer to asking again."""
    assert app.get(signed(uri, size, **more)).headers["X-LinkPeek-State"] == "pending"
    assert app.worker.work() == 1
    return app.get(signed(uri, size, **more))


def picture_of(app, response):
    image = app.get(response.location)
    return image, Image.open(BytesIO(image.body))


def age(app, seconds):
    """Make all that is ready older."""
    with transaction(app.service.sessions) as session:
        for snapshot in session.query(Snapshot):
            snapshot.finished_at -= __import__("datetime").timedelta(seconds=seconds)


class TestPictures:
    @pytest.mark.parametrize(
        ("size", "viewport", "pixels"),
        [
            ("", "", (336, 252)),
            ("336", "", (336, 252)),
            ("200x100", "", (200, 100)),
            ("200x400", "", (200, 400)),
            ("100", "1280x960", (100, 75)),
            ("320", "mobile", (320, 569)),
            ("100", "tablet", (100, 133)),
            ("original", "", (1024, 2304)),
        ],
    )
    def test_has_the_size_asked_for(self, app, size, viewport, pixels):
        response = captured(app, size=size, viewport=viewport)
        assert response.status_int == 302
        assert response.headers["X-LinkPeek-State"] == "ready"
        image, picture = picture_of(app, response)
        assert picture.size == pixels
        assert image.content_type == "image/png"
        assert "immutable" in image.headers["Cache-Control"]
        assert image.headers["X-Content-Type-Options"] == "nosniff"
        # Also for pages that let nothing in but what says that they may have it.
        for answer in (response, image):
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"

    def test_webp_for_a_client_that_accepts_it(self, app):
        captured(app)
        response = app.get(signed(), headers={"Accept": CHROMIUM_IMG})
        image, picture = picture_of(app, response)
        assert (image.content_type, picture.format) == ("image/webp", "WEBP")
        assert "Accept" in response.headers["Vary"]

    @pytest.mark.parametrize("accept", ["*/*", "image/png", "image/*", "image/webp;q=0, image/png"])
    def test_png_for_others(self, app, accept):
        captured(app)
        assert app.get(signed(), headers={"Accept": accept}).location.endswith(".png")

    def test_head_answers_like_get_without_a_body(self, app):
        captured(app)
        response = app.head(signed())
        assert response.status_int == 302
        assert response.headers["X-LinkPeek-State"] == "ready"
        image = app.head(response.location)
        assert image.body == b""
        assert image.content_type == "image/png"

    def test_another_size_needs_no_other_capture(self, app):
        captured(app, size="336")
        assert app.get(signed(size="100")).headers["X-LinkPeek-State"] == "ready"
        assert len(app.worker.requests) == 1

    def test_a_lost_picture_is_captured_again(self, app):
        response = captured(app)
        token = response.location.rsplit("/", 2)[1]
        app.service.storage.delete(f"{token[:2]}/{token[2:4]}/{token}")
        assert app.get(signed()).headers["X-LinkPeek-State"] == "pending"
        assert app.worker.work() == 1
        assert app.get(signed()).headers["X-LinkPeek-State"] == "ready"


class TestFreshness:
    def test_stale_is_shown_while_a_refresh_is_queued(self, make_app):
        app = make_app(ttl=100)
        first = captured(app)
        age(app, 101)
        response = app.get(signed())
        assert response.headers["X-LinkPeek-State"] == "stale"
        assert response.location == first.location
        assert app.worker.work() == 1
        assert app.get(signed()).headers["X-LinkPeek-State"] == "ready"
        assert app.get(signed()).location != first.location

    def test_a_ttl_is_a_greatest_age(self, app):
        captured(app)
        age(app, 50)
        assert app.get(signed(ttl="60")).headers["X-LinkPeek-State"] == "ready"
        assert app.get(signed(ttl="40")).headers["X-LinkPeek-State"] == "pending"

    def test_whoever_says_how_old_it_may_be_gets_no_older_one_out_of_a_cache(self, app):
        captured(app)
        app.get(signed(ttl="60"))
        for _ in range(2):  # by the application, and at once
            assert app.get(signed(ttl="60")).headers["Cache-Control"] == "no-store"
            assert app.get(signed()).headers["Cache-Control"] == "private, max-age=60"

    def test_a_failed_refresh_does_not_replace_the_last_good_picture(self, make_app):
        app = make_app(ttl=100)
        first = captured(app)
        age(app, 101)
        app.get(signed())
        fail = PaperWorker(app.service, _raiser(CaptureError("It is gone.", code="dns-failed", lasting=True)))
        assert fail.work() == 1
        response = app.get(signed())
        assert response.headers["X-LinkPeek-State"] == "stale"
        assert response.location == first.location


class TestWaiting:
    def test_the_placeholder_has_the_size_asked_for(self, app):
        response = app.get(signed(size="200x300"))
        assert response.status_int == 302
        assert response.headers["X-LinkPeek-State"] == "pending"
        assert int(response.headers["Retry-After"]) > 0
        assert response.headers["Cache-Control"] == "no-store"
        assert picture_of(app, response)[1].size == (200, 300)

    def test_waits_for_the_capture(self, make_app):
        app = make_app(wait=20)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(app.get(signed())))
        asking.start()
        deadline = time.monotonic() + 20
        while not app.worker.work() and time.monotonic() < deadline:
            time.sleep(0.01)
        asking.join(20)
        assert answers[0].headers["X-LinkPeek-State"] == "ready"
        metrics = app.get("/metrics").text
        for step in ("queue", "claim", "navigation", "screenshot", "store", "encode", "answer"):
            assert f'linkpeek_capture_step_seconds{{step="{step}"}}' in metrics

    def test_does_not_wait_where_all_seats_are_taken(self, make_app):
        app = make_app(wait=300, waiters=0)
        assert app.get(signed()).headers["X-LinkPeek-State"] == "pending"

    def test_one_caller_leaves_seats_to_others(self, make_app):
        app = make_app(wait=20, waiters=2)
        room, answers = app.app.app.registry.waiting_room, {}
        form = app.get("/", headers={"Accept": "text/html"}).form
        form["uri"] = "http://other.example/"

        def seat(name, ask, taken):
            thread = threading.Thread(target=lambda: answers.update({name: ask()}))
            thread.start()
            deadline = time.monotonic() + 20
            while room._taken.total() < taken:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return thread

        threads = [seat("key", lambda: app.get(signed()), 1)]
        since = time.monotonic()
        refused = app.get(signed("http://example.org/"))
        assert (refused.headers["X-LinkPeek-State"], time.monotonic() - since < 10) == ("pending", True)
        threads.append(seat("page", form.submit, 2))
        assert app.worker.work() == 3
        for thread in threads:
            thread.join(20)
        assert answers["key"].headers["X-LinkPeek-State"] == "ready"
        shown = app.get(answers["page"].location, headers={"Accept": "application/json"})
        assert shown.json["state"] == "ready"

    def test_many_requests_for_one_key_cause_one_capture(self, app):
        for _ in range(5):
            app.get(signed())
        assert app.worker.work() == 1


OLD_CLIENTS = [
    ("percent", lambda uri: quote(uri, safe="")),
    ("plus", quote_plus),
    ("slashes left", lambda uri: quote(uri, safe="/:")),
    ("raw", lambda uri: uri),
]


class TestOldClients:
    @pytest.mark.parametrize("spell", [s for _, s in OLD_CLIENTS[:3]], ids=[n for n, _ in OLD_CLIENTS[:3]])
    @pytest.mark.parametrize(
        "uri",
        [
            "http://example.com",
            "example.com",
            "https://example.com/a?b=1&c=d e",
            "http://bücher.example/ü",
            "http://example.com/a+b?q=1%202",
            "http://example.com/?size=3&token=x&apikey=y",
        ],
    )
    def test_encoded(self, app, uri, spell):
        token = md5_token(SECRET, uri, "336")
        path = f"/api/v1?uri={spell(uri)}&apikey={APIKEY}&token={token}&size=336"
        assert app.get(path).headers["X-LinkPeek-State"] == "pending"
        app.worker.work()
        assert app.get(path).headers["X-LinkPeek-State"] == "ready"

    @pytest.mark.parametrize(
        "uri",
        [
            "http://a.example/?x=1",
            "http://a.example/?x=1&y=2",
            "http://a.example/?size=9&y=2&token=z&ttl=q",
            "http://a.example/a+b?q=1%202&r=ü",
        ],
    )
    @pytest.mark.parametrize("order", ["uri first", "uri last"])
    def test_raw(self, app, uri, order):
        token = md5_token(SECRET, uri, "200x100")
        rest = f"apikey={APIKEY}&token={token}&size=200x100"
        query = f"uri={uri}&{rest}" if order == "uri first" else f"{rest}&uri={uri}"
        response = raw_get(app, query)
        assert response.headers["X-LinkPeek-State"] == "pending"
        app.worker.work()
        assert app.worker.requests[0].uri.count("&") == uri.count("&")

    def test_a_plus_is_what_the_token_was_made_for(self, app):
        uri = "http://example.com/a+b"
        token = md5_token(SECRET, uri, "")
        app.get(f"/api/v1?uri={uri}&apikey={APIKEY}&token={token}")
        app.worker.work()
        assert app.worker.requests[0].uri == uri

    def test_empty_size_and_viewport(self, app):
        token = md5_token(SECRET, "http://example.com", "")
        path = f"/api/v1?uri=http://example.com&apikey={APIKEY}&token={token}&size=&viewport=&ttl="
        assert app.get(path).headers["X-LinkPeek-State"] == "pending"

    @pytest.mark.parametrize(
        ("uri", "size", "token"),
        [
            ("http://example.com", "336x336", "26fbd4e3a72aa89b3ace5f66b626a64a"),
            ("example.com", "336", "7cf5f7a15e07a4f65400bde84ff37f10"),
            ("https://example.com/a?b=1&c=d e", "200x400", "bef3c641a62fffc2258a87643b09fe5e"),
            ("http://bücher.example/ü", "140x100", "4447b238f8c61e32531ca52653d02d35"),
            ("http://example.com", "original", "e8398acc693af6897dfd42b82ee1f8d7"),
            ("http://example.com", "", "7145f55ca0a47e9c55ef378231937987"),
        ],
    )
    def test_published_tokens(self, app, uri, size, token):
        query = urlencode({"uri": uri, "apikey": APIKEY, "token": token, "size": size})
        assert app.get(f"/api/v1?{query}").headers["X-LinkPeek-State"] == "pending"


class TestAccess:
    @pytest.mark.parametrize(
        "change",
        [{"apikey": "nobody"}, {"token": "0" * 32}, {"token": "ä"}, {"size": "337"}, {"uri": PAGE + "x"}],
    )
    def test_wrong_key_and_wrong_token_look_the_same(self, app, change):
        values = {"uri": PAGE, "apikey": APIKEY, "token": md5_token(SECRET, PAGE, "336"), "size": "336"}
        response = app.get("/api/v1?" + urlencode(values | change), status=403)
        assert response.headers["X-LinkPeek-Error"] == "access-denied"
        assert response.text == "access-denied: The API key or the token is not right.\n"

    def test_an_upper_case_token_is_not_the_token(self, app):
        values = {"uri": PAGE, "apikey": APIKEY, "token": md5_token(SECRET, PAGE, "").upper()}
        app.get("/api/v1?" + urlencode(values), status=403)

    def test_the_stronger_token_binds_everything(self, app):
        values = {"uri": PAGE, "size": "100", "viewport": "mobile", "ttl": "60"}
        token = hmac_token(SECRET, PAGE, "100", "mobile", "60")
        path = "/api/v1?" + urlencode({**values, "apikey": APIKEY, "token": token})
        assert app.get(path).headers["X-LinkPeek-State"] == "pending"
        app.get(path.replace("ttl=60", "ttl=61"), status=403)
        app.get(path.replace("viewport=mobile", "viewport="), status=403)

    def test_a_key_without_md5_tokens(self, app):
        with transaction(app.service.sessions) as session:
            KeyService(session, app.service.box).rotate(APIKEY, SECRET, md5_tokens=False)
        assert app.get(signed(), status=403).headers["X-LinkPeek-Error"] == "access-denied"
        values = {"uri": PAGE, "apikey": APIKEY, "token": hmac_token(SECRET, PAGE, "", "", "")}
        app.get("/api/v1?" + urlencode(values), status=302)

    def test_failed_attempts_are_limited_and_good_ones_are_not(self, app):
        values = {"uri": PAGE, "apikey": APIKEY, "token": "0" * 32}
        path = "/api/v1?" + urlencode(values)
        for _ in range(60):
            app.get(path, status=403)
        response = app.get(path, status=429)
        assert response.headers["X-LinkPeek-Error"] == "rate-limited"
        app.get(signed(), status=302)

    def test_guesses_count_also_in_a_malformed_query(self, app):
        """One of its readings may be what is guessed at."""
        path = f"/api/v1?uri=http://a.example/&size=336&size=337&apikey={APIKEY}&token={'0' * 32}"
        for _ in range(60):
            assert app.get(path, status=400).headers["X-LinkPeek-Error"] == "repeated-parameter"
        assert app.get(path, status=429).headers["X-LinkPeek-Error"] == "rate-limited"

    @pytest.mark.parametrize("accept", [CHROMIUM_IMG, "application/json", "*/*"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_whatever_is_wrong_gets_the_same_answer(self, app, accept, method):
        with transaction(app.service.sessions) as session:
            keys = KeyService(session, app.service.box)
            for name in ("off", "strong"):
                keys.add(name, name, SECRET, md5_tokens=name == "off")
            keys.disable("off")
        good = md5_token(SECRET, PAGE, "")
        answers = []
        for apikey, token in ((APIKEY, "0" * 32), ("nobody", good), ("off", good), ("strong", good)):
            query = urlencode({"uri": PAGE, "apikey": apikey, "token": token})
            response = app.request(
                f"/api/v1?{query}", method=method, headers={"Accept": accept}, expect_errors=True
            )
            answers.append((response.status, sorted(response.headers.items()), response.body))
        assert answers[0][0].startswith("403")
        assert [answer for answer in answers if answer != answers[0]] == []

    def test_a_disabled_key(self, app):
        captured(app)
        app.get(signed(), status=302)  # what worked before does not work from memory
        with transaction(app.service.sessions) as session:
            KeyService(session, app.service.box).disable(APIKEY)
        assert app.get(signed(), status=403).headers["X-LinkPeek-Error"] == "access-denied"

    def test_a_rotated_key(self, app):
        captured(app)
        app.get(signed(), status=302)
        with transaction(app.service.sessions) as session:
            KeyService(session, app.service.box).rotate(APIKEY, "another")
        app.get(signed(), status=403)
        values = {"uri": PAGE, "apikey": APIKEY, "token": md5_token("another", PAGE, "")}
        app.get("/api/v1?" + urlencode(values), status=302)

    @pytest.mark.parametrize(
        ("uri", "code"),
        [
            ("http://127.0.0.1/", "address-refused"),
            ("http://[::1]/", "address-refused"),
            ("http://2130706433/", "address-refused"),
            ("http://169.254.169.254/latest", "address-refused"),
            ("http://localhost/", "name-refused"),
            ("http://example.com:22/", "port-refused"),
            ("file:///etc/passwd", "scheme-refused"),
            ("http://user:pass@example.com/", "credentials-refused"),
        ],
    )
    def test_addresses_that_are_not_opened(self, app, uri, code):
        response = app.get(signed(uri), status=403)
        assert response.headers["X-LinkPeek-Error"] == code
        assert app.worker.work() == 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "missing-parameter"),
            ("uri=http://example.com", "missing-parameter"),
            (f"apikey={APIKEY}&token=x", "missing-parameter"),
            (f"uri=&apikey={APIKEY}&token=" + md5_token(SECRET, "", ""), "bad-uri"),
            ("uri=a.example&apikey=&token=x", "missing-parameter"),
            (f"uri=a.example&apikey={APIKEY}&apikey={APIKEY}&token=x", "repeated-parameter"),
            (f"uri=a.example&apikey={APIKEY}&token=x&size=1&size=2", "repeated-parameter"),
            (f"apikey={APIKEY}&token=x&uri=%ff%fe", "access-denied"),
            ("uri=a.example&apikey=%ff&token=x", "bad-encoding"),
            ("uri=" + "x" * 40_000, "query-too-long"),
            ("&".join(f"a{i}=1" for i in range(200)), "query-too-long"),
        ],
    )
    def test_of_the_query(self, app, query, code):
        response = raw_get(app, query)
        assert 400 <= response.status_int < 500
        assert response.headers["X-LinkPeek-Error"] == code

    @pytest.mark.parametrize(
        "size",
        [
            "0",
            "-1",
            "1e3",
            "336x",
            "x336",
            "336X336",
            "99999",
            "\uff13\uff13\uff16",
            "1\0",
            "1\r\n",
            "orig",
            "15",
            "20x9999",
        ],
    )
    def test_of_the_size(self, app, size):
        assert app.get(signed(size=size), status=400).headers["X-LinkPeek-Error"] == "bad-size"

    @pytest.mark.parametrize("accept", ["image/png", "image/webp,*/*", "text/html"])
    @pytest.mark.parametrize("size", ["3840", "336", ""])
    def test_of_a_size_that_the_window_makes_too_high(self, app, size, accept):
        response = app.get(signed(size=size, viewport="64x3840"), headers={"Accept": accept}, status=400)
        assert response.headers["X-LinkPeek-Error"] == "bad-size"
        assert app.worker.work() == 0

    @pytest.mark.parametrize("viewport", ["0", "63", "4000", "phone", "1024x", "-5", "1024x768x2", "ä", "\n"])
    def test_of_the_viewport(self, app, viewport):
        response = app.get(signed(viewport=viewport), status=400)
        assert response.headers["X-LinkPeek-Error"] == "bad-viewport"

    @pytest.mark.parametrize("ttl", ["-1", "x", "1.5", "9" * 30, "\0", "\uff11"])
    def test_of_the_ttl(self, app, ttl):
        assert app.get(signed(ttl=ttl), status=400).headers["X-LinkPeek-Error"] == "bad-ttl"

    @pytest.mark.parametrize(
        "uri", ["http://", "http://exa mple.com", "http://a.example/\0b", "x" * 3000, "http://[1"]
    )
    def test_of_the_address(self, app, uri):
        response = app.get(signed(uri), status=400)
        assert response.headers["X-LinkPeek-Error"] in ("bad-uri", "uri-too-long")

    def test_ten_megabytes(self, app):
        response = raw_get(app, "uri=" + "a" * 10**7)
        assert response.status_int == 400
        assert response.headers["X-LinkPeek-Error"] == "query-too-long"

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_of_the_method(self, app, method):
        response = app.request("/api/v1", method=method, status="*")
        assert 400 <= response.status_int < 500
        assert response.headers["X-LinkPeek-Error"]


def _raiser(error):
    def capture(request):
        raise error

    return capture


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (CaptureError("No such name.", code="dns-failed", lasting=True), 502),
            (CaptureError("It is a download.", code="download", lasting=True), 502),
            (CaptureRefused("Refused."), 403),
        ],
    )
    def test_are_told_with_their_code(self, app, error, status):
        app.get(signed())
        PaperWorker(app.service, _raiser(error)).work()
        response = app.get(signed(), status=status)
        assert response.headers["X-LinkPeek-Error"] == error.code
        assert response.headers["Cache-Control"] == "no-store"

    def test_a_page_that_takes_too_long_is_tried_again_and_then_fails(self, app):
        app.get(signed())
        worker = PaperWorker(app.service, _raiser(CaptureTimeout("Too long.")))
        for _ in range(3):
            assert worker.work() == 1
            with transaction(app.service.sessions) as session:
                for snapshot in session.query(Snapshot).filter_by(state=State.QUEUED):
                    snapshot.not_before = snapshot.requested_at
        assert worker.work() == 0
        assert app.get(signed(), status=504).headers["X-LinkPeek-Error"] == "page-timeout"

    @pytest.mark.parametrize(
        ("accept", "media"),
        [
            ("*/*", "text/plain"),
            ("", "text/plain"),
            ("application/json", "application/json"),
            (CHROMIUM_IMG, "image/png"),
            ("image/webp", "image/png"),
            ("image/*;q=0.5", "image/png"),
            ("text/html,application/xhtml+xml,image/webp,*/*;q=0.8", "text/plain"),
        ],
    )
    def test_in_the_form_that_the_client_asks_for(self, app, accept, media):
        response = app.get(signed(size="5"), headers={"Accept": accept}, status=400)
        assert response.content_type == media
        assert response.headers["X-LinkPeek-Error"] == "bad-size"
        if media == "application/json":
            assert json.loads(response.body)["error"] == "bad-size"

    def test_an_error_picture_is_no_higher_than_a_size_can_be(self, app):
        uri, accept = "http://10.0.0.1/", {"Accept": "image/png"}
        response = app.get(signed(uri, size="400", viewport="100x3840"), headers=accept, status=403)
        assert Image.open(BytesIO(response.body)).size == (400, 3840)

    def test_an_error_picture_has_the_size_asked_for(self, app):
        path = signed("http://127.0.0.1/", "400x200")
        response = app.get(path, headers={"Accept": "image/*"}, status=403)
        assert Image.open(BytesIO(response.body)).size == (400, 200)


class TestLimits:
    def test_new_captures_are_limited_and_pictures_are_not(self, make_app):
        app = make_app(rate_limit="2/hour")
        captured(app, "http://a.example/")
        captured(app, "http://b.example/")
        response = app.get(signed("http://c.example/"), status=429)
        assert response.headers["X-LinkPeek-Error"] == "rate-limited"
        assert 0 < int(response.headers["Retry-After"]) <= 3600
        assert app.get(signed("http://a.example/")).headers["X-LinkPeek-State"] == "ready"

    def test_the_queue_is_bounded(self, make_app):
        app = make_app(queue_limit=4)
        for name in "ab":
            app.get(signed(f"http://{name}.example/"))
        response = app.get(signed("http://c.example/"), status=429)
        assert response.headers["X-LinkPeek-Error"] == "queue-share"
        assert int(response.headers["Retry-After"]) > 0


def test_what_a_snapshot_remembers(app):
    app.worker = PaperWorker(
        app.service, lambda request: make_capture(request, status=404, title="Gone", truncated=True)
    )
    captured(app)
    with transaction(app.service.sessions) as session:
        snapshot = session.query(Snapshot).one()
    assert (snapshot.status_code, snapshot.title, snapshot.truncated) == (404, "Gone", True)
    assert (snapshot.width, snapshot.height, snapshot.final_uri) == (1024, 768, PAGE)
    assert snapshot.browser_version == "Double/1"
    assert snapshot.timings["navigation"] == 0.2
    assert snapshot.stored_bytes > 0
