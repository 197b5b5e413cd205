import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from webtest.app import TestRequest

from linkpeek.capture.failures import REASONS, failure
from linkpeek.db import transaction, translated
from linkpeek.errors import CaptureError, ConfigurationError
from linkpeek.models import Snapshot
from tests.factories import make_capture

ROOT = Path(__file__).resolve().parents[2]

PAGE = "http://example.com/"
JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
EVIL = "<script>alert(1)</script>\"'&amp;"
SECURE = {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"}
UNSEEN = "\u202e\u2066\x07"


def soup(response):
    return BeautifulSoup(response.text, "html.parser")


def csrf(app):
    return app.get("/", headers=BROWSER).form["csrf_token"].value


def create(app, headers=BROWSER, **fields):
    """Send the form and give the answer, whatever it is."""
    fields = {"csrf_token": csrf(app), "uri": PAGE, **fields}
    return app.post("/captures", fields, headers=headers, expect_errors=True)


def created(app, **fields):
    """Send the form as the script does and give the path of the capture's page."""
    response = create(app, JSON, **fields)
    assert response.status_code == 202, response.text
    return response.json["path"]


def captured(app, **fields):
    """Have a page captured and give the page that shows it."""
    path = created(app, **fields)
    assert app.worker.work() == 1
    return app.get(path, headers=BROWSER)


def capture_with(app, **values):
    app.worker._capture = lambda request: make_capture(request, **values)


def assert_refused(response, status, code):
    assert (response.status_code, response.headers["X-LinkPeek-Error"]) == (status, code)
    assert "Traceback" not in response.text


class TestFrontPage:
    def test_it_has_a_labelled_form(self, app):
        page = soup(app.get("/", headers=BROWSER))
        for field in page.select("form#capture input:not([type=hidden])"):
            label = field.find_parent("label") or page.find("label", attrs={"for": field["id"]})
            assert label.get_text(strip=True)
        assert [legend.text for legend in page.select("fieldset > legend")] == ["Window", "Picture"]

    def test_its_policy_allows_nothing_from_elsewhere_and_nothing_inline(self, app):
        response = app.get("/", headers=BROWSER)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        page = soup(response)
        assert not page.find_all("style")
        assert not page.find_all(style=True)
        assert all(
            script["src"].startswith("/static/") and not script.text for script in page.find_all("script")
        )
        assert not re.search(r"\son\w+=", response.text)

    def test_a_shared_cache_may_not_keep_it(self, app):
        assert set(app.get("/").headers["Cache-Control"].split(", ")) == {"no-cache", "private"}

    def test_everything_it_links_to_is_there(self, app):
        page = soup(app.get("/", headers=BROWSER))
        links = [tag.get("href") or tag.get("src") for tag in page.select("link, script, a")]
        for link in links:
            if not link.startswith("#"):
                app.get(link, status=200)
        assert len(links) > 6

    def test_head_has_no_body(self, app):
        assert app.head("/").body == b""

    def test_static_files_are_versioned_and_cached_for_good(self, app):
        page = soup(app.get("/", headers=BROWSER))
        style = page.find("link", rel="stylesheet")["href"]
        assert re.fullmatch(r"/static/linkpeek\.css\?v=[0-9a-f]{12}", style)
        assert "max-age=31536000" in app.get(style).headers["Cache-Control"]

    def test_without_the_generator_there_is_a_plain_page(self, make_app):
        app = make_app(generator="false")
        page = soup(app.get("/", headers=BROWSER))
        assert page.form is None
        assert page.select_one('a[href="/docs"]')

    @pytest.mark.parametrize("headers", [JSON, BROWSER])
    def test_without_the_generator_nothing_is_captured(self, make_app, headers):
        app = make_app(generator="false")
        response = app.post("/captures", {"uri": PAGE}, headers=headers, expect_errors=True)
        assert_refused(response, 403, "generator-off")
        assert app.worker.work() == 0
        response = app.get("/captures/" + "0" * 64, headers=headers, expect_errors=True)
        assert_refused(response, 403, "generator-off")


class TestCreating:
    def test_a_script_gets_the_path_at_once_and_follows_it(self, make_app, monkeypatch):
        app = make_app(wait=30)
        monkeypatch.setattr("linkpeek.services.waiting.WaitingRoom.wait", lambda *_: pytest.fail("it waited"))
        path = created(app)
        assert app.get(path, headers=JSON).json["state"] == "queued"
        app.worker.work()
        answer = app.get(path, headers=JSON)
        assert answer.json["state"] == "ready"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == "Accept"
        assert app.get(answer.json["image_url"]).content_type == "image/png"

    def test_without_scripts_the_answer_is_a_redirect_to_the_page(self, app):
        response = create(app)
        assert response.status_code == 303
        assert re.fullmatch(r"http://localhost/captures/[0-9a-f]{64}\?size=640#result", response.location)
        page = app.get(response.location, headers=BROWSER)
        assert soup(page).select_one("noscript meta[http-equiv=refresh]")

    def test_without_scripts_the_answer_waits_for_the_capture(self, make_app):
        app = make_app(wait=30)
        token, waited = csrf(app), []

        def wait(_room, snapshot_id, requester):
            waited.append(requester)
            return app.worker.work() == 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("linkpeek.services.waiting.WaitingRoom.wait", wait)
            response = app.post("/captures", {"csrf_token": token, "uri": PAGE}, headers=BROWSER)
        assert [requester.partition(":")[0] for requester in waited] == ["address"]
        page = soup(response.follow(headers=BROWSER))
        assert page.select_one("#result")["data-state"] == "ready"
        assert not page.select_one("meta[http-equiv=refresh]")

    @pytest.mark.parametrize("uri", ["example.com", "http://example.com", " http://EXAMPLE.com/ "])
    def test_addresses_are_taken_as_people_type_them(self, app, uri):
        created(app, uri=uri)
        app.worker.work()
        assert app.worker.requests[0].uri == PAGE

    @pytest.mark.parametrize(
        ("fields", "viewport", "size"),
        [
            ({}, "1280x960", "640"),
            ({"viewport": "mobile", "size": "original"}, "375x667", "original"),
            ({"viewport": "custom", "viewport_width": "800", "viewport_height": "500"}, "800x500", "640"),
            ({"viewport": "custom", "viewport_width": "800", "viewport_height": ""}, "800x600", "640"),
            ({"size": "custom", "size_width": "300", "size_height": ""}, "1280x960", "300"),
            ({"size": "custom", "size_width": "300", "size_height": "200"}, "1280x960", "300x200"),
            ({"viewport": "1000x700", "size": "120x100"}, "1000x700", "120x100"),
        ],
    )
    def test_window_and_picture_are_as_chosen(self, app, fields, viewport, size):
        page = soup(captured(app, **fields))
        assert str(app.worker.requests[0].viewport) == viewport
        again = page.select_one("#result form")
        assert again.find(attrs={"name": "viewport"})["value"] == viewport
        assert again.find(attrs={"name": "size"})["value"] == size

    def test_a_fresh_picture_is_shown_again(self, app):
        path = created(app)
        app.worker.work()
        assert created(app) == path
        assert app.worker.work() == 0

    def test_capture_again_takes_a_new_one(self, app):
        page = captured(app)
        form = page.forms[1]
        response = form.submit(headers=BROWSER)
        assert app.worker.work() == 1
        assert response.location.partition("?")[0] != page.request.url.partition("?")[0]

    def test_the_limit_holds_for_a_visitor(self, make_app):
        app = make_app(rate_limit="2/hour")
        created(app, uri="http://a.example/")
        created(app, uri="http://b.example/")
        for headers in (JSON, BROWSER):
            response = create(app, headers, uri="http://c.example/")
            assert_refused(response, 429, "rate-limited")
            assert int(response.headers["Retry-After"]) > 0
        assert app.worker.work() == 2

    def test_the_limit_holds_for_other_sizes_of_a_picture_too(self, make_app):
        """Each is kept: one capture would be enough to fill the disk."""
        app = make_app(rate_limit="2/hour")
        page = captured(app, size="640")
        path = page.request.path
        assert app.get(f"{path}?size=100", headers=BROWSER).status_code == 200
        for headers in (JSON, BROWSER):
            response = app.get(f"{path}?size=101", headers=headers, expect_errors=True)
            assert_refused(response, 429, "rate-limited")
            assert int(response.headers["Retry-After"]) > 0
        for size in ("100", "640"):
            assert app.get(f"{path}?size={size}", headers=BROWSER).status_code == 200

    def test_where_the_database_does_not_answer_it_says_so(self, app, monkeypatch):
        def request(service, *_, **__):
            with translated():
                service._session.execute(sa.text("SELECT * FROM gone"))

        monkeypatch.setattr("linkpeek.services.snapshots.SnapshotService.request", request)
        for headers in (JSON, BROWSER):
            response = create(app, headers)
            assert_refused(response, 503, "database-unavailable")
            assert int(response.headers["Retry-After"]) > 0

    def test_what_is_the_operators_business_is_not_told(self, app, monkeypatch):
        def request(*_, **__):
            raise ConfigurationError("the secret file /srv/secret is not the right one")

        monkeypatch.setattr("linkpeek.services.snapshots.SnapshotService.request", request)
        for headers in (JSON, BROWSER):
            response = create(app, headers)
            assert_refused(response, 500, "bad-configuration")
            assert "/srv/secret" not in response.text

    def test_a_failure_just_now_is_told_at_once(self, app):
        def fail(_request):
            raise CaptureError("The name could not be found.", code="dns-failed", lasting=True)

        app.worker._capture = fail
        path = created(app)
        app.worker.work()
        assert_refused(create(app), 502, "dns-failed")
        page = soup(app.get(path, headers=BROWSER))
        assert "Check the spelling" in page.select_one("#result .notice").text
        assert page.select_one("#result")["data-state"] == "failed"
        told = app.get(path, headers=JSON).json
        assert (told["state"], told["error"]) == ("failed", "dns-failed")


class TestResult:
    def test_it_offers_the_url_and_the_tag(self, app):
        page = soup(captured(app))
        url = page.find(id="picture-url")["value"]
        assert re.fullmatch(r"http://localhost/snapshots/../../[0-9a-f]{32}/640\.png", url)
        image = BeautifulSoup(page.find(id="picture-tag").text, "html.parser").img
        assert image.attrs == {
            "src": url,
            "width": "640",
            "height": "480",
            "alt": "Screenshot of A page",
            "loading": "lazy",
        }
        shown = page.select_one("#result img")
        assert url.endswith(shown["src"])
        assert (shown["width"], shown["height"], shown["alt"]) == ("640", "480", "Screenshot of A page")

    def test_the_form_keeps_what_was_chosen(self, app):
        page = captured(
            app, uri="example.com/x", viewport="tablet", size="custom", size_width="300", size_height="200"
        )
        form = page.form if len(page.forms) == 1 else page.forms["capture"]
        assert (form["uri"].value, form["viewport"].value) == ("http://example.com/x", "tablet")
        assert (form["size"].value, form["size_width"].value, form["size_height"].value) == (
            "custom",
            "300",
            "200",
        )

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0, "just now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (7300, "2 hours ago"),
            (86400, "1 day ago"),
        ],
    )
    def test_its_age_is_told_in_words_and_exactly(self, app, monkeypatch, seconds, words):
        page = captured(app)
        with transaction(app.service.sessions) as session:
            finished = session.query(Snapshot).one().finished_at
        monkeypatch.setattr(
            "linkpeek.views.generator.utcnow", lambda: finished + timedelta(seconds=seconds + 0.5)
        )
        time = soup(app.get(page.request.path_qs, headers=BROWSER)).select_one("figcaption time")
        assert time.text == words
        assert time["datetime"] == finished.isoformat(timespec="seconds")
        assert time["title"].endswith("UTC")

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"status": 404}, "404 (Not Found)"),
            ({"status": 799}, "799;"),
            ({"blank": True}, "stayed blank"),
            ({"final_uri": "http://www.example.com/"}, "http://example.com/ led here"),
        ],
    )
    def test_notes(self, app, values, words):
        capture_with(app, **values)
        assert words in soup(captured(app)).select_one("#result .notice").text

    def test_a_cut_page_is_told_only_where_the_cut_shows(self, app):
        capture_with(app, truncated=True)
        page = captured(app, size="original")
        assert "16,384 pixels" in soup(page).select_one("#result .notice").text
        path = page.request.path + "?size=640"
        assert soup(app.get(path, headers=BROWSER)).select_one("#result .notice") is None

    def test_no_note_where_there_is_nothing_to_note(self, app):
        assert soup(captured(app)).select_one("#result .notice") is None

    @pytest.mark.parametrize("headers", [BROWSER, JSON])
    def test_a_hostile_title_is_only_text(self, app, headers):
        capture_with(app, title=EVIL + UNSEEN + "end" + "x" * 9999)
        response = app.get(captured(app).request.path, headers=headers)
        assert not any(character in response.text for character in UNSEEN)
        assert len(response.text) < 20000
        if headers is BROWSER:
            page = soup(response)
            assert "<script>alert(1)" not in response.text
            assert page.find(id="result-title").bdi.text.startswith(EVIL)
            assert page.title.text.startswith(EVIL)
            image = BeautifulSoup(page.find(id="picture-tag").text, "html.parser")
            assert [tag.name for tag in image.find_all()] == ["img"]
            assert image.img["alt"].startswith("Screenshot of " + EVIL)

    @pytest.mark.parametrize("uri", ["javascript:alert(1)", "data:text/html,x", "about:blank"])
    def test_only_web_pages_are_linked_to(self, app, uri):
        capture_with(app, final_uri=uri)
        page = soup(captured(app))
        assert not [a for a in page.find_all("a") if not a["href"].startswith(("/", "#"))]
        assert page.select_one("#result .source").text.strip() == uri

    def test_a_page_without_a_title_is_called_by_its_address(self, app):
        capture_with(app, title="")
        assert soup(captured(app)).find(id="result-title").text.strip() == PAGE

    def test_a_lost_picture_is_told_and_can_be_taken_again(self, app):
        page = captured(app)
        token = page.request.path.rpartition("/")[2][:32]
        app.service.storage.delete(f"{token[:2]}/{token[2:4]}/{token}")
        lost = app.get(page.request.path_qs, headers=BROWSER)
        assert soup(lost).select_one("#result")["data-state"] == "failed"
        assert create(app).status_code == 303
        assert app.worker.work() == 1

    def test_a_size_that_the_window_makes_too_high_is_refused(self, app):
        narrow = {"viewport": "custom", "viewport_width": "64", "viewport_height": "3840", "size": "custom"}
        assert_refused(create(app, **narrow, size_width="3840"), 400, "bad-size")
        path = captured(app, **narrow, size_width="64").request.path
        assert_refused(app.get(f"{path}?size=3840", headers=BROWSER, expect_errors=True), 400, "bad-size")

    def test_a_size_that_reaches_below_the_capture_is_refused(self, app):
        path = captured(app, size="640").request.path
        assert_refused(app.get(path + "?size=original", headers=BROWSER, expect_errors=True), 400, "bad-size")

    @pytest.mark.parametrize(
        "query", ["size=0", "size=x", "size=99999", "size=-5", "size=%00", "size=" + "9" * 5000]
    )
    def test_bad_sizes(self, app, query):
        path = captured(app).request.path
        assert_refused(app.get(f"{path}?{query}", headers=BROWSER, expect_errors=True), 400, "bad-size")

    def test_repeated_and_garbled_sizes(self, app):
        path = captured(app).request.path
        refused = app.get(f"{path}?size=336&size=336", headers=JSON, expect_errors=True)
        assert_refused(refused, 400, "repeated-parameter")
        assert_refused(app.get(f"{path}?size=%ff", headers=JSON, expect_errors=True), 400, "bad-encoding")

    def test_whoever_has_the_picture_has_not_its_page(self, app):
        path = captured(app).request.path
        token, seal = path.removeprefix("/captures/")[:32], path[-32:]
        assert token != seal
        for forged in (token * 2, token + "0" * 32):
            response = app.get(f"/captures/{forged}", headers=BROWSER, expect_errors=True)
            assert_refused(response, 404, "not-found")

    @pytest.mark.parametrize("token", ["0" * 64, "0" * 63, "0" * 65, "F" * 64, "x", "%00", "..", "%C3%A9"])
    def test_unknown_captures(self, app, token):
        response = app.get(f"/captures/{token}", headers=BROWSER, expect_errors=True)
        assert_refused(response, 404, "not-found")
        assert soup(response).h1

    @pytest.mark.parametrize("path", ["/captures/%ff", "/%ff", "/static/%ff", "/docs/%ff"])
    @pytest.mark.parametrize("headers", [BROWSER, JSON])
    def test_paths_that_are_not_utf8(self, app, path, headers):
        assert_refused(app.get(path, headers=headers, expect_errors=True), 400, "bad-encoding")


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"uri": ""}, "bad-uri"),
            ({"uri": "http://"}, "bad-uri"),
            ({"uri": "a b c"}, "bad-uri"),
            ({"uri": "http://example.com/a\0b"}, "bad-uri"),
            ({"uri": "http://exam\0ple.com/"}, "bad-uri"),
            ({"uri": "http://example.com/" + "x" * 3000}, "uri-too-long"),
            ({"uri": "http://example.com/" + "é" * 1000}, "uri-too-long"),
            ({"size": "0"}, "bad-size"),
            ({"size": "-1"}, "bad-size"),
            ({"size": "٣٣٦"}, "bad-size"),
            ({"size": "custom", "size_width": ""}, None),
            ({"size": "custom", "size_width": "9" * 10000}, "bad-size"),
            ({"size": "custom", "size_width": "1e3"}, "bad-size"),
            ({"viewport": "giant"}, "bad-viewport"),
            ({"viewport": "desktop\r\nX: y"}, "bad-viewport"),
            ({"viewport": "custom", "viewport_width": "1", "viewport_height": "1"}, "bad-viewport"),
        ],
    )
    @pytest.mark.parametrize("headers", [JSON, BROWSER])
    def test_parameters(self, app, fields, code, headers):
        response = create(app, headers, **fields)
        if code is None:
            assert response.status_code in (202, 303)
        else:
            assert_refused(response, 400, code)
            assert app.worker.work() == 0

    @pytest.mark.parametrize(
        ("uri", "code"),
        [
            ("ftp://example.com/", "scheme-refused"),
            ("javascript:alert(1)", "scheme-refused"),
            ("file:///etc/passwd", "scheme-refused"),
            ("http://user:secret@example.com/", "credentials-refused"),
            ("http://127.0.0.1/", "address-refused"),
            ("http://localhost/", "name-refused"),
            ("http://example.com:22/", "port-refused"),
        ],
    )
    def test_addresses_that_are_not_opened(self, app, uri, code):
        response = create(app, JSON, uri=uri)
        assert_refused(response, 403, code)
        assert response.json["field"] == "uri"
        assert response.json["advice"]

    def test_what_was_typed_is_kept_and_the_field_is_blamed(self, app):
        response = create(app, uri=EVIL, size="custom", size_width="300", viewport="tablet")
        form, page = response.forms["capture"], soup(response)
        assert form["uri"].value == EVIL
        assert (form["size"].value, form["size_width"].value, form["viewport"].value) == (
            "custom",
            "300",
            "tablet",
        )
        assert page.find(id="uri")["aria-invalid"] == "true"
        assert page.find(id="problem")["role"] == "alert"
        assert not page.find(id="problem").has_attr("hidden")
        assert "<script>alert" not in response.text

    @pytest.mark.parametrize("name", ["uri", "size", "viewport", "csrf_token", "fresh"])
    def test_repeated_fields(self, app, name):
        token = csrf(app)
        fields = [("csrf_token", token), ("uri", PAGE), (name, "x"), (name, "y")]
        response = app.post("/captures", fields, headers=JSON, expect_errors=True)
        assert_refused(response, 400, "repeated-parameter")

    @pytest.mark.parametrize("name", ["uri", "csrf_token"])
    def test_files_in_place_of_fields(self, app, name):
        fields = {"csrf_token": csrf(app), "uri": PAGE}
        del fields[name]
        response = app.post(
            "/captures", fields, upload_files=[(name, "x.txt", b"x")], headers=JSON, expect_errors=True
        )
        assert_refused(response, 400, "bad-parameter")

    @pytest.mark.parametrize(
        "body",
        [b"", b"%", b"\0", b"&&&=", b"uri=%ff%fe", b"uri=\xff\xfe", b"uri" * 3000, b"{}", b"csrf_token=%ff"],
    )
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/x-www-form-urlencoded",
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "multipart/form-data; boundary=" + "\xff" * 300,
            "text/plain; charset=nonsense",
            "application/x-www-form-urlencoded; charset=utf-16",
        ],
    )
    def test_bodies_that_are_no_form(self, app, body, content_type):
        request = TestRequest.blank("/captures", method="POST", headers=JSON, body=body)
        request.environ["CONTENT_TYPE"] = content_type
        response = app.do_request(request, expect_errors=True)
        assert response.status_code in (400, 403)
        assert response.json["error"] in (
            "bad-csrf-token",
            "bad-parameter",
            "bad-encoding",
            "repeated-parameter",
        )

    @pytest.mark.parametrize("path", ["/", "/docs", "/captures/" + "0" * 64])
    def test_another_charset(self, app, path):
        headers = {**BROWSER, "Content-Type": "text/plain; charset=utf-16"}
        assert app.get(path, headers=headers, expect_errors=True).status_code in (200, 400, 404)

    def test_a_huge_body(self, app):
        response = create(app, JSON, uri="x" * 10_000_000)
        assert_refused(response, 400, "request-too-large")

    @pytest.mark.parametrize("path", ["/", "/docs", "/captures/" + "0" * 64])
    @pytest.mark.parametrize(
        "query", ["size=%00", "%ff=%ff", "a=b&a=c", "uri=" + "x" * 1_000_000, "size[]=1", "%"]
    )
    def test_queries_nobody_asked_for(self, app, path, query):
        response = app.get(f"{path}?{query}", headers=BROWSER, expect_errors=True)
        assert response.status_code in (200, 400, 404)

    @pytest.mark.parametrize(
        "accept", ["", "nonsense", "*/*;q=2", "a/b/c", "\xff", "text/html;q=0, */*;q=0", ","]
    )
    def test_odd_accept_headers(self, app, accept):
        path = captured(app).request.path
        assert app.get(path, headers={"Accept": accept}).status_code == 200

    @pytest.mark.parametrize("host", ["evil'x", 'a"b', "a b", "<script>", "x" * 300 + "'", ""])
    @pytest.mark.parametrize("path", ["/docs"])
    def test_a_host_that_is_none(self, app, path, host):
        response = app.get(path, extra_environ={"HTTP_HOST": host}, headers=BROWSER, expect_errors=True)
        if host:
            assert_refused(response, 400, "bad-host")
        else:
            assert response.status_code in (200, 400)


