"""The engine with a coroutine for a browser."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkpeek import engine as module
from linkpeek.capture.model import CaptureRequest
from linkpeek.engine import Engine, Interrupted, require_safe_user
from linkpeek.errors import CaptureError, CaptureTimeout, ConfigurationError
from linkpeek.geometry import Extent, Viewport
from tests.factories import make_capture, make_settings

PATIENCE = 30


def request(path: str = "page", timeout: float = 10) -> CaptureRequest:
    return CaptureRequest(f"http://example.com/{path}", Viewport(64, 64), Extent.VIEWPORT, timeout)


class PaperBrowser:
    """A browser that answers by the path of the page."""

    made: "PaperBrowser"

    def __init__(self, executable: Path, *, egress: object, sandbox: bool) -> None:
        self.executable, self.sandbox = executable, sandbox
        self.version = "Paper/1"
        self.begun = threading.Event()
        self.cancelled = self.closed = False
        PaperBrowser.made = self

    async def start(self) -> None:
        """Be there at once."""

    async def capture(self, request: CaptureRequest) -> object:
        if request.uri.endswith("fails"):
            raise CaptureError("No such name.", code="dns-failed")
        if request.uri.endswith("hangs"):
            self.begun.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return make_capture(request)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Browser", PaperBrowser)
    monkeypatch.setattr(module, "find_executable", lambda given: given or Path("/paper"))
    monkeypatch.setattr(module, "OVERTIME", 0.1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(make_settings(tmp_path, allow_root="true", chromium="/opt/paper"))
    yield engine
    engine.stop()


def test_captures_and_tells_the_browsers_version(engine: Engine) -> None:
    assert engine.browser_version is None
    engine.start()
    assert engine.browser_version == "Paper/1"
    assert PaperBrowser.made.executable == Path("/opt/paper")
    assert engine.capture(request()).final_uri == "http://example.com/page"


def test_many_threads_capture_at_once(engine: Engine) -> None:
    engine.start()
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: done.append(engine.capture(request(f"{n}")).final_uri))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(done) == [f"http://example.com/{n}" for n in range(8)]


def test_a_failure_is_handed_on(engine: Engine) -> None:
    engine.start()
    with pytest.raises(CaptureError) as caught:
        engine.capture(request("fails"))
    assert caught.value.code == "dns-failed"


def test_a_browser_that_breaks_its_time_limit_is_given_up(engine: Engine) -> None:
    engine.start()
    started = time.monotonic()
    with pytest.raises(CaptureTimeout):
        engine.capture(request("hangs", timeout=0.1))
    assert time.monotonic() - started < 5
    assert engine.capture(request())
    assert PaperBrowser.made.cancelled


@pytest.mark.parametrize("way", ["interrupt", "stop"])
def test_what_runs_is_cut_off_and_told_apart_from_a_failure(engine: Engine, way: str) -> None:
    engine.start()
    outcome: list[BaseException] = []

    def capture() -> None:
        try:
            engine.capture(request("hangs"))
        except Interrupted as exc:
            outcome.append(exc)

    thread = threading.Thread(target=capture)
    thread.start()
    assert PaperBrowser.made.begun.wait(PATIENCE)
    getattr(engine, way)()
    thread.join(PATIENCE)
    assert [type(exc) for exc in outcome] == [Interrupted]


@pytest.mark.parametrize("way", ["interrupt", "stop"])
def test_none_begins_afterwards(engine: Engine, way: str) -> None:
    engine.start()
    getattr(engine, way)()
    with pytest.raises(Interrupted):
        engine.capture(request())


def test_stops_once_and_for_all(engine: Engine) -> None:
    engine.start()
    engine.stop()
    assert PaperBrowser.made.closed
    assert "browser" not in {thread.name for thread in threading.enumerate()}
    engine.stop()


def test_stops_although_the_browser_does_not_close(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(self: PaperBrowser) -> None:
        await asyncio.sleep(PATIENCE)

    monkeypatch.setattr(PaperBrowser, "close", close)
    monkeypatch.setattr(module, "STOP_TIME", 0.2)
    engine.start()
    started = time.monotonic()
    engine.stop()
    assert time.monotonic() - started < 5


def test_one_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    Engine(make_settings(tmp_path)).stop()


def test_a_browser_that_never_comes_up_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: PaperBrowser) -> None:
        await asyncio.sleep(PATIENCE)

    monkeypatch.setattr(PaperBrowser, "start", start)
    monkeypatch.setattr(module, "START_TIME", 0.2)
    with pytest.raises(ConfigurationError) as caught:
        engine.start()
    assert "did not start" in caught.value.message


class TestSafeUser:
    @pytest.mark.parametrize(
        ("uid", "allow", "safe"), [(0, "false", False), (0, "true", True), (1000, "false", True)]
    )
    def test_root_has_to_be_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, allow: str, safe: bool
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: uid)
        settings = make_settings(tmp_path, allow_root=allow)
        if safe:
            require_safe_user(settings)
        else:
            with pytest.raises(ConfigurationError) as caught:
                require_safe_user(settings)
            assert "linkpeek.allow_root" in caught.value.message

    @pytest.mark.parametrize(("uid", "sandbox"), [(0, False), (1000, True)])
    def test_only_root_goes_without_the_sandbox(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, uid: int, sandbox: bool
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: uid)
        engine.start()
        assert PaperBrowser.made.sandbox is sandbox


class Stop(Exception):
    """What a signal's handler raises."""


def test_stop_signal_that_another_thread_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel chooses the thread; Python's handler runs in the main one, which must be awake for it."""

    def stop(*_: object) -> None:
        raise Stop

    async def start(browser: PaperBrowser) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(PATIENCE)

    monkeypatch.setattr(PaperBrowser, "start", start)
    engine = Engine(make_settings(tmp_path, allow_root="true"))
    before = signal.signal(signal.SIGUSR1, stop)
    engine._thread.start()  # with no signal blocked, as opposed to this one
    monkeypatch.setattr(engine._thread, "start", lambda: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        since = time.monotonic()
        with pytest.raises(Stop):
            engine.start()
        assert time.monotonic() - since < PATIENCE / 2
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, before)
        engine.stop()
