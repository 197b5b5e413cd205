"""Pages that take all they can get of one thing: good pages beside them are captured, all is given back."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from linkpeek.capture import Browser, Capture
from linkpeek.errors import CaptureError
from tests.live.capturing import (
    SLACK,
    Loop,
    Outcome,
    eventually,
    family,
    outcome_of,
    request,
    running_browser,
)
from tests.live.site import Site

LIMIT = 6
MIB = 2**20

#: Two at once, and so little longer than half of all their time.
GREEDY = (
    "/nested-workers",
    "/stores",
    "/drawings",
    "/connects",
    "/memory",
    "/buffers",
    "/canvas",
    "/wasm",
    "/workers",
    "/frames",
    "/huge-picture",
    "/deep",
    "/bomb",
    "/worker-bytes",
    "/long-addresses",
)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def browser(loop: Loop, temporary: Path) -> Iterator[Browser]:
    with running_browser(loop) as browser:
        yield browser


def memory(browser: Browser) -> int:
    """Bytes that belong to the browser's processes alone."""
    total = 0
    for one in family(browser):
        with contextlib.suppress(psutil.NoSuchProcess):  # a page's own may end just now
            total += one.memory_full_info().uss
    return total


def shared(browser: Browser) -> int:
    """Bytes of shared memory that the browser's processes have open or in use.

    Not all of the machine's: other browsers have some, too.
    """
    sizes: dict[object, int] = {}
    device = os.stat("/dev/shm").st_dev
    for one in family(browser):
        for link in Path(f"/proc/{one.pid}/fd").glob("*"):
            with contextlib.suppress(OSError):  # it may be closed just now
                found = link.stat()
                if found.st_dev == device:
                    sizes[found.st_ino] = found.st_blocks * 512
        with contextlib.suppress(OSError, psutil.Error):
            for mapped in one.memory_maps(grouped=False):
                if mapped.path.startswith("/dev/shm"):
                    sizes[mapped.path] = max(sizes.get(mapped.path, 0), mapped.rss)
    return sum(sizes.values())


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_greedy_pages_harm_only_themselves(loop: Loop, browser: Browser, site: Site, temporary: Path) -> None:
    first = loop.run(outcome_of(browser, request(site.url("/static"))))
    assert isinstance(first[0], Capture)
    before, shared_before, process = memory(browser), shared(browser), browser.pids
    places, good = asyncio.Semaphore(2), list[tuple[str, Outcome, float]]()

    async def one(path: str) -> tuple[Outcome, float]:
        async with places:
            greedy = asyncio.create_task(outcome_of(browser, request(site.url(path), limit=LIMIT)))
            await asyncio.sleep(1)
            while not greedy.done():
                good.append((path, *await outcome_of(browser, request(site.url("/static"), limit=20))))
                await asyncio.sleep(0.5)
            return await greedy

    async def all_of_them() -> list[tuple[Outcome, float]]:
        return await asyncio.gather(*map(one, GREEDY))

    outcomes = dict(zip(GREEDY, loop.run(all_of_them(), 150), strict=True))

    assert {path: seconds for path, (_, seconds) in outcomes.items() if seconds > LIMIT + SLACK} == {}
    assert [(path, outcome) for path, outcome, _ in good if not isinstance(outcome, Capture)] == []
    assert len(good) > len(GREEDY)
    assert browser.pids == process, "one browser lived through all of it"
    assert eventually(lambda: memory(browser) < before + 300 * MIB), f"{memory(browser) // MIB} MiB"
    assert eventually(lambda: shared(browser) < shared_before + 50 * MIB)
    assert stored(temporary) < 50 * MIB
    error = outcomes["/nested-workers"][0]
    assert isinstance(error, CaptureError), error
    assert (error.code, error.lasting) == ("too-large", True)
