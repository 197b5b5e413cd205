"""Which IP addresses a page may be fetched from: globally routable unicast, nothing else.

The tables follow IANA's special-purpose address registries (RFC 6890 and its
updates), read strictly: anycast relays are refused although the registry calls
them global, since the nearest one may stand in the operator's own network, and
so are metadata services in public ranges. IPv6 is refused unless it lies in
2000::/3, the only space that IANA assigns for global unicast.
"""

import ipaddress
from collections.abc import Iterable, Sequence

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_V4 = tuple(
    (ipaddress.IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignment"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "anycast service"),
        ("192.52.193.0/24", "anycast relay"),
        ("192.88.99.0/24", "anycast relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "anycast service"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_V6 = tuple(
    (ipaddress.IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discarded"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignment"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "anycast service"),
        ("3ffe::/16", "returned to IANA"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

#: Prefixes of translators to IPv4: everybody's (RFC 6052) and those of one network's own (RFC 8215).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")

#: The interface identifiers that mark an ISATAP address (RFC 5214, section 6.1).
_ISATAP = (0x00005EFE, 0x02005EFE)


def unmapped(ip: IPAddress) -> IPAddress:
    """Give the IPv4 address that an IPv4-mapped IPv6 address stands for, else ``ip`` itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped or ip
    return ip


def allowed(ip: IPAddress, allow: Iterable[Network]) -> bool:
    """Tell whether ``ip`` (a mapped one: what it stands for) lies in one of the networks ``allow``."""
    ip = unmapped(ip)
    return any(ip in network for network in allow)


def judge(ip: IPAddress, allow: Sequence[Network] = ()) -> str | None:
    """Judge an address: None where a page may be fetched from it, else a short reason why not.

    :param allow: networks that the operator opened (``linkpeek.egress_allow``);
        they win over all else. Opening a NAT64 prefix opens it for those IPv4
        addresses only that would pass themselves, or it would open everything
        that the translator can reach.
    """
    ip = unmapped(ip)
    if isinstance(ip, ipaddress.IPv4Address):
        return None if allowed(ip, allow) else _reason(ip, _V4)
    opened = [network for network in allow if ip in network]
    if opened:
        reasons = (judge(carried, allow) for carried in _translated(ip, opened))
        return next(filter(None, reasons), None)
    return _judge_v6(ip)


def _judge_v6(ip: ipaddress.IPv6Address) -> str | None:
    reason = _reason(ip, _V6)
    if reason is None and ip not in _GLOBAL_UNICAST:
        reason = "not global unicast"
    if reason is None and (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP:
        carried = _reason(_last_32_bits(ip), _V4)
        reason = carried and f"ISATAP, {carried}"
    return reason


def _translated(ip: ipaddress.IPv6Address, opened: Iterable[Network]) -> list[ipaddress.IPv4Address]:
    """Give the IPv4 addresses that a translator with one of the prefixes ``opened`` may make of ``ip``."""
    if ip in _NAT64:
        return [_last_32_bits(ip)]
    return [_embedded(ip, network.prefixlen) for network in opened] if ip in _LOCAL_NAT64 else []


def _embedded(ip: ipaddress.IPv6Address, prefix: int) -> ipaddress.IPv4Address:
    """Give the IPv4 address behind a prefix of so many bits, without bits 64 to 71 (RFC 6052, 2.2)."""
    bits = f"{int(ip):0128b}"
    following = bits[max(prefix, 48) : 64] + bits[72:] if prefix <= 64 else bits[96:]
    return ipaddress.IPv4Address(int(following[:32], 2))


def _reason(ip: IPAddress, table: Iterable[tuple[Network, str]]) -> str | None:
    return next((reason for network, reason in table if ip in network), None)


def _last_32_bits(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
