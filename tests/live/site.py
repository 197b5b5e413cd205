"""The local fixture site: pages good, slow, broken and hostile, on a free port of 127.0.0.1.

``with Site() as site: site.url("/static")``. ``site.hits`` counts requests by
path. What never ends by itself ends when the site is closed. Run as a program it
serves until it is interrupted, for looking at the pages by hand.
"""

import base64
import contextlib
import gzip
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from tests.live import packed

PAGES = Path(__file__).resolve().with_name("pages")

#: 1 x 1 pixel, red.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)

HTML = "text/html; charset=utf-8"


class Handler(BaseHTTPRequestHandler):
    """Answers by path: a route of ``ROUTES``, or a page of the folder ``pages``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        self.query = {name: values[0] for name, values in query.items()}
        self.server.hit(parts.path)
        route = ROUTES.get(parts.path)
        with contextlib.suppress(ConnectionError):
            if route is not None:
                route(self)
            else:
                self._page(parts.path)

    do_POST = do_GET

    def _page(self, path: str) -> None:
        file = PAGES / f"{path.strip('/') or 'static'}.html"
        if file.parent == PAGES and file.is_file():
            self.answer(file.read_bytes())
        else:
            self.answer(b"<!doctype html><title>Lost</title><h1>404: no such page</h1>", status=404)

    def answer(self, body: bytes, status: int = 200, kind: str = HTML, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self, kind: str = HTML, **headers: str) -> None:
        """Start an answer whose end is the end of the connection."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True

    def wait(self, seconds: float = 3600) -> None:
        """Wait, but not beyond the site's end."""
        self.server.ending.wait(seconds)


class Server(ThreadingHTTPServer):
    """Takes many connections at once, and remembers what was asked for."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hits: Counter[str] = Counter()
        self._hitting = threading.Lock()
        self.ending = threading.Event()

    def hit(self, what: str) -> int:
        """Count a request, each on a thread of its own, and give how many there have been."""
        with self._hitting:
            self.hits[what] += 1
            return self.hits[what]

    def handle_error(self, *_: object) -> None:
        """Browsers hang up when they like."""


class Site:
    """The running site."""

    def __init__(self) -> None:
        self._server = Server()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port: int = self._server.server_port

    def __enter__(self) -> "Site":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def hits(self) -> Counter[str]:
        """Requests so far, by path."""
        return self._server.hits

    def url(self, path: str = "/") -> str:
        """Give the whole address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"


# Good pages that take their time


def slow(handler: Handler) -> None:
    """Answers after ``?s=`` seconds."""
    handler.wait(float(handler.query.get("s", "1")))
    handler.answer(b"<!doctype html><title>Slow</title><h1>It came in the end.</h1>")


def slow_data(handler: Handler) -> None:
    handler.wait(float(handler.query.get("s", "0.5")))
    handler.answer(b"#0a0", kind="text/plain")


def pixel(handler: Handler) -> None:
    handler.answer(PIXEL, kind="image/png")


def cached_style(handler: Handler) -> None:
    lasting = "public, max-age=99999, immutable"
    handler.answer(b"html{background:#0a0}", kind="text/css", Cache_Control=lasting)


def second_load(handler: Handler) -> None:
    """Blank the first time it is asked for by a name, filled afterwards."""
    key = f"second-load:{handler.query.get('key', '')}"
    filled = handler.server.hit(key) > 1
    handler.answer(b"<!doctype html><title>Twice</title>" + (b"<h1>Here I am.</h1>" if filled else b""))


def web_font(handler: Handler) -> None:
    """Any font that the system has, after a moment."""
    handler.wait(0.3)
    fonts = sorted(Path("/usr/share/fonts").rglob("*Mono-Bold.ttf"))
    handler.answer(fonts[0].read_bytes() if fonts else b"", kind="font/ttf")


def show_headers(handler: Handler) -> None:
    """The request's headers as the title."""
    lines = " | ".join(f"{name}: {value}" for name, value in handler.headers.items())
    handler.answer(f"<!doctype html><title>{lines}</title><h1>Headers</h1>".replace('"', "&quot;").encode())


def show_language(handler: Handler) -> None:
    """What the server and the page's scripts are told of the visitor's languages, as the title."""
    header = handler.headers["Accept-Language"]
    script = f"document.title = ['{header}', ...navigator.languages].join(' | ')"
    handler.answer(f"<!doctype html><script>{script}</script><h1>Language</h1>".encode())


# Pages that are not there


def status(handler: Handler) -> None:
    """``?code=`` with a page, or without one where ``&empty`` is given."""
    code = int(handler.query.get("code", "500"))
    page = f"<!doctype html><title>{code}</title><h1>{code}</h1>"
    handler.answer(b"" if "empty" in handler.query else page.encode(), status=code)


def no_content(handler: Handler) -> None:
    handler.send_response(204)
    handler.end_headers()


