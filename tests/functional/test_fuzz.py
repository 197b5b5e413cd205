"""Whatever is sent to whatever route: an answer with a stable code, never a 500, never a traceback.

A short and always equal run by default; ``make fuzz`` goes on for FUZZ_SECONDS
with new examples. Each test also tells that its examples get to where they
should: a run that only meets a rate limit would find nothing.
"""

import os
import re
import string
import time
from collections import Counter
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyramid.interfaces import IRoutesMapper
from webtest.app import TestRequest

from linkpeek.security import md5_token
from linkpeek.settings import Rate
from tests.factories import APIKEY, SECRET
from tests.functional.test_api import PAGE, captured

#: How long each test goes on; without it, so many examples that are always the same.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 250
FUZZ = settings(
    max_examples=1000 if SECONDS else EXAMPLES,
    derandomize=not SECONDS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"]
)
#: What has broken parsers before.
NASTY = [
    "",
    "\0",
    "\r\nSet-Cookie: a=b",
    "%",
    "%zz",
    "%00",
    "%ff",
    "%0d%0aX-Evil: 1",
    "../" * 20 + "etc/passwd",
    "..%2f..%2f",
    "%2e%2e/",
    "\ud800",
    "\u202e",
    "\uff0e\uff0e",
    "A" * 5000,
    "-1",
    "1e309",
    "NaN",
    "null",
    "{}",
    "[]",
    "'\"><script>alert(1)</script>",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "' OR 1=1 --",
    ";",
    "&",
    "=",
    "?",
    "#",
    "+",
    "\\",
    "//",
    "http://127.0.0.1/",
    "original",
    "99999x99999",
]
WORDS = st.one_of(st.sampled_from(NASTY), st.text(max_size=20), st.text(string.printable, max_size=20))
#: Addresses that are right, or nearly so.
ADDRESSES = st.one_of(
    st.sampled_from([PAGE, "example.com", "http://127.0.0.1/", "http://[::1]/", "http://example.com:22/"]),
    WORDS,
    st.builds("{}{}".format, st.sampled_from(["http://", "https://", "HTTP:", "ftp://", "", "//"]), WORDS),
    st.builds("http://example.com/{}".format, WORDS),
    st.builds("http://{}.example:{}/".format, WORDS, st.integers(-1, 70_000)),
    st.ip_addresses().map("http://{}/".format),
)
NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.integers(-1, 4000)).map(str)
SIZES = st.one_of(WORDS, NUMBERS, st.builds("{}x{}".format, NUMBERS, NUMBERS))
TOKENS = st.sampled_from(["0" * 32, "f" * 64, "x" * 32])
PATHS = st.one_of(
    st.sampled_from(
        ["/", "/api/v1", "/captures", "/docs", "/healthz", "/metrics", "/static/", "/snapshots/", "/readyz"]
    ),
    st.builds("/captures/{}".format, st.one_of(TOKENS, WORDS)),
    st.builds("/snapshots/{}".format, WORDS),
    st.builds("/snapshots/00/00/{}/{}.png".format, TOKENS, WORDS),
    st.builds("/static/{}".format, st.one_of(WORDS, st.just("linkpeek.css"), st.just("../settings.py"))),
    st.builds("/api/v1/{}".format, WORDS),
    st.builds("/{}".format, WORDS),
    WORDS,
)
NAMES = st.one_of(
    st.sampled_from(
        ["uri", "apikey", "token", "size", "viewport", "ttl", "fresh", "csrf_token", "size_width"]
    ),
    WORDS,
)
PAIRS = st.lists(st.tuples(NAMES, WORDS), max_size=8)
QUERIES = st.one_of(
    WORDS,
    st.binary(max_size=60).map(lambda data: data.decode("latin-1")),
    PAIRS.map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)),
    PAIRS.map(
        lambda pairs: "&".join(f"{quote(n, errors='replace')}={quote(v, errors='replace')}" for n, v in pairs)
    ),
)
HEADER_NAMES = st.sampled_from(
    [
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Authorization",
        "Content-Type",
        "Content-Length",
        "Cookie",
        "Host",
        "If-Modified-Since",
        "If-None-Match",
        "Origin",
        "Range",
        "Referer",
        "Transfer-Encoding",
        "User-Agent",
        "X-CSRF-Token",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-HTTP-Method-Override",
    ]
)
HEADER_VALUES = st.one_of(
    WORDS,
    st.sampled_from(
        [
            "image/webp,image/*;q=0.8",
            "application/json",
            "text/html",
            "*/*;q=x",
            ";q=1",
            "application/x-www-form-urlencoded; charset=utf-16",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "text/plain; charset=nonsense",
            "bytes=0-99999999999",
            "linkpeek_csrf=\xff",
            "a=b; " * 200,
        ]
    ),
)
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4)
BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    PAIRS.map(lambda pairs: urlencode(pairs, errors="replace").encode()),
)


