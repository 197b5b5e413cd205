"""The one parser of addresses: what comes out of here is what is stored and what the browser is given.

Text is read the WHATWG way, as a browser reads it, and only the re-serialised
result is used from then on, so that no two parts of the service can read one
address differently.
"""

import re
from dataclasses import dataclass

from ada_url import URL

from linkpeek.egress.guard import admit
from linkpeek.egress.hosts import checked_host
from linkpeek.egress.policy import Network
from linkpeek.errors import AddressRefused, ParameterError

#: Characters, of the text as it came and of the serialised address alike.
MAX_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}

#: What WHATWG strips from both ends ("C0 control or space"), and drops anywhere.
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_TAB_AND_NEWLINE = str.maketrans("", "", "\t\n\r")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_BEFORE_QUERY = re.compile(r"[^?#]*")
_PORT = re.compile(r"[0-9]{1,5}(?![^/\\?#])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """An address that may be captured.

    :ivar uri: the WHATWG serialisation, pure ASCII, with its fragment.
    :ivar scheme: ``http`` or ``https``.
    :ivar host: a canonical name, or an IP address without brackets.
    :ivar port: written out or the scheme's own.
    """

    uri: str
    scheme: str
    host: str
    port: int


def parse_address(text: str, *, ports: frozenset[int] | None, allow: tuple[Network, ...]) -> Address:
    """Read an address that somebody wants captured, and judge what can be judged without DNS.

    :param ports: the ports that may be opened; None for any.
    :param allow: networks that are opened besides the global ones.
    :raises ParameterError: see :func:`read_address`.
    :raises AddressRefused: also ``port-refused``, ``name-refused`` and ``address-refused``.
    """
    address = read_address(text)
    admit(address.host, address.port, ports=ports, allow=allow)
    return address


def read_address(text: str) -> Address:
    """Read an address, whatever host and port it names.

    :raises ParameterError: ``bad-uri`` or ``uri-too-long``.
    :raises AddressRefused: ``scheme-refused`` or ``credentials-refused``.
    """
    url = _parse(text)
    scheme = url.protocol.removesuffix(":")
    if scheme not in _DEFAULT_PORTS:
        raise AddressRefused("Only http and https addresses are opened.", code="scheme-refused")
    href = _as_requested(url.href)
    # Each of ada-url's properties costs as much as reading the address did: an @ first.
    if "@" in href and (url.username or url.password):
        raise AddressRefused("Addresses with credentials are not opened.", code="credentials-refused")
    if len(href) > MAX_LENGTH:
        raise _too_long()
    try:
        host = checked_host(url.hostname)
    except ValueError:
        raise _bad() from None
    port = url.port
    return Address(href, scheme, host, int(port) if port else _DEFAULT_PORTS[scheme])


def _parse(text: str) -> URL:
    if len(text) > MAX_LENGTH:
        raise _too_long()
    # WHATWG would encode a NUL in a path, but C strings, logs and keys of caches end there.
    if "\0" in text.strip(_C0_AND_SPACE):
        raise _bad()
    try:
        return URL(text)
    except ValueError:  # also a lone surrogate's UnicodeEncodeError
        raise _bad() from None


def _as_requested(href: str) -> str:
    """Encode a bar in the path, as Chromium does: what is stored is what is asked for. WHATWG leaves it."""
    if "|" not in href:
        return href
    return _BEFORE_QUERY.sub(lambda path: path[0].replace("|", "%7C"), href, count=1)


def _bad() -> ParameterError:
    return ParameterError("This is not an address of the form http://host/path.", code="bad-uri")


def _too_long() -> ParameterError:
    return ParameterError(f"An address may have at most {MAX_LENGTH} characters.", code="uri-too-long")


def with_scheme(text: str) -> str:
    """Put ``http://`` before an address that has no scheme, as API v1 promises.

    ``host:80`` has none: what follows the colon is a port and nothing else. All
    other text with a colon after scheme characters keeps its scheme, so that
    ``javascript:`` and ``mailto:`` reach the parser as what they are.
    """
    stripped = text.strip(_C0_AND_SPACE)
    match = _SCHEME.match(stripped.translate(_TAB_AND_NEWLINE))
    if match is None:
        return f"http://{stripped}"
    is_web = match[1].lower() in _DEFAULT_PORTS
    return f"http://{stripped}" if not is_web and _PORT.match(match[2]) else text