def stays(handler: Handler) -> None:
    """Sends itself ``?to=`` an address once it is there, and thinks better of it after a moment."""
    script = f"onload = () => {{ location = '{handler.query['to']}'; setTimeout(() => stop(), 50); }}"
    page = f"<!doctype html><title>Stays</title><h1>It stays</h1><script>{script}</script>"
    handler.answer(page.encode())


def redirect(handler: Handler) -> None:
    """``?to=`` an address, or ``?n=`` times and then to the static page."""
    left = int(handler.query.get("n", "1"))
    to = handler.query.get("to") or (f"/redirect?n={left - 1}" if left > 1 else "/static")
    handler.answer(b"", status=302, Location=to)


def redirect_loop(handler: Handler) -> None:
    handler.answer(b"", status=302, Location="/redirect-loop")


def attachment(handler: Handler) -> None:
    handler.answer(b"a,b\n1,2\n", kind="text/csv", Content_Disposition='attachment; filename="table.csv"')


def octets(handler: Handler) -> None:
    handler.answer(bytes(range(256)) * 16, kind="application/octet-stream")


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
    handler.close_connection = True


# Pages that do not end


def never(handler: Handler) -> None:
    """Takes the request and says nothing."""
    handler.wait()


def never_ends(handler: Handler) -> None:
    """A page that is there at once and whose document goes on for ever."""
    handler.begin()
    handler.wfile.write(b"<!doctype html><title>Endless</title><h1>The beginning</h1>" + b" " * 2048)
    while not handler.server.ending.wait(0.2):
        handler.wfile.write(b"<p>and more</p>")


def endless_bytes(handler: Handler) -> None:
    """As many bytes as anyone will take, as a page or as ``?kind=``."""
    handler.begin(handler.query.get("kind", HTML))
    chunk = b"<p>" + b"x" * 65533
    while not handler.server.ending.is_set():
        handler.wfile.write(chunk)


def bomb(handler: Handler) -> None:
    """A gigabyte of page, packed into one megabyte."""
    handler.begin(Content_Encoding="gzip")
    handler.wfile.write(_bomb())


def _bomb() -> bytes:
    part = gzip.compress(b"<p>" + b"x" * (16 * 1024 * 1024), compresslevel=6)
    return part * 64


def huge_picture(handler: Handler) -> None:
    """A PNG of 900 million pixels, which takes 3.6 GB to draw, in less than a megabyte."""
    side = 30000
    pack = zlib.compressobj(1)
    row = b"\0" + b"\xff" * (side // 8)
    rows = b"".join(pack.compress(row) for _ in range(side)) + pack.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    handler.answer(b"\x89PNG\r\n\x1a\n" + body, kind="image/png")


def silence(handler: Handler) -> None:
    """A page packed thrice, of which nothing comes out, however long it is unpacked."""
    handler.begin(Content_Encoding="gzip, gzip, gzip")
    handler.wfile.write(packed.silent(64))
    handler.wait()


def endless_packed(handler: Handler) -> None:
    """Spaces without end, packed, as ``?kind=``."""
    handler.begin(handler.query.get("kind", HTML), Content_Encoding="gzip")
    first, next_ones = packed.spaces(16)
    handler.wfile.write(first)
    while not handler.server.ending.is_set():
        handler.wfile.write(next_ones)


def _endless(start: bytes, part: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(start)
        while not handler.server.ending.is_set():
            handler.wfile.write(part * 2000)

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


ROUTES: dict[str, Callable[[Handler], None]] = {
    "/slow": slow,
    "/slow-data": slow_data,
    "/pixel.png": pixel,
    "/cached.css": cached_style,
    "/second-load": second_load,
    "/font.ttf": web_font,
    "/headers": show_headers,
    "/language": show_language,
    "/status": status,
    "/204": no_content,
    "/stays": stays,
    "/redirect": redirect,
    "/redirect-loop": redirect_loop,
    "/attachment": attachment,
    "/octets": octets,
    "/hang-up": hang_up,
    "/nonsense": nonsense,
    "/never": never,
    "/never-ends": never_ends,
    "/endless-bytes": endless_bytes,
    "/bomb": bomb,
    "/huge.png": huge_picture,
    "/silence": silence,
    "/endless-packed": endless_packed,
    "/endless-interim": _endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "/endless-hints": _endless(
        b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload; as=style\r\n\r\n"
    ),
    "/endless-headers": _endless(OK, b"X-A: b\r\n"),
    "/endless-header": _endless(OK + b"X-A: ", b"b" * 32),
    "/endless-trailers": _endless(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-A: b\r\n"),
    "/endless-chunk": _endless(CHUNKED + b"5;", b"a=b;"),
}


if __name__ == "__main__":
    with Site() as running:
        sys.stdout.write(running.url() + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(10**6)
