"""The site of deploy/nginx in a real Nginx, before an application that tells what reached it."""

import concurrent.futures
import gzip
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkpeek.routes import IMMUTABLE
from linkpeek.views.headers import IMAGE_POLICY
from tests.live.https import Client
from tests.live.network import own_network
from tests.live.nginx import CHECKOUT, NAME, SITE, Nginx, made_nginx
from tests.live.processes import wait_until
from tests.live.site import PIXEL
from tests.live.upstream import Reply, Upstream, upstream

TOKEN = "5ec7e7" + "0" * 26
#: So many requests, of which the site lets 200 through at once, and then 50 in a second.
FLOOD = 800
FOLDER = "3f/9a/3f9a" + "0" * 28
ELSEWHERE = "192.0.2.10"  # RFC 5737: nobody's
NETWORK, OTHER_NETWORK = "2001:db8:0:1", "2001:db8:0:2"  # RFC 3849: nobody's, each a /64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Nginx reads of a deployed tree, and an image in it."""
    root = tmp_path_factory.mktemp("root")
    checkout = root / "web/linkpeek"
    for name in ("linkpeek/static", "deploy/nginx"):
        shutil.copytree(CHECKOUT / name, checkout / name)
    images = checkout / "var/snapshots" / FOLDER
    images.mkdir(parents=True)
    for name in ("336x336.png", "336x336.webp", "master.png"):
        (images / name).write_bytes(PIXEL)
    (images / "page.html").write_text("<script>alert(1)</script>")
    (images / "link.png").symlink_to("/etc/passwd")
    (checkout / "var/secret").write_text(TOKEN)
    for folder in [root, *root.parents]:
        if folder != Path("/") and folder.stat().st_uid == root.stat().st_uid:
            folder.chmod(folder.stat().st_mode | 0o011)
    return root


@pytest.fixture(scope="module")
def nginx(root: Path) -> Iterator[Nginx]:
    with own_network(), made_nginx(root) as nginx:
        networks = (
            f"{network}::{number:x}/128" for network in (NETWORK, OTHER_NETWORK) for number in range(1, 9)
        )
        for address in (f"{ELSEWHERE}/32", *networks):
            subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=False, capture_output=True)
        nginx.start()
        yield nginx


@pytest.fixture(scope="module")
def client(nginx: Nginx) -> Client:
    return Client(nginx)


@pytest.fixture
def app(nginx: Nginx) -> Iterator[Upstream]:
    with upstream() as server:
        yield server


def test_the_configuration_is_clean(nginx: Nginx) -> None:
    said = nginx.check()
    assert "test is successful" in said
    assert not re.search(r"warn|emerg", said)


class TestNames:
    def test_http_redirects_to_https(self, client: Client) -> None:
        answer = client.ask(f"/api/v1?token={TOKEN}", tls=False)
        assert answer.status == 301
        assert answer.header("Location") == f"https://{NAME}/api/v1?token={TOKEN}"

    def test_challenges_are_answered_over_http(self, client: Client, nginx: Nginx) -> None:
        folder = nginx.acme / ".well-known/acme-challenge"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "abc").write_text("abc.def")
        answer = client.ask("/.well-known/acme-challenge/abc", tls=False)
        assert (answer.status, answer.body) == (200, b"abc.def")
        assert client.ask("/.well-known/acme-challenge/none", tls=False).status == 404

    @pytest.mark.parametrize("tls", [True, False])
    def test_another_name_gets_nothing(self, client: Client, app: Upstream, tls: bool) -> None:
        with pytest.raises(OSError, match="closed connection"):
            client.ask("/", headers={"Host": "evil.example"}, tls=tls)
        assert not app.arrived

    def test_no_version_is_told(self, client: Client, app: Upstream) -> None:
        assert client.get("/").header("Server") == "nginx"
        assert b"1." not in client.get("/snapshots/x").body


