"""The exec line of the Upstart job, to the letter, brings up the whole service.

The job is read from deploy/; only ``/path/to/linkpeek`` becomes a real tree. It
runs as under Upstart: as the user linkpeek where the tests are root, from ``/``,
with hardly an environment. production.ini is used as it is, but for the settings
without which a page of this very machine may not be captured.
"""

import hashlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlencode

import psutil
import pytest

from tests.live.network import own_network
from tests.live.processes import alive, command_line, family, kill, named, of_user, users, wait_until
from tests.live.site import Site
from tests.live.tree import UID, Tree, deployed_tree

SERVICE = "http://127.0.0.1:5200"
APIKEY, SECRET = "an-old-client", "sesame"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture(scope="module")
def tree(network: None) -> Iterator[Tree]:
    with deployed_tree() as tree:
        tree.set("# für diese Prüfung", "linkpeek.egress_allow = 127.0.0.0/8", "linkpeek.egress_ports = *")
        tree.linkpeek("init", str(tree.ini))
        tree.linkpeek("key", "add", "--name", "old", "--apikey", APIKEY, "--secret", SECRET, str(tree.ini))
        yield tree


@pytest.fixture
def master(tree: Tree) -> Iterator[psutil.Process]:
    """The master process of a service that answers and has a worker."""
    tree.log.unlink(missing_ok=True)
    started = tree.start(tree.exec_line())
    master = psutil.Process(started.pid)
    try:
        # A killed worker's last sign of life still counts for a moment: hence the browser as well.
        wait_until(lambda: (ready() and browsers(master)) or started.poll() is not None, 30, "all is up")
        # A process that is told to stop while it loads the application is started once more.
        wait_until(lambda: tree.log.read_text().count("WSGI app 0") >= 4, 30, "all have loaded")
        assert started.poll() is None, "the master has ended"
        yield master
    finally:
        print(tree.log.read_text())
        kill(family(master) if master.is_running() else [])
        started.wait()
        if os.geteuid() == 0:
            kill(of_user(UID))
        wait_until(lambda: not listening(), 10, "port 5200 is free again")


def get(path: str, timeout: float = 40) -> tuple[int, bytes]:
    """GET from the service and follow redirects."""
    try:
        with urllib.request.urlopen(SERVICE + path, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ready() -> bool:
    try:
        return get("/readyz")[0] == 200
    except OSError:
        return False


def listening() -> bool:
    try:
        get("/healthz", timeout=2)
    except OSError:
        return False
    return True


def signed(uri: str, size: str = "336x336") -> str:
    """Give the path and query of a signed API v1 request."""
    token = hashlib.md5(f"{SECRET}{uri}{size}".encode()).hexdigest()
    return "/api/v1?" + urlencode({"uri": uri, "apikey": APIKEY, "token": token, "size": size})


def web_workers(master: psutil.Process) -> list[psutil.Process]:
    return named(master.children(), "uWSGI worker")


def capture_workers(master: psutil.Process) -> list[psutil.Process]:
    return named(master.children(), "/linkpeek worker ")


def browsers(master: psutil.Process) -> list[psutil.Process]:
    return named(family(master), "chrom")


def leftovers(processes: list[psutil.Process]) -> list[str]:
    """Say what still runs of a service: of the given ones, and where root, anything of its user."""
    found = alive(processes) + (of_user(UID) if os.geteuid() == 0 else [])
    return [f"{one.pid} {command_line(one)}" for one in found]


def test_a_signed_request_ends_in_a_picture(master: psutil.Process, site: Site, tree: Tree) -> None:
    status, picture = get(signed(site.url("/static")))
    assert status == 200
    assert picture.startswith(PNG)
    assert site.hits["/static"] >= 1


def test_four_web_workers_one_capture_worker_one_browser(master: psutil.Process) -> None:
    assert len(web_workers(master)) == 4
    assert len(capture_workers(master)) == 1
    assert browsers(master)


def test_everything_runs_as_the_user_of_the_job(master: psutil.Process) -> None:
    user = UID if os.geteuid() == 0 else os.getuid()
    assert users(family(master)) == {user}


def test_the_log_has_the_path_and_no_secret(master: psutil.Process, site: Site, tree: Tree) -> None:
    path = signed(site.url("/static"))
    get(path)
    get("/a%0aforged")
    # uWSGI writes a line once the answer is out, each worker for itself: the later one may well come first.
    lines = ("GET /api/v1 302", "GET /a%0Aforged 404")
    wait_until(lambda: all(line in tree.log.read_text() for line in lines), 10, "both requests are logged")
    log = tree.log.read_text()
    token = path.partition("token=")[2][:32]
    assert not [word for word in (token, APIKEY, SECRET) if word in log]


def test_term_ends_everything(master: psutil.Process, tree: Tree) -> None:
    everything = family(master)
    assert browsers(master)
    began = time.monotonic()
    master.send_signal(signal.SIGTERM)
    wait_until(lambda: not leftovers(everything), 5, "everything has ended (Upstart kills after 5 s)")
    print(f"stopped in {time.monotonic() - began:.1f} s")
    assert "goodbye to uWSGI" in tree.log.read_text()


def test_killing_the_master_leaves_nothing(master: psutil.Process, site: Site) -> None:
    everything = family(master)
    assert browsers(master)
    # With a request in flight and a capture under way.
    client = subprocess.Popen(["curl", "-s", SERVICE + signed(site.url("/never"))], stdout=subprocess.DEVNULL)
    wait_until(lambda: site.hits["/never"], 20, "the capture is under way")
    everything = family(master)
    master.kill()
    try:
        wait_until(lambda: not leftovers(everything), 5, "nothing is left")
    finally:
        client.kill()
        client.wait()


def test_a_killed_worker_is_replaced_and_leaves_no_browser(master: psutil.Process, site: Site) -> None:
    (worker,) = capture_workers(master)
    below = worker.children(recursive=True)
    assert below
    worker.kill()
    wait_until(lambda: not alive(below), 5, "its browser has ended")
    wait_until(lambda: [one for one in capture_workers(master) if one != worker], 15, "another one works")
    status, picture = get(signed(site.url("/static?again")))
    assert status == 200
    assert picture.startswith(PNG)
