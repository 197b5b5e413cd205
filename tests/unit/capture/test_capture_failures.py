import pytest

from linkpeek.capture.failures import REASONS, failure, navigation_failure
from linkpeek.errors import CaptureError, CaptureRefused, CaptureTimeout


class FakeSession:
    """An egress session that remembers what it was asked for."""

    proxy_url = "socks5://127.0.0.1:1"
    bytes_in = bytes_out = 0

    def __init__(self, code: str | None = None) -> None:
        self.code = code
        self.asked: list[tuple[str, int]] = []

    def failure(self, host: str, port: int) -> str | None:
        self.asked.append((host, port))
        return self.code

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("code", REASONS)
def test_every_code_has_a_sentence(code: str) -> None:
    error = failure(code)

    assert error.code == code
    assert error.message.endswith(".")


@pytest.mark.parametrize(
    ("code", "kind", "lasting"),
    [
        ("page-timeout", CaptureTimeout, False),
        ("address-refused", CaptureRefused, True),
        ("port-refused", CaptureRefused, True),
        ("scheme-refused", CaptureRefused, True),
        ("connection-refused", CaptureError, False),
        ("browser-crashed", CaptureError, False),
        ("download", CaptureError, True),
    ],
)
def test_kind_of_error(code: str, kind: type[CaptureError], lasting: bool) -> None:
    error = failure(code)

    assert type(error) is kind
    assert error.lasting is lasting


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("net::ERR_NAME_NOT_RESOLVED", "dns-failed"),
        ("net::ERR_CERT_AUTHORITY_INVALID", "tls-error"),
        ("net::ERR_SSL_PROTOCOL_ERROR", "tls-error"),
        ("net::ERR_TOO_MANY_REDIRECTS", "too-many-redirects"),
        ("net::ERR_UNSAFE_PORT", "port-refused"),
        ("net::ERR_UNSAFE_REDIRECT", "address-refused"),
        ("net::ERR_TIMED_OUT", "page-timeout"),
        ("net::ERR_INVALID_HTTP_RESPONSE", "navigation-failed"),
        ("net::ERR_NETWORK_CHANGED", "navigation-failed"),
        ("net::ERR_WHATEVER_COMES", "navigation-failed"),
    ],
)
def test_browsers_word(error: str, code: str) -> None:
    assert navigation_failure(error, "http://a.example/", FakeSession()).code == code


@pytest.mark.parametrize(
    ("guard", "code"),
    [
        ("dns-failed", "dns-failed"),
        ("address-refused", "address-refused"),
        ("name-refused", "name-refused"),
        ("port-refused", "port-refused"),
        ("connection-refused", "connection-refused"),
        ("connect-timeout", "connection-refused"),
        ("too-many-bytes", "too-large"),
        ("too-many-connections", "too-large"),
        (None, "connection-refused"),
    ],
)
def test_guards_word_goes_before_the_browsers(guard: str | None, code: str) -> None:
    error = navigation_failure("net::ERR_SOCKS_CONNECTION_FAILED", "http://a/", FakeSession(guard))

    assert error.code == code


def test_guards_word_does_not_hide_tls() -> None:
    session = FakeSession("connection-refused")

    assert navigation_failure("net::ERR_CERT_DATE_INVALID", "https://a/", session).code == "tls-error"


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("http://a.example/x", ("a.example", 80)),
        ("https://a.example/x", ("a.example", 443)),
        ("http://[::1]:8080/", ("::1", 8080)),
    ],
)
def test_guard_is_asked_about_the_host_that_failed(uri: str, asked: tuple[str, int]) -> None:
    session = FakeSession("dns-failed")
    navigation_failure("net::ERR_SOCKS_CONNECTION_FAILED", uri, session)

    assert session.asked == [asked]