class TestTls:
    def test_old_protocols_are_refused(self, nginx: Nginx) -> None:
        for option in ("-tls1", "-tls1_1"):
            assert not self._connects(nginx, option, "-cipher", "DEFAULT:@SECLEVEL=0")
        assert self._connects(nginx, "-tls1_2")
        assert self._connects(nginx, "-tls1_3")

    def test_only_forward_secret_authenticated_ciphers(self, nginx: Nginx) -> None:
        assert self._connects(nginx, "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
        for cipher in ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256"):
            assert not self._connects(nginx, "-tls1_2", "-cipher", cipher)

    def test_http2_is_offered(self, nginx: Nginx) -> None:
        done = subprocess.run(
            [
                *(
                    "curl",
                    "-sS",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_version}",
                    "--cacert",
                    str(nginx.certificate),
                ),
                *("--connect-to", f"::127.0.0.1:{nginx.https}", f"https://{NAME}/static/linkpeek.css"),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "2"

    def test_a_client_without_a_server_name_is_served(self, nginx: Nginx, app: Upstream) -> None:
        context = ssl.create_default_context(cafile=str(nginx.certificate))
        context.check_hostname = False
        with context.wrap_socket(Client(nginx)._tcp(nginx.https)) as sock:
            sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            assert sock.recv(100).startswith(b"HTTP/1.1 200")

    @staticmethod
    def _connects(nginx: Nginx, *options: str) -> bool:
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{nginx.https}",
            "-servername",
            NAME,
            *options,
        ]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


class TestImages:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [("336x336.png", "image/png"), ("336x336.webp", "image/webp"), ("master.png", "image/png")],
    )
    def test_comes_from_disk(self, client: Client, app: Upstream, name: str, kind: str) -> None:
        answer = client.get(f"/snapshots/{FOLDER}/{name}")
        assert (answer.status, answer.body) == (200, PIXEL)
        assert answer.header("Content-Type") == kind
        assert answer.header("Cache-Control") == f"public, max-age={IMMUTABLE}, immutable"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Content-Security-Policy") == IMAGE_POLICY
        assert answer.header("Cross-Origin-Resource-Policy") == "cross-origin"
        assert answer.header("Strict-Transport-Security") == "max-age=63072000"
        assert not app.arrived

    @pytest.mark.parametrize(
        "path",
        [
            f"/snapshots/{FOLDER}/200x200.png",
            f"/snapshots/{FOLDER}/page.html",
            f"/snapshots/{FOLDER}/link.png",
            f"/snapshots/{FOLDER}/",
            f"/snapshots/{FOLDER}",
            f"/snapshots/{FOLDER}/336x336.png/",
            f"/snapshots/00/00/{FOLDER[6:]}/336x336.png",
            "/snapshots/",
            "/snapshots/../secret",
            "/snapshots/%2e%2e/secret",
            "/snapshots/..%2fsecret",
            "/snapshots/.tmp/x.png",
        ],
    )
    def test_anything_else_is_not_there(self, client: Client, app: Upstream, path: str) -> None:
        app.replies[path] = Reply(404)
        answer = client.get(path)
        assert answer.status in (403, 404)
        assert TOKEN.encode() not in answer.body
        assert "immutable" not in answer.header("Cache-Control")
        assert not [one for one in app.arrived if one.path.endswith((".png", ".webp"))]

    def test_a_new_image_is_seen_at_once(self, client: Client, root: Path) -> None:
        path = f"/snapshots/{FOLDER}/640.png"
        assert client.get(path).status == 404
        (root / "web/linkpeek/var" / path[1:]).write_bytes(PIXEL)
        assert client.get(path).status == 200

    def test_unchanged_head_and_parts(self, client: Client) -> None:
        path = f"/snapshots/{FOLDER}/336x336.png"
        tag = client.get(path).header("ETag")
        assert client.get(path, If_None_Match=tag).status == 304
        assert client.get(path, method="HEAD").header("Content-Length") == str(len(PIXEL))
        assert client.get(path, Range="bytes=0-7").body == PIXEL[:8]

    def test_nothing_can_be_sent_to_them(self, client: Client, app: Upstream) -> None:
        assert client.ask(f"/snapshots/{FOLDER}/336x336.png", method="POST", body=b"x").status == 403
        assert not app.arrived


