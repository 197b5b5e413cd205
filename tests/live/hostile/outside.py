"""The outside world of the hostile-page tests: a web server for every name and every address.

It serves the pages of the list at ``ID.example.com``, the redirects of the list
at the addresses they name, and what those pages and redirects refer to. Inside
and outside are the same server: whoever reaches it by a wrong address has
already been seen by the canary.
"""

import asyncio
import base64
import contextlib
import datetime
import gzip
import hashlib
import io
import itertools
import ssl
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ssrf import Case, cases

PLAIN_PORTS, TLS_PORTS = (80, 8080), (443, 8443)

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)
HTML = "text/html; charset=utf-8"

_PAGES = {case.id.lower(): case for case in cases("page", "meta")}

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


class Keys:
    """A certificate that the tests' browser takes, and one that nobody takes."""

    def __init__(self, folder: Path) -> None:
        self.good, self.spki = _certificate(folder / "good.pem", ["example.com", "*.example.com"])
        self.bad, _ = _certificate(folder / "bad.pem", ["elsewhere.example"], days=-1)
        self.asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.asking.load_cert_chain(folder / "good.pem")
        self.asking.verify_mode = ssl.CERT_OPTIONAL
        self.asking.load_verify_locations(folder / "good.pem")
        self.good.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        case = (name or "").partition(".")[0]
        if case in ("pag-121", "pag-122", "pag-123"):
            connection.context = self.bad
        elif case == "pag-120":
            connection.context = self.asking


def _certificate(path: Path, names: list[str], days: int = 7) -> tuple[ssl.SSLContext, str]:
    """Make a self-signed certificate; give its context and the hash of its key."""

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, base64.b64encode(hashlib.sha256(public).digest()).decode()


class Answer:
    """Status, headers, and a body in pieces."""

    def __init__(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.status = status
        self.headers = {"Content-Type": HTML, "Connection": "close"}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body


class Zeros(Answer):
    """So many zero bytes, as fast as they are taken."""

    def __init__(self, size: int, **headers: str) -> None:
        super().__init__(**headers)
        self._size = size

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self._size // 65536):
            yield bytes(65536)


class Trickle(Answer):
    """A byte at a time."""

    async def pieces(self) -> AsyncIterator[bytes]:
        for byte in b"<p>slow" * 100:
            yield bytes([byte])
            await asyncio.sleep(2)


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
    return _part(identity, path)


def _page(identity: str, case: Case) -> Answer:
    if identity in _SPECIAL:
        return _SPECIAL[identity]()
    if identity in _OTHER_ANSWERS:
        status, headers, body = _OTHER_ANSWERS[identity]
        return Answer(body.encode(), status, **{k.replace("-", "_"): v for k, v in headers.items()})
    text = case.text.partition(" with ")[0] if case.kind == "meta" else case.text
    if text.startswith("HTTP 200 "):
        kind, _, body = text.removeprefix("HTTP 200 ").partition(": ")
        return Answer(body.encode(), Content_Type=kind)
    return Answer(f"<!DOCTYPE html><title>title</title>{text}<p>page</p>".encode())


def _part(identity: str, path: str) -> Answer:
    if path.endswith(".png") and path != "/bomb.png" and not path.startswith("/302"):
        return Answer(PIXEL, Content_Type="image/png")
    parts = {
        "/302-to-metadata": Answer(status=302, Location="http://169.254.169.254/"),
        "/302-to-loopback.png": Answer(status=302, Location="http://127.0.0.1/"),
        "/sw.js": Answer(b"fetch('http://127.0.0.1/')", Content_Type="text/javascript"),
        "/m.json": Answer(b'{"icons":[{"src":"http://10.0.0.1/i.png"}]}', Content_Type="application/json"),
        "/self": Answer(b'<iframe src="/self"></iframe>'),
        "/big.ico": Zeros(200_000_000, Content_Type="image/x-icon"),
        "/bomb.png": Answer(_png_bomb() if path == "/bomb.png" else b"", Content_Type="image/png"),
    }
    if identity == "met-018" and path == "/favicon.ico":
        return Answer(status=302, Location="http://169.254.169.254/")
    if path == "/i.svg" and identity in _PAGES:
        inner = _PAGES[identity].text.partition(" with ")[2].removesuffix(" in it")
        svg = f'{inner}<svg xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
        return Answer(svg.encode(), Content_Type="image/svg+xml")
    return parts.get(path, Answer(b"<p>elsewhere", 200))


def _gzip_bomb() -> Answer:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        for _ in range(1024):
            file.write(b"<p>" + b" " * (1024 * 1024 - 3))
    return Answer(packed.getvalue(), Content_Encoding="gzip")


def _png_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 30000
    head = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    return PIXEL[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _entities() -> Answer:
    names = "abcdefghijklm"
    lines = [f'<!ENTITY {after} "{f"&{before};" * 8}">' for before, after in itertools.pairwise(names)]
    text = f'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">{"".join(lines)}]><a>&m;</a>'
    return Answer(text.encode(), Content_Type="text/xml")


def _pdf() -> Answer:
    action = b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/URI/URI(http://127.0.0.1/)>>>>"
    objects = (
        action,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    )
    body = b"".join(b"%d 0 obj%sendobj\n" % (n, text) for n, text in enumerate(objects, 1))
    pdf = b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size 4>>\n%%EOF"
    return Answer(pdf, Content_Type="application/pdf")


_SPECIAL = {
    "pag-067": _entities,
    "pag-068": _pdf,
    "pag-097": _gzip_bomb,
    "pag-100": lambda: Trickle(b""),
    "pag-103": lambda: Answer(b"<p>page", **{f"X-{n}": "x" * 10_000 for n in range(1000)}),
}


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
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    async for piece in reply.pieces():
        writer.write(piece)
        await writer.drain()