@pytest.fixture
def app(make_app, monkeypatch):
    """The application with limits that no fuzzing reaches."""
    monkeypatch.setattr("linkpeek.resources.FAILURE_RATE", Rate(10**8, 1))
    return make_app(rate_limit="100000000/second", queue_limit=10**6)


def fuzz(examples):
    """Run a function of examples once or, under ``make fuzz``, again and again."""
    end = time.monotonic() + SECONDS
    examples()
    while time.monotonic() < end:
        examples()


def latin(text):
    """Give text as a WSGI server gives the bytes that came over the wire."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def one_line(text):
    """Give what a header can hold: servers refuse the rest before it comes to us."""
    return re.sub(r"[\0\r\n]", "", latin(text))


def send(app, method, path, query="", headers=(), body=b""):
    """Send a request as a server would hand it over, whatever is in it; give the decent answer's parts."""
    request = TestRequest.blank("/")
    environ = request.environ
    environ.update(app.extra_environ)
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": latin(path), "QUERY_STRING": latin(query)}
    for name, value in dict(headers).items():
        name = name.upper().replace("-", "_")
        environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = one_line(value)
    request.body = body
    if "Content-Length" in headers:
        environ["CONTENT_LENGTH"] = one_line(headers["Content-Length"])
    status, answer, chunks, _ = request.call_application(app.app, catch_exc_info=True)
    try:
        answered = int(status.split()[0]), answer, b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    assert_decent(*answered)
    return answered[0], {name.lower(): value for name, value in answer}


def assert_decent(status, headers, body):
    names = [name.lower() for name, _ in headers]
    values = {name.lower(): value for name, value in headers}
    # No worker has reported, so /readyz says so.
    assert status < 500 or values["x-linkpeek-error"] == "not-ready", body
    if status >= 400:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", values["x-linkpeek-error"])
        assert names.count("x-linkpeek-error") == 1
    else:
        assert "x-linkpeek-error" not in names
    assert b"Traceback" not in body
    assert "x-evil" not in names
    assert values["x-content-type-options"] == "nosniff"
    for name, value in headers:
        assert not re.search(r"[\0\r\n]", name + value)


def test_any_request(app):
    seen = Counter()

    @FUZZ
    @given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES)
    def examples(method, path, query, headers, body):
        seen[send(app, method, path, query, headers, body)[0]] += 1

    fuzz(examples)
    assert seen.keys() >= {200, 400, 404}


#: An address for each route.
ROUTES = {
    "home": "/",
    "generator.create": "/captures",
    "generator.show": "/captures/" + "f" * 64,
    "favicon": "/favicon.ico",
    "docs": "/docs",
    "api_v1": "/api/v1",
    "snapshot": "/snapshots/x",
    "healthz": "/healthz",
    "readyz": "/readyz",
    "metrics": "/metrics",
    "__static/": "/static/linkpeek.css",
}


def test_every_route_is_known_here(app):
    routes = app.app.app.registry.getUtility(IRoutesMapper).get_routes()
    assert ROUTES.keys() == {route.name for route in routes}


