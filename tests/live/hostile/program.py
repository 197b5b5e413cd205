"""Opens every page and redirect of the list in one real browser, behind the real guard.

Run in a network of its own (``unshare --net``), where every address there is
leads to this machine. Writes one JSON object to standard output: what became of
each case, and whom anybody tried to reach.
"""

import asyncio
import ipaddress
import json
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from canary import Canary
from keys import Keys
from outside import Outside
from ssrf import Case, answers, cases, page_files

from linkpeek.capture import Browser, CaptureRequest
from linkpeek.capture.executable import find_executable
from linkpeek.egress import EgressServer, EgressSession, Guard, Limits, ListedResolver
from linkpeek.egress.policy import IPAddress, Network
from linkpeek.errors import LinkPeekError
from linkpeek.geometry import Extent, Viewport

#: Seconds for one capture, captures at once, bytes for one capture.
TIMEOUT, AT_ONCE, BYTES = 8.0, 4, 64 * 1024 * 1024

#: Pages that are nothing without a secure context; the others are served over plain
#: HTTP, where no rule against mixed content stands before the guard.
SECURE = {f"PAG-{number:03}" for number in (34, 71, 88, 89, 91, 93, 120, 121, 122, 123)}

PORTS = frozenset({80, 443, 8080, 8443})

#: A name that lies from the second time on, and one that is inside whenever it is asked for.
REBINDING, INWARD = "rebind.example.net", "inward.example.net"


class Noting(ListedResolver):
    """Notes which names were asked for, and how often; one of them changes its address meanwhile."""

    asked: Counter[str]

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        self.asked[name] += 1
        if name == INWARD or (name == REBINDING and self.asked[name] > 1):
            return (ipaddress.ip_address("127.40.0.1"),)
        return await super().resolve(name)


class Ways(EgressServer):
    """Notes the ports of its sessions: the only ones a browser may connect to."""

    ports: set[int]

    async def open_session(self, name: str | None = None) -> EgressSession:
        session = await super().open_session(name)
        self.ports.add(int(session.proxy_url.rpartition(":")[2]))
        return session


class Dialled(socket.socket):
    """A socket of the guard's that notes whom it goes to (address, port) and from which port of its own."""

    noted: ClassVar[set[tuple[str, int, int]]] = set()

    def connect(self, address: Any) -> None:
        self.bind(("", 0))
        self.noted.add((address[0], address[1], self.getsockname()[1]))
        super().connect(address)


#: What the guard's dialling needs of the module ``socket``.
SOCKETS = SimpleNamespace(
    socket=Dialled, AF_INET=socket.AF_INET, AF_INET6=socket.AF_INET6, SOCK_STREAM=socket.SOCK_STREAM
)


#: Every address leads to this machine, but for one network that is not there. WebRTC looks
#: for an interface that is not loopback, and leaves it at that where there is none. One
#: that gave itself an address after a while would be a change, which fails what loads then.
NETWORK = (
    "link set lo up",
    "link add outer type veth peer name inner",
    "link set outer addrgenmode none",
    "link set inner addrgenmode none",
    "address add 192.168.77.2/24 dev outer",
    "link set outer up",
    "link set inner up",
    "route add local 0.0.0.0/0 dev lo",
    "-6 route add local ::/0 dev lo",
    "route add unreachable 10.66.0.0/16 table local",
)


def make_network() -> None:
    """Make the world that the pages see."""
    for words in NETWORK:
        subprocess.run(["ip", *words.split()], check=True)


def wrapped_browser(folder: Path, spki: str) -> Path:
    """Give a browser that takes the tests' certificate (and no other)."""
    script = folder / "browser"
    flag = f"--ignore-certificate-errors-spki-list={spki}"
    script.write_text(f'#!/bin/sh\nexec "{find_executable()}" "$@" {flag}\n')
    script.chmod(0o755)
    return script


def address(case: Case) -> str:
    """Give where a case begins."""
    if case.kind == "redirect":
        return case.text.split(" => ")[0]
    scheme = "https" if case.id in SECURE or case.kind == "secure" else "http"
    return f"{scheme}://{case.id.lower()}.example.com/"


async def outcome(browser: Browser, uri: str) -> dict[str, Any]:
    """Capture, and say what became of it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    request = CaptureRequest(uri=uri, viewport=Viewport(800, 600), extent=Extent.FULL, timeout=TIMEOUT)
    result: dict[str, Any] = {"code": None}
    try:
        capture = await browser.capture(request)
    except LinkPeekError as exc:
        result |= {"code": exc.code, "message": exc.message}
    else:
        result |= {"final_uri": capture.final_uri, "status": capture.status, "title": capture.title}
        result |= {"width": capture.width, "height": capture.height}
    result["seconds"] = round(loop.time() - begun, 2)
    return result


async def run(wanted: Iterable[Case], folder: Path, allow: tuple[Network, ...]) -> dict[str, Any]:
    """Run the cases; whoever is reached meanwhile is noted."""
    keys = Keys(folder)
    outside = Outside(keys)
    await outside.start()
    listed = list(wanted)
    names = {name: ips for case in listed for name, ips in answers(case).items()}
    resolver = Noting(names)
    resolver.asked = Counter()
    ways = Ways(Guard(resolver, ports=PORTS, allow=allow), Limits(total_bytes=BYTES))
    ways.ports = set()
    canary = Canary()
    browser = Browser(wrapped_browser(folder, keys.spki), egress=ways, sandbox=False)
    await browser.start()
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> dict[str, Any]:
        async with slots:
            return await outcome(browser, address(case))

    results = await asyncio.gather(*map(one, listed))
    await browser.close()
    return {
        "results": {case.id: result for case, result in zip(listed, results, strict=True)},
        "attempts": sorted({(a.protocol, a.address, a.port) for a in canary.stop()}),
        "beside": sorted(
            {
                (a.protocol, a.address, a.port)
                for a in canary.attempts
                if (a.address, a.port, a.source) not in Dialled.noted
            }
        ),
        "proxies": sorted(ways.ports),
        "asked": resolver.asked,
        "requests": outside.requests,
    }


def main() -> None:
    """Run the cases whose ids are given, or all; after ``--unguarded`` with everything opened."""
    make_network()
    unguarded, ids = "--unguarded" in sys.argv, {word for word in sys.argv[1:] if not word.startswith("-")}
    allow = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0"))) if unguarded else ()
    everything = (*cases("page", "meta", "redirect"), *page_files())
    wanted = [case for case in everything if not ids or case.id in ids]
    with tempfile.TemporaryDirectory() as folder:
        with patch("linkpeek.egress.dial.socket", SOCKETS):
            outcome = asyncio.run(run(wanted, Path(folder), allow))
        json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
