"""``pserve development.ini``: web pages and capture worker in one command, and no pile of them.

The ini file is used as it is, but for the port.
"""

import shutil
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from tests.live.network import own_network
from tests.live.processes import alive, command_line, family, kill, named, wait_until
from tests.live.tree import CHECKOUT

ADDRESS = "http://127.0.0.1:6543"


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """development.ini in a folder of its own, beside data made by ``linkpeek init``."""
    ini = tmp_path / "development.ini"
    shutil.copy(CHECKOUT / "development.ini", ini)
    with Popen([sys.executable, "-m", "linkpeek", "init", ini], cwd=CHECKOUT) as init:
        assert init.wait(60) == 0
    return ini


@pytest.fixture
def served(ini: Path, request: pytest.FixtureRequest) -> Iterator[psutil.Process]:
    """pserve with the test's further options, once it is ready."""
    options = getattr(request, "param", [])
    with Popen([sys.executable, "-m", "pyramid.scripts.pserve", str(ini), *options], cwd=CHECKOUT) as pserve:
        process = psutil.Process(pserve.pid)
        try:
            wait_until(ready, 60, "the service is ready")
            yield process
        finally:
            everything = family(process) if pserve.poll() is None else []
            kill(everything)


def ready() -> bool:
    try:
        with urllib.request.urlopen(f"{ADDRESS}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def workers(pserve: psutil.Process) -> list[psutil.Process]:
    return named(alive(family(pserve)), "-m linkpeek worker")


def test_brings_up_the_page_and_a_worker(served: psutil.Process) -> None:
    with urllib.request.urlopen(f"{ADDRESS}/", timeout=10) as answer:
        assert b"<form" in answer.read()
    assert len(workers(served)) == 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_takes_everything_along(served: psutil.Process, stop: signal.Signals) -> None:
    everything = family(served)
    assert named(everything, "chrom")
    served.send_signal(stop)
    wait_until(lambda: not alive(everything), 20, "everything has ended")


@pytest.mark.parametrize("served", [["--reload"]], indirect=True)
def test_reloading_keeps_one_worker(served: psutil.Process, ini: Path) -> None:
    for _ in range(3):
        reload_once(served, ini)
    # What the browser starts has its command line for a moment.
    wait_until(lambda: len(browsers(served)) == 1, 5, "there is one browser")


def reload_once(pserve: psutil.Process, ini: Path) -> None:
    """Touch a file that is watched, and see the old worker go and a new one come."""
    (worker,) = workers(pserve)
    old = family(worker)
    ini.touch()
    wait_until(lambda: not alive(old), 30, "the old worker and its browser have ended")
    wait_until(
        lambda: len(workers(pserve)) == 1 and browsers(pserve) and ready(), 60, "a new worker is there"
    )


def browsers(pserve: psutil.Process) -> list[psutil.Process]:
    """List the browsers' first processes; all others have a --type."""
    chromium = named(alive(family(pserve)), "chromium")
    return [one for one in chromium if "--type=" not in command_line(one)]
