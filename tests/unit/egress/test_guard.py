"""The guard: all answers or none, and only what was judged."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.address import read_address
from linkpeek.egress import Guard, ListedResolver, Refused, Unresolvable
from linkpeek.egress.guard import admit
from linkpeek.egress.names import PinnedResolver
from linkpeek.egress.policy import IPAddress, Network, allowed, judge
from linkpeek.errors import LinkPeekError

PORTS = frozenset({80, 443})


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(ipaddress.ip_address, texts))


def nets(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


def addresses(
    host: str, *answer: str, port: int = 443, allow: tuple[Network, ...] = ()
) -> tuple[IPAddress, ...]:
    guard = Guard(ListedResolver({"*": ips(*answer)}), ports=PORTS, allow=allow)
    return tuple(asyncio.run(guard.addresses(host, port)))


def refusal(host: str, *answer: str, port: int = 443, allow: tuple[Network, ...] = ()) -> str:
    with pytest.raises(Refused) as caught:
        addresses(host, *answer, port=port, allow=allow)
    return caught.value.code


def test_every_address_of_an_answer_in_its_order() -> None:
    assert addresses("Example.COM", "8.8.8.8", "2606:4700::1", "8.8.4.4") == ips(
        "8.8.8.8", "2606:4700::1", "8.8.4.4"
    )


def test_mapped_addresses_are_dialled_as_what_they_carry() -> None:
    assert addresses("example.com", "::ffff:8.8.8.8") == ips("8.8.8.8")
    assert addresses("::ffff:8.8.8.8") == ips("8.8.8.8")


@pytest.mark.parametrize("bad", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::8.8.8.8"])
def test_one_bad_address_refuses_the_name(bad: str) -> None:
    assert refusal("example.com", "8.8.8.8", bad) == "address-refused"
    assert refusal("example.com", bad, "8.8.8.8") == "address-refused"


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "[::1]", "::1", "2130706433", "169.254.169.254"])
def test_literals_ask_nobody(host: str) -> None:
    assert refusal(host, "8.8.8.8") == "address-refused"


def test_ports() -> None:
    assert refusal("example.com", "8.8.8.8", port=22) == "port-refused"
    assert refusal("8.8.8.8", port=22) == "port-refused"


@pytest.mark.parametrize(
    "host", ["localhost", "intranet", "a.internal", "a b", "a@b.example", "", "xn--a.example"]
)
def test_names_that_are_not_asked_for(host: str) -> None:
    assert refusal(host, "8.8.8.8") == "name-refused"


def test_no_answer() -> None:
    with pytest.raises(Unresolvable):
        addresses("example.com")


class TestWithOpenedNetworks:
    def test_localhost_is_what_was_opened_of_loopback(self) -> None:
        assert addresses("localhost", "8.8.8.8", allow=nets("127.0.0.0/8", "::1")) == ips("127.0.0.1", "::1")
        assert addresses("a.localhost", allow=nets("127.0.0.0/8")) == ips("127.0.0.1")
        assert refusal("localhost", "8.8.8.8", allow=nets("10.0.0.0/8")) == "address-refused"

    def test_inner_names_need_inner_addresses(self) -> None:
        allow = nets("10.0.0.0/8")
        assert addresses("intranet", "10.0.0.1", allow=allow) == ips("10.0.0.1")
        assert refusal("intranet", "10.0.0.1", "8.8.8.8", allow=allow) == "address-refused"
        assert refusal("intranet", "192.168.0.1", allow=allow) == "address-refused"
        assert refusal("metadata.goog", "169.254.169.254", allow=allow) == "address-refused"

    def test_inner_names_get_no_further_through_nat64(self) -> None:
        assert refusal("intranet", "64:ff9b::10.0.0.1", allow=nets("64:ff9b::/96")) == "address-refused"

    def test_public_names_may_have_both(self) -> None:
        answer = addresses("example.com", "10.0.0.1", "8.8.8.8", allow=nets("10.0.0.0/8"))
        assert answer == ips("10.0.0.1", "8.8.8.8")


class Counting:
    """Answers something else each time, when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if name == "none.example":
            raise Unresolvable
        return ips(f"8.8.8.{number}")