class TestStaticFiles:
    def test_versioned_ones_are_kept_for_good(self, client: Client, app: Upstream) -> None:
        versioned, plain = client.get("/static/linkpeek.css?v=1"), client.get("/static/linkpeek.css")
        assert versioned.header("Content-Type") == "text/css; charset=utf-8"
        assert versioned.header("Cache-Control") == f"public, max-age={IMMUTABLE}, immutable"
        assert plain.header("Cache-Control") == "public, max-age=3600"
        assert client.get("/static/none.css?v=1").status == 404
        assert not app.arrived

    def test_text_is_compressed(self, client: Client) -> None:
        plain, packed = (
            client.get("/static/linkpeek.js"),
            client.get("/static/linkpeek.js", Accept_Encoding="gzip"),
        )
        assert packed.header("Content-Encoding") == "gzip"
        assert packed.header("Vary") == "Accept-Encoding"
        assert gzip.decompress(packed.body) == plain.body

    def test_nothing_beside_them(self, client: Client, app: Upstream) -> None:
        for path in ("/static/../config.py", "/static/%2e%2e/config.py", "/static../config.py"):
            assert b"make_app" not in client.get(path).body


class TestForwarding:
    def test_what_nginx_saw_and_nothing_else(self, client: Client, app: Upstream) -> None:
        client.get(
            "/api/v1?a=%20b+c",
            X_Forwarded_For="6.6.6.6",
            X_Forwarded_Proto="http",
            X_Forwarded_Host="evil.example",
            X_Forwarded_Port="1",
            X_Real_IP="6.6.6.6",
            Forwarded="for=6.6.6.6",
            Proxy="http://evil.example/",
        )
        assert app.last.path == "/api/v1?a=%20b+c"
        told = {name: app.last.headers.get(name) for name in ("host", "x-forwarded-for", "x-forwarded-proto")}
        assert told == {"host": [NAME], "x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["https"]}
        assert app.last.headers["x-forwarded-host"] == [NAME]
        assert not {"x-forwarded-port", "x-real-ip", "forwarded", "proxy"} & set(app.last.headers)
        assert "6.6.6.6" not in str(app.last.headers)

    def test_names_that_become_the_same_in_wsgi_do_not_pass(self, client: Client, app: Upstream) -> None:
        client.ask("/", headers={"X_Forwarded_For": "6.6.6.6", "X-Forwarded_Proto": "http"})
        assert "6.6.6.6" not in str(app.last.headers)
        assert "x-forwarded_proto" not in app.last.headers

    def test_an_absolute_target_decides_the_host(self, client: Client, app: Upstream) -> None:
        client.ask(f"https://{NAME}/healthz", headers={"Host": NAME})
        assert (app.last.path, app.last.headers["host"]) == ("/healthz", [NAME])

    def test_connections_are_kept(self, client: Client, app: Upstream) -> None:
        for _ in range(20):
            assert client.get("/").status == 200
        assert len(app.connections) < 20

    def test_its_own_errors_pass_as_they_are(self, client: Client, app: Upstream) -> None:
        for status in (400, 403, 404, 429, 500, 502, 503, 504):
            app.replies["/api/v1"] = Reply(
                status, {"X-LinkPeek-Error": "a-code", "Retry-After": "7"}, b"words"
            )
            answer = client.get("/api/v1")
            assert (answer.status, answer.body) == (status, b"words")
            assert answer.header("X-LinkPeek-Error") == "a-code"
            assert answer.header("Retry-After") == "7"

    def test_its_headers_are_not_doubled(self, client: Client, app: Upstream) -> None:
        own = {"Content-Security-Policy": IMAGE_POLICY, "X-Content-Type-Options": "nosniff"}
        app.replies["/"] = Reply(
            headers=own | {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        )
        answer = client.get("/")
        for name in (*own, "Referrer-Policy", "Cache-Control", "Strict-Transport-Security", "Server"):
            assert answer.header(name)

    def test_waits_pass(self, client: Client, app: Upstream) -> None:
        app.replies["/api/v1"] = Reply(delay=4)
        assert client.get("/api/v1").status == 200

    def test_time_outs_fit_those_of_uwsgi(self) -> None:
        site, ini = SITE.read_text(), (CHECKOUT / "production.ini").read_text()

        def seconds(text: str, pattern: str) -> int:
            match = re.search(pattern, text, re.MULTILINE)
            assert match, pattern
            return int(match[1])

        harakiri = seconds(ini, r"^harakiri = (\d+)")
        assert seconds(ini, r"^#linkpeek.wait = (\d+)") < harakiri
        assert (
            harakiri < seconds(site, r"proxy_read_timeout (\d+)s;") < seconds(ini, r"^http-timeout = (\d+)")
        )
        assert seconds(site, r"^ *keepalive_timeout (\d+)s;") < seconds(ini, r"^http-keepalive = (\d+)")

    def test_a_friendly_page_where_nobody_answers(self, client: Client) -> None:
        answer = client.get("/api/v1?uri=x")
        assert answer.status == 503
        assert answer.header("Retry-After") == "5"
        assert answer.header("X-LinkPeek-Error") == "restarting"
        assert answer.header("Cache-Control") == "no-store"
        assert b"One moment, please" in answer.body

    def test_that_page_looks_again_for_pages_alone(self, client: Client) -> None:
        """What takes a form has no page to show."""
        form = client.ask("/captures", method="POST", body=b"uri=x")
        assert (form.status, form.header("Refresh")) == (503, "")
        assert client.get("/docs").header("Refresh") == "5"

    def test_that_page_is_not_there_by_itself(self, client: Client, app: Upstream) -> None:
        assert client.get("/busy.html").status == 404
        assert client.get("/too-many-requests").status == 404


class TestMonitors:
    """This machine is one, as the site stands."""

    @pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "//metrics", "/x/../metrics", "/metrics?a=b"])
    def test_figures_are_for_monitors(self, nginx: Nginx, client: Client, app: Upstream, path: str) -> None:
        assert client.get(path).body == b"from the application"
        app.arrived.clear()
        for source in (ELSEWHERE, f"{NETWORK}::1"):
            answer = Client(nginx, source=source).get(path, X_Forwarded_For="127.0.0.1")
            assert answer.status == 403
        assert not app.arrived

    def test_whether_it_is_ready_is_for_everybody(self, nginx: Nginx, client: Client, app: Upstream) -> None:
        app.replies["/readyz"] = Reply(body=b'{"ready": true}')
        for one in (client, Client(nginx, source=ELSEWHERE)):
            answer = one.get("/readyz")
            assert (answer.status, answer.body) == (200, b'{"ready": true}')
        assert [one.path for one in app.arrived] == ["/readyz", "/readyz"]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_what_is_not_ready_is_for_monitors(
        self, nginx: Nginx, client: Client, app: Upstream, method: str
    ) -> None:
        app.replies["/readyz"] = Reply(503, {"X-LinkPeek-Error": "not-ready", "Retry-After": "5"}, b"details")
        near, far = (one.get("/readyz", method=method) for one in (client, Client(nginx, source=ELSEWHERE)))
        assert near.body == (b"details" if method == "GET" else b"")
        assert far.body == (b'{"ready": false}' if method == "GET" else b"")
        assert far.header("Content-Type") == "application/json"
        for answer in (near, far):
            assert answer.status == 503
            assert answer.header("X-LinkPeek-Error") == "not-ready"
            assert answer.header("Retry-After") == "5"

    def test_it_is_not_ready_where_nobody_answers(self, nginx: Nginx, client: Client) -> None:
        assert client.get("/readyz").status == 503
        assert Client(nginx, source=ELSEWHERE).get("/readyz").status == 503

    def test_the_steps_between_are_no_addresses(self, client: Client, app: Upstream) -> None:
        for path in ("/ready-or-not", "/not-ready"):
            assert client.get(path).status == 404
        assert not app.arrived


