"""Every page and every redirect of the list, in a real browser behind the real guard.

They run in a network of their own where every address there is leads to this
machine, so that nothing stands between a page and what it tries to reach but
the guard. A canary notes whom anybody so much as tried to connect to.
"""

import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from ssrf import DEFAULT_ADDRESS, Case, cases

from linkpeek.egress.hosts import ip_literal, is_special
from linkpeek.geometry import MAX_PAGE_HEIGHT

PROGRAM = Path(__file__).parent / "hostile/program.py"
OWN_NETWORK = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() != 0 else [])]

#: Seconds: what the program gives a capture, and what it may take beyond that on a busy machine.
TIMEOUT, SLACK = 8.0, 4.0

#: Cases that end with an error of this very kind.
ERRORS = {
    "PAG-095": "download",
    "PAG-097": "too-large",
    "PAG-121": "tls-error",
    "PAG-122": "tls-error",
    "PAG-123": "tls-error",
    "RED-001": "address-refused",
    "RED-002": "name-refused",
    "RED-019": "port-refused",
    "RED-025": "address-refused",
    "RED-035": "too-many-redirects",
}

Outcome = dict[str, Any]


def _run(*words: str) -> Outcome:
    """Run cases in a network of their own."""
    command = [*OWN_NETWORK, sys.executable, str(PROGRAM), *words]
    done = subprocess.run(command, capture_output=True, timeout=240, cwd=PROGRAM.parents[3], check=False)
    assert done.returncode == 0, done.stderr.decode()
    outcome: Outcome = json.loads(done.stdout)
    return outcome


@pytest.fixture(scope="module")
def world() -> Outcome:
    return _run()


def _strays(world: Outcome) -> list[Any]:
    """Give the attempts to reach anything but the guard's own ports and the public address."""
    ways = [["tcp", "127.0.0.1", port] for port in world["proxies"]]
    public = [["tcp", DEFAULT_ADDRESS, port] for port in (80, 443, 8080, 8443)]
    return [attempt for attempt in world["attempts"] if attempt not in ways + public]


def test_the_canary_stayed_silent(world: Outcome) -> None:
    assert _strays(world) == []
    assert ["tcp", DEFAULT_ADDRESS, 443] in world["attempts"]


def test_the_canary_sings_where_everything_is_opened() -> None:
    """The same pages reach inside when the guard lets them: what keeps them out is the guard."""
    world = _run("--unguarded", "PAG-009", "PAG-015", "PAG-046", "MET-018", "RED-003", "RED-040")
    strays = _strays(world)
    assert ["tcp", "127.0.0.1", 8080] in strays
    assert ["tcp", "169.254.169.254", 80] in strays
    assert ["tcp", "fd00:ec2::254", 80] in strays


def test_only_names_that_may_be_asked_for_were_asked(world: Outcome) -> None:
    assert [name for name in world["asked"] if is_special(name) or ip_literal(name)] == []
    assert "secret-data.attacker.example" not in world["asked"]


def test_no_server_was_told_anything_by_the_browser_itself(world: Outcome) -> None:
    heads = "\n".join(head for _, head in world["requests"]).lower()
    assert "authorization:" not in heads
    assert "cookie:" not in heads


@pytest.mark.parametrize("case", cases("page", "meta"), ids=str)
def test_pages(case: Case, world: Outcome) -> None:
    result = world["results"][case.id]
    assert result["seconds"] < TIMEOUT + SLACK
    if case.verdict == "allow":
        assert (result["code"], result["status"]) == (None, 404 if case.id == "PAG-137" else 200)
    if case.id in ERRORS:
        assert result["code"] == ERRORS[case.id]
    if result["code"] is None:
        final = urlsplit(result["final_uri"])
        assert (final.scheme in ("http", "https"), final.hostname) == (True, f"{case.id.lower()}.example.com")
        assert result["height"] <= MAX_PAGE_HEIGHT
        assert not re.search(r"\d+\.\d+\.\d+\.\d+|::", result["title"])


def test_what_a_public_page_refers_to_is_fetched(world: Outcome) -> None:
    urls = {url for url, _ in world["requests"]}
    assert {"https://example.org/a.png", "https://example.org/302-to-loopback.png"} <= urls


def _end(case: Case) -> str:
    url, *hops = case.text.split(" => ")
    for hop in hops:
        url = urljoin(url, hop.partition(" ")[2])
    return url


@pytest.mark.parametrize("case", cases("redirect"), ids=str)
def test_redirects(case: Case, world: Outcome) -> None:
    result = world["results"][case.id]
    if case.verdict == "allow":
        assert (result["code"], result["final_uri"]) == (None, _end(case))
    else:
        assert result["code"] == ERRORS.get(case.id, result["code"])
        assert result["code"] is not None


def test_the_default_address_is_outside() -> None:
    assert ipaddress.ip_address(DEFAULT_ADDRESS).is_global
