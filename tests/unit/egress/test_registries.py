"""IANA's special-purpose registries and what lies beside them, entry by entry, against the policy.

The tables here are written down apart from the policy's own, from RFC 6890 and its updates.
"""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.egress.policy import judge, unmapped

IPV4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/31"),
    *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32"),
    *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "233.252.0.0/24", "240.0.0.0/4", "255.255.255.255/32"),
)
IPV6 = (
    *("::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
    *("100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128"),
    *("2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:5::/32", "2001:10::/28", "2001:20::/28"),
    *("2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20"),
    *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    # never given out: below, between and above what is global unicast
    *("::/3", "4000::/2", "8000::/1"),
)
NETWORKS = tuple(map(ipaddress.ip_network, (*IPV4, *IPV6)))

#: Metadata services, wherever clouds put them.
METADATA = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "169.254.0.23"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42"),
    *("fe80::a9fe:a9fe", "::ffff:168.63.129.16", "2001:470:1f0b:1:0:5efe:a83f:8110"),
)

#: What Python calls global and no multicast, and is not: the reason for tables of our own.
NOT_GLOBAL = (
    *("192.0.0.9/32", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24"),
    *("168.63.129.16/32", "64:ff9b::/96", "2620:4f:8000::/48", "3ffe::/16", "4000::/2"),
)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_no_address_of_an_entry_passes(network: ipaddress.IPv4Network) -> None:
    middle = network[network.num_addresses // 2]
    passed = [ip for ip in (network[0], middle, network[-1]) if judge(ip) is None]
    # ::ffff:a.b.c.d lies in ::/3, and is judged as a.b.c.d
    assert [ip for ip in passed if unmapped(ip) is ip] == []


@pytest.mark.parametrize("text", METADATA)
def test_no_metadata_service_passes(text: str) -> None:
    assert judge(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_GLOBAL)
def test_what_python_calls_global_is_refused(text: str) -> None:
    first = ipaddress.ip_network(text)[0]
    assert first.is_global
    assert not first.is_multicast
    assert judge(first)


@given(st.one_of(st.ip_addresses(), *(st.ip_addresses(network=network) for network in NETWORKS)))
def test_what_passes_is_in_no_registry(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if judge(address) is None:
        real = unmapped(address)
        assert [network for network in NETWORKS if real in network] == []
        assert real.version == 4 or real in ipaddress.ip_network("2000::/3")


@given(st.ip_addresses(v=4), st.sampled_from([48, 56, 64, 96]))
def test_opening_a_translator_of_ones_own_opens_no_inner_address(
    v4: ipaddress.IPv4Address, length: int
) -> None:
    prefix = ipaddress.ip_network(f"64:ff9b:1::/{length}")
    address = embedded(prefix, v4)
    assert judge(address), "not unless it was opened"
    assert judge(address, (prefix,)) == judge(v4)


def embedded(prefix: ipaddress.IPv6Network, v4: ipaddress.IPv4Address) -> ipaddress.IPv6Address:
    """Put an IPv4 address behind a prefix; bits 64 to 71 stay zero (RFC 6052, section 2.2)."""
    head, bits = f"{int(prefix[0]):0128b}"[: prefix.prefixlen], f"{int(v4):032b}"
    room = max(64 - prefix.prefixlen, 0)
    body = head + bits if prefix.prefixlen == 96 else head + bits[:room] + "0" * 8 + bits[room:]
    return ipaddress.IPv6Address(int(body.ljust(128, "0"), 2))
