"""What live tests share: the fixture site, and a real browser on a loop of its own; new for each module."""

from collections.abc import Iterator

import pytest

from linkpeek.capture import Browser
from tests.live.capturing import Loop, running_browser
from tests.live.site import Site


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
