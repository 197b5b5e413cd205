"""Hosts as a browser reads them: one canonical spelling, and the names that never leave this machine.

ada-url, the WHATWG parser that Node.js ships, does the reading. Three gaps are
closed here: it lets pure-ASCII hosts through whose ``xn--`` labels do not
decode, it knows nothing of what DNS can carry (RFC 1035, section 2.3.4), and it
takes an asterisk, as WHATWG does, which Chromium makes ``%2A`` of.
"""

import ipaddress
import re

from ada_url import URL, idna_to_ascii, idna_to_unicode

from linkpeek.egress.policy import IPAddress

#: Names that are answered by this machine itself (RFC 6761, section 6.3).
LOCALHOST = frozenset({"localhost"})

#: Names, and all names below them, that mean something only inside a network.
_SPECIAL = LOCALHOST | {
    "local",  # RFC 6762
    "internal",  # ICANN, 2024
    "home.arpa",  # RFC 8375
    "onion",  # RFC 7686: must not be asked of DNS
    "metadata.goog",
    "metadata.tencentyun.com",
    "instance-data",
}

_NOT_IN_A_HOST = re.compile(r"[/\\?#@\s\x00-\x20]")
_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


def canonical_host(text: str) -> str:
    """Read a host as it stands between the slashes of an address.

    :param text: a name or an address in any spelling that a browser takes;
        an IPv6 address with or without brackets.
    :returns: the name in lower case and ASCII, or the address in its shortest
        form, without brackets.
    :raises ValueError: it is not a host, or not one that DNS could carry.
    """
    if _NOT_IN_A_HOST.search(text):
        raise ValueError("not a host")
    if ":" in text and not text.startswith("["):
        text = f"[{text}]"
    url = URL(f"http://{text}/")
    if url.port:
        raise ValueError("not a host")
    return checked_host(url.hostname)


def checked_host(hostname: str) -> str:
    """Check what the WHATWG parser made of a host, and strip an IPv6 address of its brackets.

    :raises ValueError: it is empty, holds a label that DNS or IDNA cannot carry, or is too long.
    """
    if hostname.startswith("["):
        return hostname[1:-1]
    name = hostname.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or "*" in name or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError("not a name that DNS can carry")
    if any(label.startswith("xn--") for label in labels):
        _check_punycode(name)
    return hostname


def _check_punycode(name: str) -> None:
    decoded = idna_to_unicode(name)
    undecodable = any(label.startswith("xn--") for label in decoded.split("."))
    if undecodable or idna_to_ascii(decoded) != name.encode("ascii"):
        raise ValueError("not a valid internationalised name")


def ip_literal(host: str) -> IPAddress | None:
    """Give the address that a canonical host is, or None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_special(host: str) -> bool:
    """Tell whether a canonical name is never asked of DNS for a page from outside.

    That is a single label, or a name in or below a domain of private meaning.
    """
    labels = host.removesuffix(".").split(".")
    return len(labels) == 1 or any(".".join(labels[n:]) in _SPECIAL for n in range(len(labels)))


def loopback_of(host: str) -> tuple[IPAddress, ...]:
    """Give the loopback addresses for ``localhost`` and names below it, for others nothing."""
    return _LOOPBACK if host.removesuffix(".").split(".")[-1] in LOCALHOST else ()
