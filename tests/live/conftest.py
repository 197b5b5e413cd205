"""What live tests share: the fixture site, and a real browser on a loop of its own; new for each module."""

import signal
from collections.abc import Iterator

import pytest

from linkpeek.capture import Browser
from tests.live.capturing import Loop, running_browser
from tests.live.site import Site


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """A shell has what it starts in the background ignore INT, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def browser(loop: Loop) -> Iterator[Browser]:
    with running_browser(loop) as browser:
        yield browser
