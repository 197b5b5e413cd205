import errno
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linkpeek import embedded
from linkpeek.embedded import _Keeper, start
from linkpeek.errors import ConfigurationError
from tests.factories import make_settings

PATIENCE = 30
#: Notes that it began, then waits to be told to end.
CHILD = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(float(sys.argv[2]))"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "RESTART_PAUSE", 0.05)
    monkeypatch.setattr(embedded, "STOP_TIME", 5)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def keep(notes: Path) -> Iterator[Callable[..., _Keeper]]:
    kept: list[tuple[_Keeper, threading.Thread]] = []

    def keep(*command: str, seconds: float = 60) -> _Keeper:
        keeper = _Keeper([*(command or (sys.executable, "-c", CHILD)), str(notes), str(seconds)])
        thread = threading.Thread(target=keeper.run)
        thread.start()
        kept.append((keeper, thread))
        return keeper

    yield keep
    for keeper, thread in kept:
        keeper.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def begun(notes: Path, times: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not notes.exists() or len(notes.read_text()) < times:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_ends_is_started_again(keep: Callable[..., _Keeper], notes: Path) -> None:
    keep(seconds=0)
    begun(notes, 3)


def test_a_stop_ends_the_worker_and_starts_no_other(keep: Callable[..., _Keeper], notes: Path) -> None:
    keeper = keep()
    begun(notes, 1)
    keeper.stop()
    assert keeper._child.poll() is not None
    time.sleep(0.3)
    assert notes.read_text() == "x"


def test_a_worker_that_does_not_heed_the_stop_is_killed(
    keep: Callable[..., _Keeper], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIME", 0.2)
    keeper = keep(sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN);" + CHILD)
    begun(notes, 1)
    keeper.stop()
    assert keeper._child.wait(PATIENCE) == -9


def test_a_worker_that_cannot_be_started_is_tried_again(
    keep: Callable[..., _Keeper], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, troubles = subprocess.Popen, iter(range(3))

    def scarce(*arguments: object, **options: object) -> object:
        if next(troubles, None) is not None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", scarce)
    keep()
    begun(notes, 1)


def test_a_stop_ends_also_a_worker_that_is_just_being_started(
    keep: Callable[..., _Keeper], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, starting, go_on, started = subprocess.Popen, threading.Event(), threading.Event(), []

    def slow(*arguments: object, **options: object) -> object:
        starting.set()
        go_on.wait(PATIENCE)
        started.append(real(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", slow)
    keeper = keep()
    assert starting.wait(PATIENCE)
    stopping = threading.Thread(target=keeper.stop)
    stopping.start()
    assert keeper._stopping.wait(PATIENCE)
    go_on.set()
    stopping.join(PATIENCE)
    assert [child.poll() for child in started] == [-signal.SIGTERM]


def test_without_an_ini_file_there_is_nothing_to_start_it_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        start(make_settings(tmp_path, worker="embedded"))
