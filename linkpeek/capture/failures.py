"""Why a page did not open: Chromium's and the egress guard's words, turned into ours.

Chromium's names: https://source.chromium.org/chromium/chromium/src/+/main:net/base/net_error_list.h
"""

from urllib.parse import urlsplit

from linkpeek.capture.model import EgressSession
from linkpeek.errors import CaptureError, CaptureRefused, CaptureTimeout

#: code -> (sentence, whether trying again soon is pointless).
REASONS: dict[str, tuple[str, bool]] = {
    "dns-failed": ("The name of the page's host could not be found.", True),
    "connection-refused": ("The page's host did not accept the connection.", False),
    "tls-error": ("The page's host could not prove who it is (TLS).", True),
    "download": ("The address leads to a download, not to a page.", True),
    "too-many-redirects": ("The page redirects too many times.", True),
    "too-large": ("The page is too large.", True),
    "page-crashed": ("The page crashed the browser's tab.", False),
    "browser-crashed": ("The browser crashed.", False),
    "navigation-failed": ("The page could not be opened.", False),
    "no-content": ("The page's host answered that there is nothing to show.", True),
    "page-timeout": ("The page did not show anything in time.", False),
    "address-refused": ("This service does not open such addresses.", True),
}

_NET_ERRORS = {
    "ERR_NAME_NOT_RESOLVED": "dns-failed",
    "ERR_NAME_RESOLUTION_FAILED": "dns-failed",
    "ERR_CONNECTION_REFUSED": "connection-refused",
    "ERR_ADDRESS_UNREACHABLE": "connection-refused",
    "ERR_SOCKS_CONNECTION_FAILED": "connection-refused",
    "ERR_SOCKS_CONNECTION_HOST_UNREACHABLE": "connection-refused",
    "ERR_TOO_MANY_REDIRECTS": "too-many-redirects",
    "ERR_UNSAFE_REDIRECT": "address-refused",
    "ERR_UNSAFE_PORT": "port-refused",
    "ERR_UNKNOWN_URL_SCHEME": "address-refused",
    "ERR_DISALLOWED_URL_SCHEME": "address-refused",
    "ERR_INVALID_URL": "address-refused",
    "ERR_BLOCKED_BY_CLIENT": "address-refused",
    "ERR_BLOCKED_BY_ADMINISTRATOR": "address-refused",
    "ERR_ACCESS_DENIED": "address-refused",
    "ERR_TIMED_OUT": "page-timeout",
    "ERR_CONNECTION_TIMED_OUT": "page-timeout",
    "ERR_BAD_SSL_CLIENT_AUTH_CERT": "tls-error",
}
_TLS_PREFIXES = ("ERR_CERT_", "ERR_SSL_")

#: What the egress guard says -> our code, where the two differ.
_GUARD_CODES = {
    "connect-timeout": "connection-refused",
    "too-many-bytes": "too-large",
    "too-many-connections": "too-large",
}

#: What Chromium says when a connection through the guard failed or was cut; the guard knows why.
_GUARDED = tuple(
    f"ERR_{what}"
    for what in (
        "SOCKS", "PROXY", "TUNNEL", "CONNECTION", "EMPTY_RESPONSE", "CONTENT_LENGTH", "INCOMPLETE", "HTTP2",
        "FAILED", "ABORTED",
    )
)  # fmt: skip

#: What Chromium says of a connection that is being made when an interface or an address comes or goes.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


class NetworkChanged(CaptureError):
    """The page was not opened, for a reason of this machine that has passed: opening it anew helps."""

    code = "navigation-failed"


class BrowserLost(CaptureError):
    """The browser ended, or had to, while it had the page open among others: any of them may be to blame.

    :ivar meaning: the error for a page that was alone in it.
    """

    code = "browser-crashed"

    def __init__(self, meaning: CaptureError) -> None:
        super().__init__(REASONS[self.code][0])
        self.meaning = meaning


def failure(code: str, message: str | None = None) -> CaptureError:
    """Give the error for one of our codes, with the usual sentence or another."""
    sentence, lasting = REASONS.get(code, REASONS["navigation-failed"])
    sentence = message or sentence
    if code.endswith("-refused") and code != "connection-refused":
        return CaptureRefused(message or REASONS["address-refused"][0], code=code)
    if code == "page-timeout":
        return CaptureTimeout(sentence)
    return CaptureError(sentence, code=code, lasting=lasting)


def navigation_failure(error: str, uri: str, egress: EgressSession) -> CaptureError:
    """Give the error for a navigation that Chromium gave up.

    :param error: ``net::ERR_...``.
    :param uri: the address that failed, after redirects: its host is what the guard is asked about.
    """
    if error == NETWORK_CHANGED:
        return NetworkChanged(REASONS[NetworkChanged.code][0])
    name, code = error.removeprefix("net::"), None
    if name.startswith(_GUARDED):
        code = egress.failure(*_host_and_port(uri))
        code = _GUARD_CODES.get(code, code) if code else None
    if code is None:
        code = "tls-error" if name.startswith(_TLS_PREFIXES) else _NET_ERRORS.get(name, "navigation-failed")
    return failure(code)


def _host_and_port(uri: str) -> tuple[str, int]:
    parts = urlsplit(uri)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
