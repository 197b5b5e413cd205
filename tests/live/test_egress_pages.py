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
from ssrf import DEFAULT_ADDRESS, Case, cases, page_files

from linkpeek.egress.hosts import ip_literal, is_special
from linkpeek.geometry import MAX_PAGE_HEIGHT
from tests.live.capturing import SLACK

#: Where the certificate of one page says that its issuer is to be had; Chromium looks there.
ISSUER = "127.57.0.1"

PROGRAM = Path(__file__).parent / "hostile/program.py"
OWN_NETWORK = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() != 0 else [])]

#: Seconds that the program gives a capture.
TIMEOUT = 8.0

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

#: Pages of which Chromium, started as we start it, lets nothing out that the guard could refuse.
KEPT_IN = {"alternatives", "credentials", "serviceworker", "transformed", "transport", "windows"}

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


@pytest.fixture(scope="module")
def opened() -> Outcome:
    """The same world, with a guard that lets everything pass."""
    ids = ("PAG-009", "PAG-015", "PAG-046", "MET-018", "RED-003", "RED-040")
    return _run("--unguarded", *ids, *(page.id for page in page_files()))


def _strays(world: Outcome) -> list[Any]:
    """Give the attempts to reach anything but the guard's own ports and the public address."""
    ways = [["tcp", "127.0.0.1", port] for port in world["proxies"]]
    public = [["tcp", DEFAULT_ADDRESS, port] for port in (80, 443, 8080, 8443)]
    return [attempt for attempt in world["attempts"] if attempt not in ways + public]


def test_the_canary_stayed_silent(world: Outcome) -> None:
    assert _strays(world) == []
    assert ["tcp", DEFAULT_ADDRESS, 443] in world["attempts"]


def test_there_is_no_way_but_the_guard(world: Outcome, opened: Outcome) -> None:
    """Neither to inner addresses nor to public ones, whatever the guard says; not a packet of UDP."""
    for outcome in (world, opened):
        ways = [["tcp", "127.0.0.1", port] for port in outcome["proxies"]]
        assert [attempt for attempt in outcome["beside"] if attempt not in ways] == []


def test_the_canary_sings_where_everything_is_opened(opened: Outcome) -> None:
    """The same pages reach inside when the guard lets them: what keeps them out is the guard."""
    strays = _strays(opened)
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


@pytest.mark.parametrize("page", page_files(), ids=str)
def test_pages_that_try_everything(page: Case, world: Outcome, opened: Outcome) -> None:
    result = world["results"][page.id]
    assert result["seconds"] < TIMEOUT + SLACK
    assert result["code"] == ("tls-error" if page.id == "issuer" else None)
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|::", result.get("title", ""))
    if page.id not in KEPT_IN:
        inner = re.search(r"127\.\d+\.0\.", page.text + str(page.headers) + ISSUER)
        assert inner is not None
        assert [address for _, address, _ in opened["attempts"] if address.startswith(inner[0])]


def test_a_name_is_asked_for_once_whatever_it_answers_later(world: Outcome) -> None:
    requests = [url for url, _ in world["requests"] if url.startswith("http://rebind.example.net:8080/")]
    assert (world["asked"]["rebind.example.net"], len(requests) > 3) == (1, True)


def test_no_window_and_no_service_worker(world: Outcome, opened: Outcome) -> None:
    for outcome in (world, opened):
        paths = {urlsplit(url).path for url, _ in outcome["requests"]}
        assert {"/popped", "/sw.js"} & paths == set()
        assert outcome["results"]["serviceworker"]["title"] == "page"


def test_whether_anything_is_there_cannot_be_told(world: Outcome, opened: Outcome) -> None:
    """Neither by a page, of what it refers to, nor by who asks for the picture, of where it redirects to."""
    assert world["results"]["oracle"]["title"].startswith("1 kinds of answers: TypeError")
    assert not opened["results"]["oracle"]["title"].startswith("1 kinds")
    there, not_there = ({**world["results"][case], "seconds": 0} for case in ("RED-001", "EXT-031"))
    assert there == not_there


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