@pytest.mark.parametrize("path", ROUTES.values(), ids=ROUTES)
def test_any_request_to_a_route(app, path):
    @settings(FUZZ, max_examples=FUZZ.max_examples // 10)
    @given(method=METHODS, query=QUERIES, headers=HEADERS, body=BODIES)
    def examples(method, query, headers, body):
        send(app, method, path, query, headers, body)

    fuzz(examples)


def test_any_query_of_the_api(app):
    seen = Counter()

    @FUZZ
    @given(query=QUERIES, headers=HEADERS)
    def examples(query, headers):
        for known in (
            "",
            f"uri=http://a.example/&apikey={APIKEY}&",
            f"apikey={APIKEY}&token={'0' * 32}&uri=",
        ):
            seen[send(app, "GET", "/api/v1", known + query, headers)[1]["x-linkpeek-error"]] += 1

    fuzz(examples)
    assert seen.keys() >= {"access-denied", "bad-encoding", "missing-parameter", "repeated-parameter"}


def test_any_signed_request(app):
    """What a client with a key sends: it gets past the token, to all that lies behind."""
    seen = Counter()
    extras = st.one_of(
        st.just({}),
        st.fixed_dictionaries({}, optional={"viewport": SIZES, "ttl": st.one_of(WORDS, NUMBERS)}),
    )

    @FUZZ
    @given(uri=ADDRESSES, size=st.one_of(st.just("336"), SIZES), extra=extras, headers=HEADERS)
    def examples(uri, size, extra, headers):
        token = md5_token(SECRET, *(text.encode(errors="replace").decode() for text in (uri, size)))
        query = urlencode(
            {"uri": uri, "size": size, "apikey": APIKEY, "token": token, **extra}, errors="replace"
        )
        status, answer = send(app, "GET", "/api/v1", query, headers)
        assert answer.get("location", "").startswith("http") == (status == 302)
        seen[answer.get("x-linkpeek-error") or answer["x-linkpeek-state"]] += 1

    fuzz(examples)
    assert "access-denied" not in seen
    assert seen.keys() >= {"pending", "address-refused", "bad-uri", "bad-size", "bad-viewport", "bad-ttl"}


def test_any_size_of_a_page_that_is_there(app):
    captured(app)
    seen = Counter()

    @FUZZ
    @given(size=SIZES, headers=HEADERS)
    def examples(size, headers):
        size = size.encode(errors="replace").decode()
        values = {"uri": PAGE, "size": size, "apikey": APIKEY, "token": md5_token(SECRET, PAGE, size)}
        answer = send(app, "GET", "/api/v1", urlencode(values), headers)[1]
        seen[answer.get("x-linkpeek-error") or answer["x-linkpeek-state"]] += 1
        if "location" in answer:
            assert send(app, "GET", urlsplit(answer["location"]).path)[0] == 200

    fuzz(examples)
    assert seen.keys() >= {"ready", "bad-size"}


def test_any_form(app):
    """What a browser sends to the generator: it gets past the check of its token."""
    seen = Counter()
    token = app.get("/", headers={"Accept": "text/html"}).form["csrf_token"].value
    cookie = "; ".join(f"{name}={value}" for name, value in app.cookies.items())
    fields = st.fixed_dictionaries(
        {"uri": ADDRESSES},
        optional={
            "size": st.one_of(st.just("custom"), SIZES),
            "size_width": st.one_of(WORDS, NUMBERS),
            "size_height": st.one_of(WORDS, NUMBERS),
            "viewport": st.one_of(st.just("custom"), SIZES),
            "viewport_width": st.one_of(WORDS, NUMBERS),
            "fresh": WORDS,
        },
    )

    @FUZZ
    @given(fields=fields, more=st.one_of(st.just([]), PAIRS), headers=HEADERS)
    def examples(fields, more, headers):
        body = urlencode([("csrf_token", token), *fields.items(), *more], errors="replace").encode()
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers, "Cookie": cookie}
        sent.pop("Content-Length", None)
        status, answer = send(app, "POST", "/captures", "", sent, body)
        seen[answer.get("x-linkpeek-error", status)] += 1

    fuzz(examples)
    assert seen.keys() >= {303, "bad-uri", "bad-size", "bad-viewport", "repeated-parameter"}


def test_any_look_at_a_capture(app):
    page = app.get("/", headers={"Accept": "text/html"})
    page.form["uri"] = PAGE
    path = urlsplit(page.form.submit().location).path
    app.worker.work()
    seen = Counter()
    queries = st.one_of(QUERIES, SIZES.map(lambda size: urlencode({"size": size}, errors="replace")))

    @FUZZ
    @given(query=queries, headers=HEADERS)
    def examples(query, headers):
        status, answer = send(app, "GET", path, query, headers)
        seen[answer.get("x-linkpeek-error", status)] += 1

    fuzz(examples)
    assert seen.keys() >= {200, "bad-size", "bad-encoding"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    ["/", "/api/v1", "/captures", "/captures/" + "0" * 64, "/docs", "/healthz", "/snapshots/x", "/static/x"],
    ids=lambda path: path[:12],
)
def test_ten_megabytes(app, method, path):
    body = b"a=" + b"x" * 10**7 if method == "POST" else b""
    query = "" if body else "uri=" + "x" * 10**7
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    began = time.monotonic()
    send(app, method, path, query, headers, body)
    assert time.monotonic() - began < 5
