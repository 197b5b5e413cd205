"""Every case of the list that needs no page: the real parser, the real guard, DNS on loopback."""

import asyncio
import json
from pathlib import Path

import pytest
from ada_url import URL
from click.testing import CliRunner
from dns_server import NameServer
from ssrf import DEFAULT_ADDRESS, URL_KINDS, Case, answers, cases

from linkpeek.address import parse_address
from linkpeek.cli import main
from linkpeek.egress import EgressServer, Guard, ListedResolver
from linkpeek.egress import session as session_module
from linkpeek.egress.policy import IPAddress, judge
from linkpeek.egress.resolver import DnsResolver
from linkpeek.errors import LinkPeekError

PORTS = frozenset({80, 443, 8080, 8443})
MAX_REDIRECTS = 10


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an ini file that leaves everything at its default, as in production."""
    path = tmp_path_factory.mktemp("config") / "production.ini"
    path.write_text("[app:main]\nuse = egg:linkpeek\n")
    return path


def _verdict(text: str, guard: Guard) -> str:
    try:
        address = parse_address(text, ports=guard.ports, allow=guard.allow)
        asyncio.run(guard.addresses(address.host, address.port))
    except LinkPeekError:
        return "refuse"
    return "allow"


def _guard(case: Case) -> Guard:
    return Guard(ListedResolver(answers(case)), ports=PORTS, allow=())


@pytest.mark.parametrize("case", cases(*URL_KINDS), ids=str)
def test_parser_and_guard(case: Case) -> None:
    text = case.text
    if case.raw_bytes:
        text = text.encode("latin-1").decode("utf-8", "surrogateescape")
    assert _verdict(text, _guard(case)) == case.verdict


@pytest.mark.parametrize("case", cases(*URL_KINDS), ids=str)
def test_check_says_the_same(case: Case, config: Path) -> None:
    line = case.text.encode("latin-1") if case.raw_bytes else case.line.encode("ascii")
    stubs = {name: ",".join(map(str, ips)) for name, ips in answers(case).items()}
    options = [word for name, ips in stubs.items() for word in ("--resolve", f"{name}={ips}")]
    result = CliRunner().invoke(main, ["check", str(config), "-", "--escaped", *options], input=line + b"\n")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    answer = json.loads(result.stdout)
    assert answer["verdict"] == case.verdict
    assert (answer["code"] is None) == (case.verdict == "allow")


@pytest.mark.parametrize("case", cases(*URL_KINDS), ids=str)
def test_what_is_allowed_stays_what_it_is(case: Case) -> None:
    if case.verdict == "allow":
        address = parse_address(case.text, ports=PORTS, allow=())
        assert parse_address(address.uri, ports=PORTS, allow=()) == address


def _followed(case: Case) -> str:
    """Go from hop to hop as a browser does; give ``allow`` where the last one is reached."""
    first, *hops = case.text.split(" => ")
    guard, url, redirects = _guard(case), URL(first), 0
    for hop in [f"302 {first}", *hops]:
        kind, _, location = hop.partition(" ")
        endless = location == "..."
        if kind == "200" and not location:
            return "allow"
        redirects += MAX_REDIRECTS if endless else 1
        if endless or redirects > MAX_REDIRECTS + 1:
            return "refuse"
        url = URL(location, url.href)
        if _verdict(url.href, guard) == "refuse":
            return "refuse"
    return "allow"


@pytest.mark.parametrize("case", cases("redirect"), ids=str)
def test_every_hop_is_judged(case: Case) -> None:
    assert _followed(case) == case.verdict


def _script(case: Case) -> tuple[str, list[dict[str, str]]]:
    host, _, rest = case.text.partition(" ")
    lookups: list[dict[str, str]] = [{}]
    for word in rest.split(";"):
        if word.startswith("second lookup "):
            word = word.removeprefix("second lookup ")
            lookups.append({})
        kind, _, value = word.partition("=")
        lookups[-1][kind] = value
    return host, lookups


async def _attempts(case: Case, monkeypatch: pytest.MonkeyPatch) -> list[IPAddress]:
    """Ask for the host of a case twice in each of two sessions; give what would have been dialled."""
    dialled: list[IPAddress] = []

    async def dial(addresses: list[IPAddress], port: int) -> None:
        dialled.extend(addresses)
        raise ConnectionRefusedError

    monkeypatch.setattr(session_module, "dial", dial)
    host, script = _script(case)
    async with NameServer({host: script}) as server:
        resolver = DnsResolver(["127.0.0.1"], port=server.port, time_limit=0.5)
        egress = EgressServer(Guard(resolver, ports=PORTS, allow=()))
        for _ in range(2):
            async with await egress.open_session() as session:
                for _ in range(2):
                    await session.connect(None, host, 443)  # type: ignore[arg-type]
    return dialled


@pytest.mark.parametrize("case", cases("dns"), ids=str)
def test_what_names_resolve_to(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = asyncio.run(_attempts(case, monkeypatch))
    assert [ip for ip in dialled if judge(ip)] == []
    if "second lookup" not in case.text and "ipv4hint" not in case.text:
        assert bool(dialled) == (case.verdict == "allow")


def test_the_whole_list_is_here() -> None:
    listed = cases(*URL_KINDS, "redirect", "dns", "page", "meta")
    assert len({case.id for case in listed}) == len(listed) >= 511
    assert DEFAULT_ADDRESS in str(_guard(listed[0]).resolver._answers)  # type: ignore[attr-defined]
