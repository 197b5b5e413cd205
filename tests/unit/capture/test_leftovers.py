"""What outlived the leader of a session that was written down, and what only looks like it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from linkpeek.capture.leftovers import NAME, end_session, note_session
from linkpeek.capture.profile import PREFIX, remove_stale
from tests.live.processes import alive, wait_until

#: Leads a session, starts the same program and another one in it, and ends when it is told to.
LEADER = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"], ["sleep", "600"]
for command in sleep:
    print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / f"{PREFIX}left"
    folder.mkdir()
    return folder


@pytest.fixture
def leader() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def children(folder: Path, leader: "subprocess.Popen[str]") -> tuple[psutil.Process, psutil.Process]:
    """One that runs the leader's program, and one that does not; both are stopped."""
    assert leader.stdout is not None
    same, other = (psutil.Process(int(leader.stdout.readline())) for _ in range(2))
    wait_until(lambda: same.exe() != "" and same.exe() == psutil.Process(leader.pid).exe(), 10, "it runs")
    note_session(folder, leader.pid)
    for one in (same, other):
        one.send_signal(signal.SIGSTOP)
    return same, other


def end_leader(leader: "subprocess.Popen[str]") -> None:
    """Kill it. It is not waited for: one that nobody reaps has ended, too."""
    process = psutil.Process(leader.pid)
    leader.kill()
    wait_until(lambda: not alive([process]), 10, "it has ended")


def test_what_never_noticed_is_ended_before_the_folder_goes(
    folder: Path, leader: "subprocess.Popen[str]", children: tuple[psutil.Process, psutil.Process]
) -> None:
    same, other = children
    end_leader(leader)

    assert remove_stale(folder.parent) == 1
    wait_until(lambda: not alive([same]), 10, "what outlived its leader has ended")
    assert alive([other]), "another program may have led a session of that number"


def test_what_has_a_leader_goes_on(
    folder: Path, leader: "subprocess.Popen[str]", children: tuple[psutil.Process, psutil.Process]
) -> None:
    assert end_session(folder) == 0
    assert alive(children) == list(children)


def test_other_sessions_go_on(
    folder: Path, leader: "subprocess.Popen[str]", children: tuple[psutil.Process, psutil.Process]
) -> None:
    end_leader(leader)
    session, program = (folder / NAME).read_text().split(maxsplit=1)
    (folder / NAME).write_text(f"{int(session) + 2**22} {program}")

    assert end_session(folder) == 0
    assert alive(children) == list(children)


@pytest.mark.parametrize("text", [None, "", "1", "x y z", "1 2 3 4", "-1 2 3", "0 0 0"])
def test_what_was_not_written_down_ends_nobody(folder: Path, text: str | None) -> None:
    if text is not None:
        (folder / NAME).write_text(text)
    assert end_session(folder) == 0
