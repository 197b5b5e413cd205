"""Hosts: one canonical spelling, and the names that stay inside."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.egress.hosts import canonical_host, ip_literal, is_special, loopback_of


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com."),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("i\u2764.ws", "xn--i-7iq.ws"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("0:0::FFFF:127.0.0.1", "::ffff:7f00:1"),
        ("under_score.example.com", "under_score.example.com"),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
    ],
)
def test_one_spelling(text: str, host: str) -> None:
    assert canonical_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a..b", ".a", "a..", "a b", "a/b", "a\\b", "a@b", "a:80", "a#b", "a?b", "::1]", "[::1"),
        *("a\tb", "\0", "xn--", "xn--a.com", "xn--0ca24w.com", "a" * 64 + ".com", "a." * 127 + "a"),
        *("1.2.3.4.5", "\ud800", "fe80::1%lo", "a*b.com", "*.example.com", "a%2ab.com"),
    ],
)
def test_no_hosts(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_host(text)


@given(st.text(max_size=40))
def test_reading_twice_changes_nothing(text: str) -> None:
    try:
        host = canonical_host(text)
    except ValueError:
        return
    assert canonical_host(host) == host
    assert host.isascii()


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost.", "a.localhost", "printer.local", "local", "x.internal", "home.arpa"),
        *("r.home.arpa", "intranet", "com", "com.", "metadata.google.internal", "metadata.goog"),
        *("metadata.goog.", "instance-data", "metadata.tencentyun.com", "hidden.onion"),
    ],
)
def test_special(host: str) -> None:
    assert is_special(host)


@pytest.mark.parametrize(
    "host",
    [
        *("example.com", "localhost.example.com", "mylocalhost.com", "home.arpa.example.com"),
        *("arpa.example", "notlocal.de", "xmetadata.goog", "tencentyun.com", "localhost.localdomain"),
    ],
)
def test_not_special(host: str) -> None:
    assert not is_special(host)


def test_literals() -> None:
    assert ip_literal("::ffff:7f00:1") == ipaddress.ip_address("::ffff:127.0.0.1")
    assert ip_literal("example.com") is None


def test_localhost_is_this_machine() -> None:
    assert list(map(str, loopback_of("a.localhost."))) == ["127.0.0.1", "::1"]
    assert loopback_of("localhost.example.com") == ()