def test_pinned_names_keep_their_first_answer() -> None:
    async def ask() -> list[tuple[IPAddress, ...]]:
        resolver = Counting()
        pins = PinnedResolver(resolver)
        both = asyncio.gather(pins.resolve("a.example"), pins.resolve("a.example"))
        resolver.gate.set()
        return [*await both, await pins.resolve("a.example")]

    assert asyncio.run(ask()) == [ips("8.8.8.1")] * 3


def test_failures_are_not_pinned() -> None:
    async def ask() -> int:
        resolver = Counting()
        resolver.gate.set()
        pins = PinnedResolver(resolver)
        for _ in range(2):
            with pytest.raises(Unresolvable):
                await pins.resolve("none.example")
        return resolver.asked

    assert asyncio.run(ask()) == 2


def test_one_that_gives_up_does_not_end_the_lookup_of_others() -> None:
    async def ask() -> tuple[IPAddress, ...]:
        resolver = Counting()
        pins = PinnedResolver(resolver)
        first = asyncio.create_task(pins.resolve("a.example"))
        second = asyncio.create_task(pins.resolve("a.example"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        resolver.gate.set()
        return await second

    assert asyncio.run(ask()) == ips("8.8.8.1")


def test_closing_ends_the_lookups() -> None:
    async def ask() -> None:
        pins = PinnedResolver(Counting())
        waiting = asyncio.create_task(pins.resolve("a.example"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await pins.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(ask())


HOSTS = st.one_of(
    st.sampled_from(["example.com", "a.example.", "b\u00fccher.example"]),
    st.from_regex(r"[a-z0-9-]{1,12}(\.[a-z0-9-]{1,8}){0,3}\.?", fullmatch=True),
    st.sampled_from(["localhost", "x.localhost", "printer.local", "metadata.google.internal", "intranet"]),
    st.ip_addresses().map(str),
    st.text(max_size=20),
)
ADDRESSES = st.one_of(
    st.ip_addresses(),
    st.sampled_from(
        ips("8.8.8.8", "10.0.0.1", "127.0.0.1", "::1", "::ffff:10.1.2.3", "2606:4700::1", "64:ff9b::1")
    ),
)
ALLOWED = st.lists(
    st.sampled_from(nets("10.0.0.0/8", "127.0.0.0/8", "::1/128", "64:ff9b::/96", "fc00::/7")), max_size=2
).map(tuple)


@given(
    host=HOSTS,
    port=st.sampled_from([80, 443, 443, 22, 0]),
    answer=st.lists(ADDRESSES, max_size=4),
    allow=ALLOWED,
)
def test_nothing_but_what_was_judged_ever_comes_out(
    host: str, port: int, answer: list[IPAddress], allow: tuple[Network, ...]
) -> None:
    guard = Guard(ListedResolver({"*": tuple(answer)}), ports=PORTS, allow=allow)
    try:
        given_out = asyncio.run(guard.addresses(host, port))
    except (Refused, Unresolvable):
        return
    assert given_out
    assert port in PORTS
    assert [judge(ip, allow) for ip in given_out] == [None] * len(given_out)
    assert all(
        not allowed(ip, nets("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8")) for ip in given_out if not allow
    )


@given(text=HOSTS.map("http://{}/".format), answer=st.lists(ADDRESSES, min_size=1, max_size=2), allow=ALLOWED)
def test_what_the_parser_refuses_the_guard_refuses(
    text: str, answer: list[IPAddress], allow: tuple[Network, ...]
) -> None:
    try:
        address = read_address(text)
    except LinkPeekError:
        return
    try:
        admit(address.host, address.port, ports=PORTS, allow=allow)
    except Refused:
        guard = Guard(ListedResolver({"*": tuple(answer)}), ports=PORTS, allow=allow)
        with pytest.raises(Refused):
            asyncio.run(guard.addresses(address.host, address.port))
