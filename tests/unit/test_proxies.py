import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.proxies import TrustedProxies, subscriber

TRUSTED = [ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("10.0.0.0/8")]


def seen(environ: dict[str, Any]) -> dict[str, Any]:
    """Give what the application sees of a request."""
    caught: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: object) -> list[bytes]:
        caught.update(environ)
        return [b"answer"]

    environ = {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", **environ}
    assert list(TrustedProxies(app, TRUSTED)(environ, None)) == [b"answer"]
    return caught


def test_a_trusted_proxy_says_who_is_calling_and_how() -> None:
    environ = seen({"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_X_FORWARDED_PROTO": "https"})
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("198.51.100.7", "https")


@pytest.mark.parametrize("peer", ["198.51.100.1", "::1", "127.0.0.2", "", "unix:", "fe80::1%eth0"])
def test_nobody_else_is_believed(peer: str) -> None:
    environ = seen(
        {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": "10.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"}
    )
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (peer, "http")


def test_what_a_client_wrote_before_the_proxy_is_not_believed() -> None:
    assert (
        seen({"HTTP_X_FORWARDED_FOR": "10.9.9.9, 127.0.0.1, 198.51.100.7"})["REMOTE_ADDR"] == "198.51.100.7"
    )


@pytest.mark.parametrize("text", ["", "unknown", "198.51.100.7:1234", "198.51.100.7, x", "a" * 10_000])
def test_what_is_no_address_changes_nothing(text: str) -> None:
    assert seen({"HTTP_X_FORWARDED_FOR": text})["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("text", ["", "HTTPS", "javascript", "https, http"])
def test_what_is_no_scheme_changes_nothing(text: str) -> None:
    assert seen({"HTTP_X_FORWARDED_PROTO": text})["wsgi.url_scheme"] == "http"


HEADERS = ["HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED"]
ADDRESSES = st.ip_addresses().map(str)


@given(
    peer=st.one_of(ADDRESSES, st.text()),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.one_of(st.text(), ADDRESSES, st.just("https"))),
)
def test_the_application_never_sees_the_headers(peer: str, headers: dict[str, str]) -> None:
    environ = seen({"REMOTE_ADDR": peer, **headers})
    assert not set(HEADERS) & environ.keys()
    assert environ["wsgi.url_scheme"] in ("http", "https")
    trusted = peer == "127.0.0.1" or peer.startswith("10.")
    if not trusted:
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (peer, "http")
    elif environ["REMOTE_ADDR"] != peer:
        ipaddress.ip_address(environ["REMOTE_ADDR"])


class TestSubscriber:
    @given(st.ip_addresses(v=4).map(str))
    def test_of_ipv4_is_the_address(self, address: str) -> None:
        assert subscriber(address) == address

    @given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
    def test_of_ipv6_is_the_network(self, address: ipaddress.IPv6Address, host: int) -> None:
        neighbour = ipaddress.IPv6Address((int(address) >> 64 << 64) | host)
        if not address.ipv4_mapped and not neighbour.ipv4_mapped:
            assert subscriber(str(address)) == subscriber(str(neighbour))
        assert subscriber("2001:db8:0:1::1") != subscriber("2001:db8:0:2::1")

    def test_a_mapped_address_is_the_ipv4_one(self) -> None:
        assert subscriber("::ffff:198.51.100.7") == "198.51.100.7"

    @given(st.text())
    def test_of_any_text_is_some_text(self, text: str) -> None:
        assert isinstance(subscriber(text), str)
