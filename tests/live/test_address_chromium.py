"""The parser and Chromium's own read the same in every address that is accepted."""

import itertools
import json
import random
from collections.abc import Iterator

import pytest

from linkpeek.address import read_address
from linkpeek.capture import find_executable
from linkpeek.capture.process import Chromium
from linkpeek.capture.stage import Stage
from linkpeek.errors import LinkPeekError
from tests.live.capturing import IS_ROOT, Loop, egress

SCHEMES = (
    "http://",
    "https://",
    "HTTP:",
    "http:/",
    "http:///",
    "https:\\\\",
    "http:/\\",
    "ht\ttp://",
    " http://",
)
OWNERS = ("", "", "@", ":@", "a:b@", "a@b@", "\\@", "#@")
HOSTS = (
    *(
        "example.com",
        "EXAMPLE.com.",
        "ex%61mple.com",
        "b\u00fccher.example",
        "xn--bcher-kva.example",
        "fa\u00df.de",
    ),
    *(
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "4294967296",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.16777216",
        "0x",
    ),
    *(
        "127\u30020\uff0e0\uff611",
        "\u2460\u2461\u2466.0.0.1",
        "\uff10x7f.1",
        "127%2e0%2e0%2e1",
        "a.0x1",
        "1..2",
    ),
    *(
        "localhost",
        "LOCALHOST.",
        "loc\u00adalhost",
        "\u2113ocalhost",
        "%6cocalhost",
        "a..b",
        ".a",
        "a.localhost..",
    ),
    *(
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[1:0:0:2::3]",
        "[::1%25lo]",
        "[::01.2.3.4]",
        "[1::2::3]",
        "%5b::1%5d",
        "[::1",
    ),
    *(
        "a_b.com",
        "-a.com",
        "a*b.com",
        'a"b.com',
        "a|b.com",
        "a^b.com",
        "a{b}.com",
        "a b.com",
        "a\tb.com",
        "a\0b.com",
    ),
    *(
        "xn--",
        "xn--a.com",
        "xn--ls8h.la",
        "\U0001f4a9.la",
        "\ud800.com",
        "\uff0541.com",
        "\u2100.com",
        "\u2488.com",
    ),
    *("a" * 63 + ".com", "a" * 64 + ".com", "a." * 126 + "a", "a." * 127 + "a", ""),
)
PORTS = (
    "",
    "",
    ":",
    ":80",
    ":443",
    ":0",
    ":65535",
    ":65536",
    ":00000080",
    ":+80",
    ":8\t0",
    ":80:80",
    ":\uff18",
)
PATHS = (
    "",
    "/",
    "/..",
    "/%2e%2e/x",
    "\\x",
    "?q",
    "#f",
    "/\ud800",
    "/%zz",
    "/a'b\"<>`{}|^?a'b\"<>`{}|^#a'b\"<>`{}|^",
)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    numbers = random.Random(1)
    everything = list(itertools.product(SCHEMES, OWNERS, HOSTS, PORTS, PATHS))
    usual = [f"http://{host}{path}" for host in HOSTS for path in PATHS]
    characters = [chr(code) for code in (*range(0x180), 0x200B, 0x200D, 0x2028, 0x3000, 0xFEFF, 0xFFFD)]
    inside = [f"http://a{char}b.example/c{char}d?e{char}f#g{char}h" for char in characters]
    ends = [f"{char}http://example.com/{char}" for char in characters]
    return [*map("".join, numbers.sample(everything, 1500)), *usual, *inside, *ends]


@pytest.fixture(scope="module")
def chromium(texts: list[str]) -> Iterator["Reader"]:
    loop = Loop()
    reader = Reader(loop)
    yield reader
    reader.close()
    loop.close()


class Reader:
    """Chromium's ``new URL``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._chromium = loop.run(Chromium.start(find_executable(), sandbox=not IS_ROOT))
        self._stage = loop.run(Stage.build(self._chromium.connection, egress(), self._chromium.version))

    def read(self, texts: list[str]) -> list[str | None]:
        """Give what Chromium makes of each; None where it makes nothing of it."""
        script = "texts => texts.map(text => { try { return new URL(text).href } catch { return null } })"
        expression = f"({script})({json.dumps(texts)})"
        call = self._stage.page.call("Runtime.evaluate", expression=expression, returnByValue=True)
        hrefs: list[str | None] = self._loop.run(call)["result"]["value"]
        return hrefs

    def close(self) -> None:
        self._loop.run(self._stage.strike())
        self._loop.run(self._chromium.close())


def accepted(text: str) -> str | None:
    try:
        return read_address(text).uri
    except LinkPeekError:
        return None


def test_chromium_reads_the_same(texts: list[str], chromium: Reader) -> None:
    pairs = [
        (uri, href) for text, href in zip(texts, chromium.read(texts), strict=True) if (uri := accepted(text))
    ]
    assert len(pairs) > 500
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


def test_what_is_stored_is_what_chromium_opens(texts: list[str], chromium: Reader) -> None:
    uris = [uri for text in texts if (uri := accepted(text))]
    assert [pair for pair in zip(uris, chromium.read(uris), strict=True) if pair[0] != pair[1]] == []
