"""Whatever is sent to whatever route: an answer with a stable code, never a 500, never a traceback.

A short and always equal run by default; ``make fuzz`` sets FUZZ_EXAMPLES and runs
that many, new ones each time.
"""

import os
import re
import string
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webtest.app import TestRequest

from linkpeek.security import md5_token
from tests.factories import APIKEY, SECRET

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FUZZ = settings(
    max_examples=EXAMPLES or 250,
    derandomize=not EXAMPLES,
    deadline=None,
    # The application keeps what the examples leave in it, which is as it should be.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"]
)
#: What has broken parsers before.
NASTY = [
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
TOKENS = st.sampled_from(["0" * 32, "f" * 32, "x" * 32])
PATHS = st.one_of(
    st.sampled_from(
        ["/", "/api/v1", "/captures", "/docs", "/healthz", "/readyz", "/metrics", "/static/", "/snapshots/"]
    ),
    st.builds("/captures/{}".format, st.one_of(TOKENS, WORDS)),
    st.builds("/snapshots/{}".format, WORDS),
    st.builds("/snapshots/00/00/{}/{}.png".format, TOKENS, WORDS),
    st.builds("/static/{}".format, st.one_of(WORDS, st.just("linkpeek.css"), st.just("../settings.py"))),
    st.builds("/api/v1/{}".format, WORDS),
    st.builds("/{}".format, WORDS),
    st.builds("{}".format, WORDS),
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


def latin(text):
    """Give text as a WSGI server gives the bytes that came over the wire."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def one_line(text):
    """Give what a header can hold: servers refuse the rest before it comes to us."""
    return re.sub(r"[\0\r\n]", "", latin(text))


def send(app, method, path, query="", headers=(), body=b""):
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
        return int(status.split()[0]), answer, b"".join(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()


def assert_decent(status, headers, body):
    names = [name.lower() for name, _ in headers]
    values = {name.lower(): value for name, value in headers}
    assert status < 500, body
    if status >= 400:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", values["x-linkpeek-error"])
        assert names.count("x-linkpeek-error") == 1
    assert b"Traceback" not in body
    assert "x-evil" not in names
    assert values["x-content-type-options"] == "nosniff"
    for name, value in headers:
        assert not re.search(r"[\0\r\n]", name + value)


@FUZZ
@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES)
def test_any_request(app, method, path, query, headers, body):
    assert_decent(*send(app, method, path, query, headers, body))


@FUZZ
@given(uri=WORDS, size=WORDS, extra=PAIRS, headers=HEADERS)
def test_any_signed_request(app, uri, size, extra, headers):
    """What a client with a key sends: it gets past the token, to all that lies behind."""
    values = {"uri": uri, "size": size, "apikey": APIKEY, "token": md5_token(SECRET, uri, size)}
    known = [(name, value) for name, value in extra if name in ("viewport", "ttl")]
    query = urlencode([*values.items(), *known], errors="replace")
    status, answer, body = send(app, "GET", "/api/v1", query, headers)
    assert_decent(status, answer, body)
    location = dict(answer).get("Location", "")
    assert location.startswith("http") == (status == 302)


@FUZZ
@given(fields=PAIRS, headers=HEADERS)
def test_any_form(app, fields, headers):
    """What a browser sends to the generator: it gets past the check of its token."""
    page = app.get("/", headers={"Accept": "text/html"})
    token = page.form["csrf_token"].value
    cookie = "; ".join(f"{name}={value}" for name, value in app.cookies.items())
    body = urlencode([("csrf_token", token), *fields], errors="replace").encode()
    sent = {"Content-Type": "application/x-www-form-urlencoded", **headers, "Cookie": cookie}
    sent.pop("Content-Length", None)
    assert_decent(*send(app, "POST", "/captures", "", sent, body))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/captures", "/captures/" + "0" * 32, "/snapshots/x", "/static/x"]
)
def test_ten_megabytes(app, method, path):
    body = b"a=" + b"x" * 10**7 if method == "POST" else b""
    query = "" if body else "uri=" + "x" * 10**7
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    assert_decent(*send(app, method, path, query, headers, body))
