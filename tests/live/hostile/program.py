"""Opens every page and redirect of the list in one real browser, behind the real guard.

Run in a network of its own (``unshare --net``), where every address there is
leads to this machine. Writes one JSON object to standard output: what became of
each case, and whom anybody tried to reach.
"""

import asyncio
import ipaddress
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from canary import Canary
from outside import Keys, Outside
from ssrf import Case, answers, cases

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


class Noting(ListedResolver):
    """Notes which names were asked for."""

    asked: set[str]

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        self.asked.add(name)
        return await super().resolve(name)


class Ways(EgressServer):
    """Notes the ports of its sessions: the only ones a browser may connect to."""

    ports: set[int]

    async def open_session(self, name: str | None = None) -> EgressSession:
        session = await super().open_session(name)
        self.ports.add(int(session.proxy_url.rpartition(":")[2]))
        return session


def make_network() -> None:
    """Lead every address to this machine."""
    for words in ("link set lo up", "route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"):
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
    scheme = "https" if case.id in SECURE else "http"
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
        result["code"] = exc.code
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
    resolver.asked = set()
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
        "attempts": sorted((a.protocol, a.address, a.port) for a in canary.stop()),
        "proxies": sorted(ways.ports),
        "asked": sorted(resolver.asked),
        "requests": outside.requests,
    }


def main() -> None:
    """Run the cases whose ids are given, or all; after ``--unguarded`` with everything opened."""
    make_network()
    unguarded, ids = "--unguarded" in sys.argv, {word for word in sys.argv[1:] if not word.startswith("-")}
    allow = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0"))) if unguarded else ()
    wanted = [case for case in cases("page", "meta", "redirect") if not ids or case.id in ids]
    with tempfile.TemporaryDirectory() as folder:
        json.dump(asyncio.run(run(wanted, Path(folder), allow)), sys.stdout)


if __name__ == "__main__":
    main()