class TestHeaders:
    def test_only_our_own_pages_may_load_what_is_no_picture(self, app):
        path = captured(app).request.path
        for asked in ("/", "/docs", path, "/healthz", "/metrics", "/static/linkpeek.js", "/none"):
            response = app.get(asked, headers=BROWSER, expect_errors=True)
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin", asked
        assert app.get(path, headers=JSON).headers["Cross-Origin-Resource-Policy"] == "same-origin"


class TestForgery:
    def test_a_form_from_elsewhere_is_refused(self, app):
        response = app.post("/captures", {"uri": PAGE}, headers=JSON, expect_errors=True)
        assert_refused(response, 403, "bad-csrf-token")
        assert "Reload" in response.json["advice"]
        assert app.worker.work() == 0

    @pytest.mark.parametrize("token", ["", "x", "ü", "→", "\0", "0" * 32, "x" * 9000])
    def test_a_wrong_token_is_refused(self, app, token):
        assert_refused(create(app, csrf_token=token), 403, "bad-csrf-token")
        assert app.worker.work() == 0

    def test_over_https_the_cookie_is_this_hosts_alone(self, app):
        page = app.get("/", headers=BROWSER, extra_environ=SECURE)
        (cookie,) = page.headers.getall("Set-Cookie")
        pair, *attributes = cookie.split("; ")
        assert pair == f"__Host-linkpeek_csrf={page.form['csrf_token'].value}"
        assert set(attributes) == {"Path=/", "secure", "HttpOnly", "SameSite=Lax"}

    def test_over_http_there_is_one_too(self, app):
        page = app.get("/", headers=BROWSER)
        (cookie,) = page.headers.getall("Set-Cookie")
        pair, *attributes = cookie.split("; ")
        assert pair == f"linkpeek_csrf={page.form['csrf_token'].value}"
        assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax"}

    def test_only_a_trusted_proxy_says_that_it_is_https(self, app):
        told = {"X-Forwarded-Proto": "https", **BROWSER}
        for address, name in (("127.0.0.1", "__Host-linkpeek_csrf"), ("192.0.2.1", "linkpeek_csrf")):
            page = app.get("/", headers=told, extra_environ={"REMOTE_ADDR": address})
            assert page.headers["Set-Cookie"].partition("=")[0] == name

    def test_a_cookie_that_anyone_could_have_planted_is_none_over_https(self, app):
        app.get("/", headers=BROWSER, extra_environ=SECURE)
        headers = {**JSON, "Cookie": f"linkpeek_csrf={'0' * 32}", "Origin": "https://localhost"}
        fields = {"uri": PAGE, "csrf_token": "0" * 32}
        app.reset()
        response = app.post("/captures", fields, headers=headers, extra_environ=SECURE, expect_errors=True)
        assert_refused(response, 403, "bad-csrf-token")

    def test_a_browser_keeps_its_token(self, app):
        tokens = {csrf(app) for _ in range(3)}
        assert len(tokens) == 1
        assert "Set-Cookie" not in app.get("/", headers=BROWSER).headers

    @pytest.mark.parametrize("cookie", ["a" * 30_000, "a=b;" * 8000, "=;" * 15_000, 'a="' + "\\" * 30_000])
    def test_a_long_cookie_takes_no_time(self, app, cookie):
        began = time.process_time()
        assert app.get("/", headers={**BROWSER, "Cookie": cookie}).status_code == 200
        assert time.process_time() - began < 1

    @pytest.mark.parametrize("cookie", ["x", "\xff", "", '"', "a; linkpeek_csrf=b"])
    def test_a_wrong_cookie_is_refused(self, app, cookie):
        token = csrf(app)
        app.reset()
        headers = {**JSON, "Cookie": f"linkpeek_csrf={cookie}"}
        response = app.post(
            "/captures", {"uri": PAGE, "csrf_token": token}, headers=headers, expect_errors=True
        )
        assert_refused(response, 403, "bad-csrf-token")

    def test_a_header_may_carry_the_token(self, app):
        headers = {**JSON, "X-CSRF-Token": csrf(app)}
        assert app.post("/captures", {"uri": PAGE}, headers=headers).status_code == 202

    def test_a_secure_page_sends_its_form_to_itself_only(self, app):
        page = app.get("/", headers=BROWSER, extra_environ=SECURE)
        # With no-referrer, browsers would call our own form's origin "null".
        assert page.headers["Referrer-Policy"] == "same-origin"
        fields = {"csrf_token": page.form["csrf_token"].value, "uri": PAGE}
        for origin, status in (("https://localhost", 202), ("https://evil.example", 403), ("null", 403)):
            headers = {**JSON, "Origin": origin}
            response = app.post(
                "/captures", fields, headers=headers, extra_environ=SECURE, expect_errors=True
            )
            assert response.status_code == status


