"""Reading addresses: what a browser would read, once, at the edge."""

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.address import MAX_LENGTH, Address, parse_address, read_address, with_scheme
from linkpeek.errors import AddressRefused, LinkPeekError, ParameterError

PORTS = frozenset({80, 443, 8080, 8443})
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

#: Text that comes near addresses: their delimiters, and what parsers stumble over.
_PIECES = st.sampled_from(
    [
        *("http", "https", "://", ":", "/", "//", "\\", "@", "#", "?", "[", "]", "%", "%2e", ".", "\0", "\t"),
        *(" ", "127.0.0.1", "0x7f", "::1", "::ffff:", "localhost", "example.com", "xn--", "\ud800"),
        *("\u3002", "\uff0e"),
    ]
)
near_addresses = st.lists(st.one_of(_PIECES, st.text(max_size=3)), max_size=12).map("".join)


def parse(text: str) -> Address:
    return parse_address(text, ports=PORTS, allow=())


def code(text: str, *, ports: frozenset[int] | None = PORTS, allow: tuple = ()) -> str:
    with pytest.raises((ParameterError, AddressRefused)) as caught:
        parse_address(text, ports=ports, allow=allow)
    return caught.value.code


def test_an_address_is_what_the_browser_makes_of_it() -> None:
    assert parse(" HTTPS:\\\\B\u00fcCHER.example:443\\a b#\u00fc ") == Address(
        "https://xn--bcher-kva.example/a%20b#%C3%BC", "https", "xn--bcher-kva.example", 443
    )


def test_a_bar_is_written_as_chromium_writes_it() -> None:
    assert parse("https://example.com/a|b?c|d#e|f").uri == "https://example.com/a%7Cb?c|d#e|f"


def test_ipv6_hosts_have_no_brackets() -> None:
    assert parse("http://[2606:4700::0:1111]/") == Address(
        "http://[2606:4700::1111]/", "http", "2606:4700::1111", 80
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "bad-uri"),
        ("example.com", "bad-uri"),
        ("http://exa mple.com/", "bad-uri"),
        ("http://a..example.com/", "bad-uri"),
        ("http://example.com../", "bad-uri"),
        ("http://xn--a.example.com/", "bad-uri"),
        ("http://a*b.example.com/", "bad-uri"),
        ("http://example.com/\0", "ok"),
        ("http://example.com/\0a", "bad-uri"),
        ("http://\ud800/", "bad-uri"),
        ("ftp://example.com/", "scheme-refused"),
        ("javascript:alert(1)", "scheme-refused"),
        ("http://a:b@example.com/", "credentials-refused"),
        ("http://:b@example.com/", "credentials-refused"),
        ("http://example.com:22/", "port-refused"),
        ("http://example.com:0/", "port-refused"),
        ("http://localhost/", "name-refused"),
        ("http://intranet/", "name-refused"),
        ("http://a.metadata.goog./", "name-refused"),
        ("http://127.1/", "address-refused"),
        ("http://[::ffff:127.0.0.1]/", "address-refused"),
        ("http://example.com/" + "a" * MAX_LENGTH, "uri-too-long"),
        ("http://example.com/" + "\u6f22" * 700, "uri-too-long"),
    ],
)
def test_codes(text: str, expected: str) -> None:
    if expected == "ok":
        assert parse(text).uri == "http://example.com/"
    else:
        assert code(text) == expected


def test_the_text_as_it_came_counts() -> None:
    """Spaces that would be stripped count too: nobody may send a megabyte of them."""
    assert code(" " * MAX_LENGTH + "http://example.com/") == "uri-too-long"


def test_any_port_but_none() -> None:
    assert parse_address("http://example.com:6543/", ports=None, allow=()).port == 6543
    assert code("http://example.com:0/", ports=None) == "port-refused"


def test_special_names_wait_for_the_guard_where_networks_are_opened() -> None:
    assert parse_address("http://localhost:8080/", ports=PORTS, allow=LOOPBACK).host == "localhost"
    assert parse_address("http://0x7f.1/", ports=PORTS, allow=LOOPBACK).host == "127.0.0.1"
    assert code("http://10.0.0.1/", allow=LOOPBACK) == "address-refused"


def test_reading_judges_neither_host_nor_port() -> None:
    assert read_address("http://127.1:22/").uri == "http://127.0.0.1:22/"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("example.com", "http://example.com/"),
        ("example.com:8080/x", "http://example.com:8080/x"),
        ("example.com:8080", "http://example.com:8080/"),
        ("example.com:443?q", "http://example.com:443/?q"),
        ("//example.com/a", "http://example.com/a"),
        ("EXAMPLE.com?u=http://x", "http://example.com/?u=http://x"),
        ("example.com/a:b", "http://example.com/a:b"),
        (" \texample.com\n", "http://example.com/"),
        ("b\u00fccher.example:8080", "http://xn--bcher-kva.example:8080/"),
        ("8.8.8.8:80", "http://8.8.8.8/"),
        ("[2606:4700::1111]:8080", "http://[2606:4700::1111]:8080/"),
        ("https:example.com", "https://example.com/"),
        ("HTTP://example.com", "http://example.com/"),
        ("htt\tps://example.com", "https://example.com/"),
    ],
)
def test_an_address_without_a_scheme_means_http(text: str, uri: str) -> None:
    assert parse(with_scheme(text)).uri == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("javascript:alert(1)", "scheme-refused"),
        ("java\tscript:alert(1)", "scheme-refused"),
        ("\x01javascript:80//%0aalert(1)", "port-refused name-refused"),
        ("data:text/html,x", "scheme-refused"),
        ("file:///etc/passwd", "scheme-refused"),
        ("fi\nle:///etc/passwd", "scheme-refused"),
        ("mailto:x@y", "scheme-refused"),
        ("user:pass@host", "scheme-refused"),
        ("user:8080@example.com", "scheme-refused"),
        ("user@example.com", "credentials-refused"),
        ("example.com:80:80/", "scheme-refused"),
        ("about:blank", "scheme-refused"),
        ("blob:http://example.com/1", "scheme-refused"),
        ("localhost:6543", "port-refused"),
        ("localhost:8080", "name-refused"),
        ("/etc/passwd", "name-refused"),
        ("\\\\localhost\\c$", "name-refused"),
        ("127.1:8080", "address-refused"),
        ("", "bad-uri"),
        ("http:", "bad-uri"),
    ],
)
def test_no_scheme_is_invented_for_hostile_text(text: str, expected: str) -> None:
    assert code(with_scheme(text)) in expected.split()


def test_host_and_port_on_this_machine_while_developing() -> None:
    address = parse_address(with_scheme("localhost:6543"), ports=None, allow=LOOPBACK)
    assert (address.host, address.port) == ("localhost", 6543)


@given(st.one_of(near_addresses, st.text(), st.text(string.printable)))
def test_reading_is_idempotent_and_raises_nothing_else(text: str) -> None:
    for candidate in (text, with_scheme(text), f"http://{text}/"):
        try:
            address = parse_address(candidate, ports=None, allow=())
        except LinkPeekError:
            continue
        assert parse_address(address.uri, ports=None, allow=()) == address
        assert with_scheme(address.uri) == address.uri
        assert address.uri.isascii()
        assert address.uri.startswith(f"{address.scheme}://")
