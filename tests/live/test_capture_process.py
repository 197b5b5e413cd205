"""The browser as a process: it replaces itself, dies with its owner, and leaves nothing behind."""

import asyncio
import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from linkpeek.capture import Browser, Capture, find_executable, process
from linkpeek.capture.fleet import Fleet
from linkpeek.capture.process import Chromium
from linkpeek.capture.stage import SET_UP_TIMEOUT, Stage
from linkpeek.errors import CaptureError, Unavailable
from tests.live.capturing import (
    IS_ROOT,
    SLACK,
    Loop,
    Outcome,
    egress,
    eventually,
    family,
    outcome_of,
    request,
    running_browser,
    throw_away_folders,
)
from tests.live.processes import alive, command_line, cpu_time, kill, said_of
from tests.live.site import Site

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The browsers' folders go where the test can see them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_left(loop: Loop, site: Site, temp_folder: Path) -> None:
    with running_browser(loop) as browser:
        loop.run(browser.capture(request(site.url("/static"))))
        processes = family(browser)
        assert len(processes) > 3
        assert len(throw_away_folders(temp_folder)) == 1

    assert alive(processes) == []
    assert throw_away_folders(temp_folder) == []


def test_is_recycled_without_failing_anyone(loop: Loop, site: Site, temp_folder: Path) -> None:
    with running_browser(loop, recycle_after=3) as browser:
        seen = set()

        async def one(n: int) -> Outcome:
            seen.update(browser.pids)
            return (await outcome_of(browser, request(site.url(f"/slow?s={n % 3 / 5}"))))[0]

        async def several() -> list[Outcome]:
            return await asyncio.gather(*map(one, range(4)))

        for _ in range(3):
            assert all(isinstance(outcome, Capture) for outcome in loop.run(several()))
            seen.update(browser.pids)
        assert len(seen) >= 3
        assert eventually(lambda: len(throw_away_folders(temp_folder)) == 1)
        assert eventually(lambda: sum(psutil.pid_exists(pid) for pid in seen) == 1)


def test_killed_browser_comes_back(loop: Loop, site: Site) -> None:
    with running_browser(loop) as browser:
        first, before = browser.pids[0], site.hits["/slow"]

        async def kill_it() -> list[Outcome]:
            wanted = request(site.url("/slow?s=5"), limit=60)
            running = [asyncio.create_task(outcome_of(browser, wanted)) for _ in range(3)]
            assert await asyncio.to_thread(eventually, lambda: site.hits["/slow"] == before + 3)
            os.kill(first, signal.SIGKILL)
            return [outcome for outcome, _ in await asyncio.gather(*running)]

        outcomes = loop.run(kill_it(), 120)

        assert [getattr(outcome, "title", outcome) for outcome in outcomes] == ["Slow"] * 3
        assert site.hits["/slow"] == before + 6, "each was captured anew"
        assert eventually(lambda: browser.pids not in ([], [first])), "it comes back by itself"
        assert loop.run(browser.capture(request(site.url("/static")))).title == "A static page"