class TestDocs:
    def test_its_examples_show_the_host_they_came_from(self, app):
        response = app.get("/docs", extra_environ={"HTTP_HOST": "peek.example:8080"})
        page = soup(response)
        for name in ("curl", "python", "php", "javascript"):
            text = page.find(id=name).text
            assert "http://peek.example:8080" in text
            assert "YOUR_APIKEY" in text
            assert "YOUR_SECRET" in text
            assert "{{" not in text

    @pytest.mark.parametrize(
        "token",
        [
            "26fbd4e3a72aa89b3ace5f66b626a64a",
            "7cf5f7a15e07a4f65400bde84ff37f10",
            "bef3c641a62fffc2258a87643b09fe5e",
            "4447b238f8c61e32531ca52653d02d35",
            "e8398acc693af6897dfd42b82ee1f8d7",
            "7145f55ca0a47e9c55ef378231937987",
        ],
    )
    def test_the_examples_of_tokens(self, app, token):
        assert token in [code.text for code in soup(app.get("/docs")).select("#token td code")]

    def test_every_code_of_the_package_is_explained(self, app):
        told = {code.text for code in soup(app.get("/docs")).select("#errors th code")}
        assert not sorted(codes_of_package() - told)

    def test_every_code_of_nginx_is_explained(self, app):
        site = (ROOT / "deploy/nginx/linkpeek.conf").read_text()
        codes = set(re.findall(r'X-LinkPeek-Error "([^"]+)"', site))
        assert len(codes) > 2
        assert codes <= {code.text for code in soup(app.get("/docs")).select("#errors th code")}

    @pytest.mark.parametrize("code", REASONS)
    def test_the_status_of_a_failed_page_is_as_told(self, app, code):
        told = {row.th.text: row.td.text for row in soup(app.get("/docs")).select("#errors tbody tr")}

        def fail(_request):
            error = failure(code)
            error.lasting = True
            raise error

        app.worker._capture = fail
        created(app)
        app.worker.work()
        assert str(create(app).status_code) == told[code]

    def test_its_own_links_lead_somewhere(self, app):
        page = soup(app.get("/docs"))
        ids = {tag["id"] for tag in page.find_all(id=True)}
        assert {a["href"][1:] for a in page.find_all("a") if a["href"].startswith("#")} <= ids


class TestErrorPages:
    def test_who_browses_gets_a_page(self, app):
        response = app.get("/<script>", headers=BROWSER, expect_errors=True)
        assert_refused(response, 404, "not-found")
        page = soup(response)
        assert page.h1.text == "Not found"
        assert page.select_one('a.button[href="/"]')


#: Codes that only an operator meets, at the command line or at the start.
OPERATORS = {"bad-configuration", "bad-key", "bad-output", "key-exists", "error", "unresolvable"}


def codes_of_package():
    """Collect the codes that the package's own text gives to errors for clients."""
    package = ROOT / "linkpeek"
    found = set()
    for path in {*package.rglob("*.py")} - {*package.glob("cli/*"), *package.glob("backup/*")}:
        found |= set(re.findall(r'\bcode\s*=\s*"([a-z]+(?:-[a-z]+)*)"', path.read_text("utf-8")))
    assert len(found) > 20
    return (found | set(REASONS)) - OPERATORS