class TestRefusals:
    HEAD = f"POST / HTTP/1.1\r\nHost: {NAME}\r\n".encode()
    HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"

    @pytest.mark.parametrize(
        "lines",
        [
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
            b"Content-Length: 0, 40\r\n\r\n",
            b"Content-Length: +4\r\n\r\nabcd",
            b"Content-Length: 0x4\r\n\r\nabcd",
            b"Content-Length: -1\r\n\r\n",
            b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length : 4\r\n\r\nabcd",
            b"X: a\r\n folded\r\n\r\n",
            b" Leading: space\r\n\r\n",
            b"X: a\x00b\r\n\r\n",
            b"Host: other.example\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        ],
        ids=lambda lines: lines.partition(b"\r\n\r\n")[0].decode("latin-1")[:40],
    )
    def test_ambiguous_requests(self, client: Client, app: Upstream, lines: bytes) -> None:
        answers = client.raw(self.HEAD + lines + self.HIDDEN)
        assert re.match(rb"HTTP/1\.1 (400|501) ", answers), answers[:100]
        assert answers.count(b"HTTP/1.1 ") == 1
        assert not app.arrived

    @pytest.mark.parametrize("lines", [b"X: a\rTransfer-Encoding: chunked\r\n\r\n", b"X: a\r\rb\r\n\r\n"])
    def test_bare_carriage_returns_start_no_header(self, client: Client, app: Upstream, lines: bytes) -> None:
        answers = client.raw(b"GET / HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\n" + lines + self.HIDDEN, 2)
        assert not [one for one in app.arrived if one.path == "/hidden" and one.headers["host"] != [NAME]]
        for one in app.arrived:
            assert "transfer-encoding" not in one.headers
        assert answers.count(b"HTTP/1.1 200") <= 1

    def test_a_chunked_body_arrives_with_its_length(self, client: Client, app: Upstream) -> None:
        client.raw(
            self.HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert app.last.body == b"abc"
        assert app.last.headers["content-length"] == ["3"]
        assert "transfer-encoding" not in app.last.headers

    def test_oversized_headers(self, client: Client, app: Upstream) -> None:
        assert client.get("/?" + "a" * 11_000).status == 200
        assert client.get("/?" + "a" * 13_000).status == 414
        assert client.get("/", X="a" * 13_000).status == 400
        assert client.ask("/", headers={f"X-{n}": "a" * 5_000 for n in range(20)}).status == 400
        assert [one.path[:3] for one in app.arrived] == ["/?a"]

    def test_oversized_headers_over_http2(self, nginx: Nginx, app: Upstream) -> None:
        def status(*options: str) -> str:
            command = ["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_code}", *options]
            where = ["--connect-to", f"::127.0.0.1:{nginx.https}"]
            return subprocess.run([*command, *where], capture_output=True, text=True).stdout

        url, much = f"https://{NAME}/?", "~" * 13_000  # not compressed, as "a" would be
        assert status(url + "a" * 11_000) == "200"
        # There Nginx ends the connection (RFC 9113, 10.5.1, allows that), for which curl says 000.
        assert status(url + much) == "000"
        assert status("-H", f"X: {much}", url) == "000"
        assert len(app.arrived) == 1

    def test_oversized_bodies(self, client: Client, app: Upstream) -> None:
        assert client.ask("/captures", method="POST", body=b"a" * 60_000).status == 200
        arrived = len(app.arrived)
        assert client.ask("/captures", method="POST", body=b"a" * 70_000).status == 413
        assert len(app.arrived) == arrived

    @pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
    def test_methods_that_nobody_needs(self, client: Client, app: Upstream, method: str) -> None:
        assert client.ask("/", method=method).status in (400, 405)
        assert not app.arrived

    def test_the_addresses_of_one_ipv6_network_are_one_client(self, nginx: Nginx, app: Upstream) -> None:
        """Whoever has one has 2^64 of them."""
        answers = flood(nginx, *(f"{NETWORK}::{number:x}" for number in range(1, 9)))
        assert 0 < answers.count(b"HTTP/1.1 429 ") <= FLOOD - 200
        assert Client(nginx, source=f"{OTHER_NETWORK}::1").get("/api/v1").status == 200

    def test_a_flood_is_slowed_down(self, nginx: Nginx, app: Upstream) -> None:
        answers = flood(nginx, *[ELSEWHERE] * 8)
        refused = answers.count(b"HTTP/1.1 429 ")
        assert 0 < refused <= FLOOD - 200
        assert answers.count(b"HTTP/1.1 200 ") == FLOOD - refused
        assert answers.count(b"\r\nRetry-After: 1\r\n") == refused
        assert answers.count(b"\r\nX-LinkPeek-Error: too-many-requests\r\n") == refused


def flood(nginx: Nginx, *sources: str) -> bytes:
    """Send far more requests than are let through, as fast as can be, and give the answers to all of them."""
    one = f"GET /api/v1 HTTP/1.1\r\nHost: {NAME}\r\n"
    many = (one + "\r\n") * (FLOOD // len(sources) - 1) + one + "Connection: close\r\n\r\n"
    with concurrent.futures.ThreadPoolExecutor(len(sources)) as pool:
        return b"".join(pool.map(lambda source: Client(nginx, source).raw(many.encode(), 60), sources))


class TestLogs:
    def test_a_line_is_an_object_with_the_times_of_the_application(
        self, client: Client, nginx: Nginx, app: Upstream
    ) -> None:
        app.replies["/api/v1"] = Reply(302, {"X-LinkPeek-State": "ready", "Location": "/"}, delay=0.2)
        client.ask("/api/v1", headers={"User-Agent": 'a "quoted"\tone'})
        line = self._last(nginx, 'a \\"quoted\\"')
        assert (line["method"], line["path"], line["status"], line["state"]) == (
            "GET",
            "/api/v1",
            302,
            "ready",
        )
        assert line["agent"] == 'a "quoted"\tone'
        assert line["seconds"] >= 0.2
        assert float(line["upstream_seconds"]) >= 0.2

    def test_no_secret_gets_in(self, client: Client, nginx: Nginx, app: Upstream) -> None:
        query = f"apikey=A-KEY-{TOKEN}&token={TOKEN}"
        app.replies["/broken"] = Reply(500)
        paths = [
            "/api/v1?",
            "/api/v1%3F",
            "/api/v1&",
            "/api/v1;",
            "/broken?",
            "/static/x?",
            "/snapshots/x?",
            "/?",
        ]
        for path in paths:
            client.get(path + query, Referer=f"https://x.example/?{query}")
        client.ask("/api/v1?" + query, tls=False)
        client.get("/api/v1?" + query + "a" * 40_000)
        client.ask("/api/v1?" + query, method="POST", body=b"a" * 70_000)
        client.raw(f"GET /api/v1?{query} HTTP/1.1\r\nHost: {NAME}\r\nX: \0\r\n\r\n".encode())
        app.vanish()
        assert client.get("/api/v1?" + query, User_Agent="the last one").status == 503
        for path in (nginx.folder / "log").iterdir():
            assert TOKEN not in path.read_text(), path
        assert self._last(nginx, "the last one")["upstream_status"].startswith("502")

    def test_logs_are_reopened(self, client: Client, nginx: Nginx, app: Upstream) -> None:
        moved = nginx.access_log.with_suffix(".1")
        nginx.access_log.rename(moved)
        nginx.reopen_logs()
        wait_until(nginx.access_log.exists, 20, "the log is there again")
        client.get("/healthz")
        wait_until(lambda: "/healthz" in nginx.access_log.read_text(), 20, "it is written to")
        with moved.open("a") as file:
            file.write(nginx.access_log.read_text())
        moved.rename(nginx.access_log)
        nginx.reopen_logs()

    @staticmethod
    def _last(nginx: Nginx, words: str) -> dict:  # type: ignore[type-arg]
        """Give the last line with such words in it; a line is written after its answer."""

        def found() -> list[str]:
            return [line for line in nginx.access_log.read_text().splitlines() if words in line]

        return json.loads(wait_until(found, 10, "it is logged")[-1])  # type: ignore[no-any-return]
