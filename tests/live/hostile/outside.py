"""The outside world of the hostile-page tests: a web server for every name and every address.

It serves the pages of the list, and those of the folder ``pages``, at ``ID.example.com``,
the redirects of the list at the addresses they name, and what those pages and redirects
refer to. Inside and outside are the same server: whoever reaches it by a wrong address has
already been seen by the canary.
"""

import asyncio
import contextlib
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bodies
from answers import PIXEL, Answer, Late, Trickle, Zeros
from keys import Keys
from ssrf import Case, cases, page_files

PLAIN_PORTS, TLS_PORTS = (80, 8080), (443, 8443)

_PAGES = {case.id.lower(): case for case in (*cases("page", "meta"), *page_files())}

#: Cases that are not simply a page's HTML: status, headers and body.
_OTHER_ANSWERS: dict[str, tuple[int, dict[str, str], str]] = {
    "pag-069": (200, {"Link": "<http://127.0.0.1/a.css>; rel=preload; as=style"}, "<p>page"),
    "pag-071": (200, {"Alt-Svc": 'h2="127.0.0.1:8443"; ma=86400'}, "<p>page</p><img src='/a.png'>"),
    "pag-095": (
        200,
        {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"},
        "bytes",
    ),
    "pag-114": (200, {}, "<style>div{filter:blur(999px)}</style>" + "<div>" * 5000 + "x"),
    "pag-119": (407, {"Proxy-Authenticate": "Basic realm=x"}, "<p>page"),
    "pag-120": (200, {}, "<p>page"),
    "pag-121": (200, {}, "<p>page"),
    "pag-122": (200, {}, "<p>page"),
    "pag-123": (200, {}, "<p>page"),
    "pag-137": (404, {}, "<h1>not found</h1>"),
    "met-018": (200, {}, "<p>page"),
    "met-028": (200, {}, "<link rel=alternate type=application/json+oembed href='/oembed'>"),
    "met-029": (200, {}, "<link rel=alternate type=application/json+oembed href='/oembed'>"),
}

_SPECIAL = {
    "pag-067": bodies.entities,
    "pag-068": bodies.pdf,
    "pag-097": bodies.gzip_bomb,
    "pag-100": lambda: Trickle(b""),
    "pag-103": lambda: Answer(b"<p>page", lines=[(f"X-{n}", "x" * 10_000) for n in range(1000)]),
}

#: What pages refer to, whichever page it is.
_PARTS = {
    "/302-to-metadata": lambda: Answer(status=302, Location="http://169.254.169.254/"),
    "/302-to-loopback.png": lambda: Answer(status=302, Location="http://127.0.0.1/"),
    "/sw.js": lambda: Answer(b"fetch('http://127.0.0.1/')", Content_Type="text/javascript"),
    "/m.json": lambda: Answer(
        b'{"icons":[{"src":"http://10.0.0.1/i.png"}]}', Content_Type="application/json"
    ),
    "/self": lambda: Answer(b'<iframe src="/self"></iframe>'),
    "/big.ico": lambda: Zeros(200_000_000, Content_Type="image/x-icon"),
    "/bomb.png": bodies.png_bomb,
    "/list.m3u8": bodies.play_list,
    "/range.mp4": lambda: Answer(
        bytes(999), 206, Content_Type="video/mp4", Content_Range="bytes 0-998/99999"
    ),
    "/fallback.sxg": bodies.exchange,
    "/registers": lambda: Answer(
        b"<script>navigator.serviceWorker.register('/sw.js').then(() => { top.document.title = 1 })</script>"
    ),
    # gives a page's attempts time
    "/while.png": lambda: Late(PIXEL, Content_Type="image/png"),
    "/popped": lambda: Answer(b"<script>fetch('http://127.46.0.1:8080/', {mode: 'no-cors'})</script>"),
}


def redirects() -> dict[str, Answer]:
    """Lay out the redirect cases: URL to answer."""
    answers: dict[str, Answer] = {}
    for case in cases("redirect"):
        url, *hops = case.text.split(" => ")
        for hop in hops:
            kind, _, location = hop.partition(" ")
            if location and location != "...":
                answers[url] = _hop(kind, location)
                url = urljoin(url, location)
    return answers


def _hop(kind: str, location: str) -> Answer:
    if kind == "refresh-header":
        return Answer(b"<p>page", Refresh=f"0;url={location}")
    if kind == "meta-refresh":
        return Answer(f'<meta http-equiv=refresh content="0;url={location}">'.encode())
    if kind == "js":
        return Answer(f'<script>location = "{location}"</script>'.encode())
    return Answer(status=int(kind), Location=location)


_REDIRECTS = redirects()


def answer(scheme: str, host: str, target: str) -> Answer:
    """Answer a request."""
    path = urlsplit(target).path
    identity = host.partition(".")[0]
    if known := _REDIRECTS.get(f"{scheme}://{host}{target}"):
        return known
    if path == "/" and identity in _PAGES:
        return _page(identity, _PAGES[identity])
    return _part(identity, target)


def _page(identity: str, case: Case) -> Answer:
    if identity in _SPECIAL:
        return _SPECIAL[identity]()
    if identity in _OTHER_ANSWERS:
        status, headers, body = _OTHER_ANSWERS[identity]
        return Answer(body.encode(), status, lines=headers.items())
    if case.kind in ("plain", "secure"):
        status = int(dict(case.headers).get("Status", 200))
        return Answer(case.text.encode(), status, lines=case.headers)
    text = case.text.partition(" with ")[0] if case.kind == "meta" else case.text
    if text.startswith("HTTP 200 "):
        kind, _, body = text.removeprefix("HTTP 200 ").partition(": ")
        return Answer(body.encode(), Content_Type=kind)
    return Answer(f"<!DOCTYPE html><title>title</title>{text}<p>page</p>".encode())


def _part(identity: str, target: str) -> Answer:
    command, _, rest = target.removeprefix("/").partition("/")
    if command in ("302", "307") and rest:
        return Answer(status=int(command), Location=rest)
    if command == "401":
        return Answer(b"<p>who?", 401, WWW_Authenticate=f"{rest} realm=x" if rest == "Basic" else rest)
    path = urlsplit(target).path
    if identity == "met-018" and path == "/favicon.ico":
        return Answer(status=302, Location="http://169.254.169.254/")
    if path == "/i.svg" and identity in _PAGES:
        inner = _PAGES[identity].text.partition(" with ")[2].removesuffix(" in it")
        svg = f'{inner}<svg xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
        return Answer(svg.encode(), Content_Type="image/svg+xml")
    if path in _PARTS:
        return _PARTS[path]()
    if path.endswith(".png"):
        return Answer(PIXEL, Content_Type="image/png")
    return Answer(b"<p>elsewhere", 200)


class Outside:
    """The servers, on every address of the network they are started in."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        #: Every request that arrived: ``https://host/path``, and with it the header lines.
        self.requests: list[tuple[str, str]] = []

    async def start(self) -> None:
        """Listen."""
        for port in PLAIN_PORTS:
            await asyncio.start_server(self._plain, None, port, limit=2**20)
        for port in TLS_PORTS:
            await asyncio.start_server(self._tls, None, port, ssl=self._keys.good, limit=2**20)

    async def _plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve("http", reader, writer)

    async def _tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve("https", reader, writer)

    async def _serve(self, scheme: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *fields = head.split("\r\n")
            host = next(f.partition(":")[2].strip() for f in fields if f.lower().startswith("host:"))
            target = request.split(" ")[1]
            self.requests.append((f"{scheme}://{host}{target}", head))
            await _send(writer, answer(scheme, host, target))
        with contextlib.suppress(OSError):
            writer.close()


async def _send(writer: asyncio.StreamWriter, reply: Answer) -> None:
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    async for piece in reply.pieces():
        writer.write(piece)
        await writer.drain()
