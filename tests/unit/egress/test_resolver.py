"""Asking a name server: both families, aliases, failures, and a time limit that holds."""

import asyncio
import time
from pathlib import Path

import pytest
from dns_server import NameServer, Script

from linkpeek.egress import Unresolvable
from linkpeek.egress import resolver as resolver_module
from linkpeek.egress.resolver import DnsResolver

V4, V6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"


def resolve(script: Script, *, time_limit: float = 2.0) -> list[str]:
    async def ask() -> list[str]:
        async with NameServer({"a.example": script}) as server:
            resolver = DnsResolver(["127.0.0.1"], port=server.port, time_limit=time_limit)
            return list(map(str, await resolver.resolve("a.example")))

    return asyncio.run(ask())


def test_both_families_by_turns() -> None:
    answer = resolve([{"A": f"{V4},93.184.216.35", "AAAA": V6}])
    assert answer[0] == V6
    assert sorted(answer[1:]) == [V4, "93.184.216.35"]


def test_aliases_are_followed() -> None:
    assert resolve([{"CNAME": "b.example", "A": V4}]) == [V4]


def test_one_family_is_enough() -> None:
    assert resolve([{"AAAA": V6}]) == [V6]


@pytest.mark.parametrize("word", ["NXDOMAIN", "NODATA", "SERVFAIL", "TIMEOUT"])
def test_no_address(word: str) -> None:
    with pytest.raises(Unresolvable):
        resolve([{word: ""}], time_limit=0.3)


def test_an_alias_of_itself_ends() -> None:
    with pytest.raises(Unresolvable):
        resolve([{"CNAME": "a.example"}], time_limit=0.3)


def test_names_that_dns_cannot_carry() -> None:
    async def ask(name: str) -> None:
        with pytest.raises(Unresolvable):
            await DnsResolver(["127.0.0.1"], port=9).resolve(name)

    for name in ("a" * 64 + ".example", "a..example", ""):
        asyncio.run(ask(name))


def test_slow_names_do_not_hold_up_others() -> None:
    async def ask() -> float:
        scripts = {f"slow{n}.example": [{"TIMEOUT": ""}] for n in range(50)}
        async with NameServer({**scripts, "quick.example": [{"A": V4}]}) as server:
            resolver = DnsResolver(["127.0.0.1"], port=server.port, time_limit=30)
            slow = [asyncio.create_task(resolver.resolve(name)) for name in scripts]
            await asyncio.sleep(0)
            begun = time.monotonic()
            await resolver.resolve("quick.example")
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return time.monotonic() - begun

    assert asyncio.run(ask()) < 5


def test_a_family_that_never_answers_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half(NameServer):
        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            if b"\x00\x1c\x00\x01" not in data:  # type AAAA, class IN
                super().datagram_received(data, address)

    async def ask() -> list[str]:
        async with Half({"a.example": [{"A": V4}]}) as server:
            resolver = DnsResolver(["127.0.0.1"], port=server.port, time_limit=60)
            return list(map(str, await resolver.resolve("a.example")))

    monkeypatch.setattr(resolver_module, "GRACE", 0.1)
    begun = time.monotonic()
    assert asyncio.run(ask()) == [V4]
    assert time.monotonic() - begun < 10


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolver_module, "RESOLV_CONF", str(conf))
    resolver = DnsResolver()
    servers = [resolver._current().nameservers]
    for number in (1, 2):
        conf.unlink(missing_ok=True)
        conf.write_text(f"search example.org\nnameserver 127.0.0.{number}0\n")
        servers.append(resolver._current().nameservers)
    assert servers == [["127.0.0.1"], ["127.0.0.10"], ["127.0.0.20"]]
    assert resolver._current() is resolver._current()
