"""Judging addresses, at the edges of every range and in every disguise."""

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.egress.policy import _V4, _V6, allowed, judge, unmapped

v4_addresses = st.ip_addresses(v=4)
v6_addresses = st.ip_addresses(v=6)


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def nets(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


@pytest.mark.parametrize(("network", "reason"), [*_V4, *_V6], ids=str)
def test_both_ends_of_every_range_are_refused(network: ipaddress.IPv4Network, reason: str) -> None:
    assert judge(network[0])
    assert judge(network[-1])


@pytest.mark.parametrize("network", [network for network, _ in _V4], ids=str)
def test_next_to_a_range_only_another_one_is_refused(network: ipaddress.IPv4Network) -> None:
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= number < 2**32:
            neighbour = ipaddress.IPv4Address(number)
            assert (judge(neighbour) is None) == (not any(neighbour in other for other, _ in _V4))


@pytest.mark.parametrize(
    "text",
    [
        *("1.0.0.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "168.63.129.15", "168.63.129.17"),
        *("223.255.255.255", "2000::", "2001:200::1", "2003::1", "2606:4700::1", "3ffd::1"),
        *("3fff:1000::", "::ffff:8.8.8.8"),
    ],
)
def test_public(text: str) -> None:
    assert judge(ip(text)) is None


@pytest.mark.parametrize("text", ["4000::1", "5f00::1", "1fff:ffff::", "100:0:0:1::1", "8000::", "0:0:1::"])
def test_ipv6_outside_global_unicast(text: str) -> None:
    assert judge(ip(text)) == "not global unicast"


@given(v4_addresses)
def test_at_most_what_python_calls_global(address: ipaddress.IPv4Address) -> None:
    assert judge(address) or (address.is_global and not address.is_multicast)


@given(v6_addresses)
def test_at_most_what_python_calls_global_in_ipv6(address: ipaddress.IPv6Address) -> None:
    assert judge(address) or (unmapped(address).is_global and not address.is_multicast)


@given(v4_addresses)
def test_disguises_are_judged_by_what_they_carry(address: ipaddress.IPv4Address) -> None:
    mapped = ip(f"::ffff:{address}")
    isatap = [ip(f"2001:470:1f0b:1:{mark}:5efe:{address}") for mark in ("0", "200")]
    assert judge(mapped) == judge(address)
    assert [bool(judge(other)) for other in isatap] == [bool(judge(address))] * 2


@given(v4_addresses)
def test_transitions_are_refused_whatever_they_carry(address: ipaddress.IPv4Address) -> None:
    high, low = divmod(int(address), 2**16)
    for text in (
        f"::{address}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
    ):
        assert judge(ip(text)), text


@given(v4_addresses, v6_addresses)
def test_the_operator_wins(v4: ipaddress.IPv4Address, v6: ipaddress.IPv6Address) -> None:
    allow = nets(f"{v4}/32")
    assert judge(v4, allow) is None
    assert judge(ip(f"::ffff:{v4}"), allow) is None
    if unmapped(v6) is v6 and not ip_in_nat64(v6):
        assert judge(v6, nets(f"{v6}/128")) is None


def ip_in_nat64(address: ipaddress.IPv6Address) -> bool:
    return any(address in network for network in nets("64:ff9b::/96", "64:ff9b:1::/48"))


def test_opening_ipv6_opens_no_mapped_ipv4() -> None:
    assert judge(ip("::ffff:10.0.0.1"), nets("::/0"))
    assert not allowed(ip("::ffff:10.0.0.1"), nets("::/0"))


def test_opening_nat64_opens_it_for_public_addresses_only() -> None:
    allow = nets("64:ff9b::/96")
    assert judge(ip("64:ff9b::8.8.8.8"), allow) is None
    assert judge(ip("64:ff9b::169.254.169.254"), allow)
    assert judge(ip("64:ff9b::10.0.0.1"), (*allow, *nets("10.0.0.0/8"))) is None


def test_scoped_addresses_are_judged() -> None:
    assert judge(ip("fe80::1%eth0")) == "link-local"


def test_quick() -> None:
    """A thousand addresses take no time that a capture would feel; a bound, no benchmark."""
    numbers = random.Random(1)
    refused = [judge(ipaddress.IPv6Address(numbers.getrandbits(128))) for _ in range(1000)]
    assert len(refused) == 1000