def test_page_that_dies_while_it_is_set_up_keeps_nobody_waiting(
    loop: Loop, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up = Stage._set_up
    deaths: list[psutil.Process] = []

    async def set_up_dead(stage: Stage, identity: dict[str, Any]) -> None:
        if not deaths:
            assert await asyncio.to_thread(eventually, lambda: family(browser, "--type=renderer"))
            deaths.extend(family(browser, "--type=renderer"))
            kill(deaths)
            assert await asyncio.to_thread(eventually, lambda: not alive(deaths))
        await set_up(stage, identity)

    with running_browser(loop, ready=0) as browser:
        first = browser.pids
        monkeypatch.setattr(Stage, "_set_up", set_up_dead)
        outcome, seconds = loop.run(outcome_of(browser, request(site.url("/static"), limit=60)), 90)

        assert deaths
        assert isinstance(outcome, Capture), outcome
        assert outcome.title == "A static page"
        assert seconds < SET_UP_TIMEOUT
        assert browser.pids == first, "it is not the browser's fault"


@pytest.mark.parametrize("kind", ["gpu-process", "utility"])
def test_killed_helper_processes_are_survived(loop: Loop, site: Site, kind: str) -> None:
    with running_browser(loop) as browser:
        kill(family(browser, f"--type={kind}"))
        outcome, _ = loop.run(outcome_of(browser, request(site.url("/static"), limit=10)))
        assert isinstance(outcome, Capture) or not outcome.lasting
        assert loop.run(browser.capture(request(site.url("/static")))).title == "A static page"


def test_frozen_browser_is_replaced(loop: Loop, site: Site) -> None:
    with running_browser(loop) as browser:
        first = browser.pids[0]
        os.kill(first, signal.SIGSTOP)
        outcome, seconds = loop.run(outcome_of(browser, request(site.url("/static"), limit=3)))
        assert isinstance(outcome, CaptureError)
        assert not outcome.lasting
        assert seconds < 3 + SLACK
        assert loop.run(browser.capture(request(site.url("/static"), limit=20))).title == "A static page"
        assert eventually(lambda: not psutil.pid_exists(first))


OWNER = """
    import asyncio, concurrent.futures.thread, encodings.idna, os, pwd, sys
    sys.path.insert(0, {root!r})
    from tests.live.capturing import *

    async def main():
        browser = Browser(find_executable(), egress=egress(), sandbox={sandbox!r})
        await browser.start()
        print(browser.pids[0], flush=True)
        tasks = [asyncio.create_task(outcome_of(browser, request(uri, limit=60))) for uri in sys.argv[1:]]
        for task in asyncio.as_completed(tasks):
            outcome, _ = await task
            print(getattr(outcome, "title", outcome), flush=True)
        await browser.close()

    Image.preinit()
    if {user!r}:
        who = pwd.getpwnam({user!r})
        os.setgroups([])
        os.setresgid(who.pw_gid, who.pw_gid, who.pw_gid)
        os.setresuid(who.pw_uid, who.pw_uid, who.pw_uid)
    asyncio.run(main())
"""


def start_owner(folder: Path, uris: list[str], *, user: str = "") -> "subprocess.Popen[str]":
    """A process that owns a browser, as a worker does: prints its pid, then titles.

    It becomes the user only after its imports: the interpreter may be root's own.
    """
    script = textwrap.dedent(OWNER).format(root=str(ROOT), sandbox=bool(user) or not IS_ROOT, user=user)
    return subprocess.Popen(
        [sys.executable, "-c", script, *uris],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "HOME": str(folder)},
    )


def busy_renderers(pid: int) -> list[psutil.Process]:
    return [p for p in alive(family(pid, "--type=renderer")) if cpu_time(p) > 0.3]


def test_owner_killed_with_9_takes_all_along(site: Site, tmp_path: Path) -> None:
    busy = [site.url("/endless-parse"), site.url("/endless-load"), site.url("/never")]
    with start_owner(tmp_path, busy) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert eventually(lambda: len(busy_renderers(pid)) >= 2), "the scripts are at work"
        processes = family(pid)
        owner.kill()

    assert eventually(lambda: alive(processes) == [], 10), alive(processes)
    assert len(throw_away_folders(tmp_path)) == 1, "nobody was left to remove it"


def test_next_start_ends_what_never_noticed_that_its_owner_died(
    loop: Loop, site: Site, temp_folder: Path
) -> None:
    with start_owner(temp_folder, [site.url("/never")]) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert eventually(lambda: family(pid, "--type=gpu-process"))
        processes = family(pid)
        (stopped,) = family(pid, "--type=gpu-process")
        stopped.send_signal(signal.SIGSTOP)
        owner.kill()
    assert eventually(lambda: alive(processes) == [stopped], 10), alive(processes)

    with running_browser(loop):
        assert eventually(lambda: alive(processes) == [], 10)
        assert len(throw_away_folders(temp_folder)) == 1


def test_next_start_removes_what_the_dead_left(loop: Loop, temp_folder: Path) -> None:
    stale = temp_folder / "linkpeek-browser-stale"
    (stale / "Default").mkdir(parents=True)

    with running_browser(loop):
        assert not stale.exists()
        assert len(throw_away_folders(temp_folder)) == 1


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A folder of user nobody; pytest's own are within one that is closed to others."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    who = pwd.getpwnam("nobody")
    os.chown(folder, who.pw_uid, who.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not IS_ROOT, reason="all other tests are run with the sandbox then")
def test_sandbox_is_on_for_an_ordinary_user(site: Site, nobodys_folder: Path) -> None:
    with start_owner(nobodys_folder, [site.url("/static"), site.url("/slow?s=2")], user="nobody") as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())

        def shut_in() -> bool:
            return any("Seccomp:\t2" in said_of(p, "status") for p in family(pid, "--type=renderer"))

        assert eventually(shut_in), "one that has only just begun is not yet"
        commands = [command_line(p) for p in family(pid)]
        titles = {owner.stdout.readline().strip() for _ in range(2)}

    assert titles == {"A static page", "Slow"}
    assert not any("--no-sandbox" in command for command in commands)
    assert throw_away_folders(nobodys_folder) == []


def test_browser_that_does_not_start_says_why(loop: Loop, tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho 'no display, no luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    browser = Browser(broken, egress=egress())

    with pytest.raises(Unavailable, match="no luck"):
        loop.run(start(browser))
    assert throw_away_folders(tmp_path) == []


async def start(browser: Browser) -> None:
    await browser.start()


def test_start_that_is_given_up_leaves_nothing(loop: Loop, temp_folder: Path) -> None:
    """By a stop signal or a time limit, at whatever moment."""

    async def give_up(steps: int) -> None:
        starting = asyncio.create_task(Chromium.start(find_executable(), sandbox=not IS_ROOT))
        for _ in range(steps):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    loop.run(asyncio.to_thread(lambda: None))
    before = descriptors(), psutil.Process().children()
    for steps in range(8):
        loop.run(give_up(steps))
        assert throw_away_folders(temp_folder) == []
        # Those of the site may become fewer: earlier browsers' connections.
        assert eventually(lambda: descriptors() <= before[0] and psutil.Process().children() == before[1])


def test_closing_that_is_given_up_goes_on(loop: Loop, temp_folder: Path) -> None:
    async def give_up() -> list[psutil.Process]:
        chromium = await Chromium.start(find_executable(), sandbox=not IS_ROOT)
        processes = family(chromium.pid)
        closing = asyncio.create_task(chromium.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        return processes

    processes = loop.run(give_up())
    assert eventually(lambda: not alive(processes) and not throw_away_folders(temp_folder))


def test_a_disk_that_is_full_leaves_nothing(
    loop: Loop, temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(process, "note_session", full)
    with pytest.raises(Unavailable, match=r"does not start: .*No space left"):
        loop.run(Chromium.start(find_executable(), sandbox=not IS_ROOT))
    assert throw_away_folders(temp_folder) == []


def test_retired_browser_goes_with_the_rest(loop: Loop, site: Site, temp_folder: Path) -> None:
    """One that is at its last capture while the next takes the new ones."""

    async def stop_between() -> list[psutil.Process]:
        browser = Browser(find_executable(), egress=egress(), sandbox=not IS_ROOT, recycle_after=1)
        captures = [
            asyncio.create_task(outcome_of(browser, request(site.url("/never"), limit=30))) for _ in range(2)
        ]
        assert await asyncio.to_thread(eventually, lambda: site.hits["/never"] == before + 2)
        processes = psutil.Process().children(recursive=True)
        assert len(throw_away_folders(temp_folder)) == 2
        await browser.close()
        assert all(isinstance(outcome, CaptureError) for outcome, _ in await asyncio.gather(*captures))
        return processes

    before = site.hits["/never"]
    assert alive(loop.run(stop_between())) == []
    assert throw_away_folders(temp_folder) == []


def test_closing_waits_for_no_start_that_has_not_begun(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, begun, begin = [], asyncio.Event(), Chromium.start

    async def counted(*args: Any, **options: Any) -> Chromium:
        starts.append(args)
        begun.set()
        return await begin(*args, **options)

    async def close_at_once() -> list[object]:
        fleet = Fleet(find_executable(), egress(), sandbox=not IS_ROOT, recycle_after=9, ready=0)
        captures = [asyncio.create_task(fleet.lone_stage()) for _ in range(4)]
        await begun.wait()
        await fleet.close()
        return await asyncio.gather(*captures, return_exceptions=True)

    monkeypatch.setattr(Chromium, "start", counted)
    outcomes = loop.run(close_at_once())

    assert all(isinstance(outcome, CaptureError | Unavailable) for outcome in outcomes), outcomes
    assert len(starts) == 1


def descriptors() -> int:
    return psutil.Process().num_fds()


def test_no_room_for_a_browser_is_told_and_passes(
    loop: Loop, site: Site, temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_browser(loop) as browser:
        with monkeypatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(temp_folder / "missing"))
            (first,) = browser.pids
            os.kill(first, signal.SIGKILL)
            assert eventually(lambda: not psutil.pid_exists(first))
            with pytest.raises(Unavailable) as caught:
                loop.run(browser.capture(request(site.url("/static"))))
        assert caught.value.code == "browser-unavailable"
        assert "missing" not in caught.value.message, "what clients are told says nothing of the machine"
        assert loop.run(browser.capture(request(site.url("/static")))).title == "A static page"


def test_limits_are_on_every_process(loop: Loop, site: Site) -> None:
    with running_browser(loop) as browser:
        loop.run(browser.capture(request(site.url("/static"))))
        limits = [said_of(p, "limits") for p in family(browser)]

    assert len(limits) > 3
    for text in filter(None, limits):
        values = {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}
        assert values["Max core file size"] == "0"
        assert values["Max data size"] != "unlimited"
        assert values["Max file size"] != "unlimited"


def test_secrets_of_the_environment_stay_out(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "sesame")

    with running_browser(loop) as browser:
        assert b"sesame" not in Path(f"/proc/{browser.pids[0]}/environ").read_bytes()
