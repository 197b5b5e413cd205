import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from linkpeek.capture import shim, spawn
from linkpeek.capture.spawn import Spawned
from linkpeek.errors import Unavailable

SHELL = "/bin/sh"


def start(script: str, folder: Path, *limits: str, group: Path | None = None) -> Spawned:
    return spawn.spawn(
        [SHELL, "-c", script], limits=limits, environment={"PATH": os.defpath}, folder=folder, group=group
    )


def finish(spawned: Spawned) -> str:
    """Wait for the end and give what was answered."""
    os.close(spawned.commands)
    with os.fdopen(spawned.answers) as answers, os.fdopen(spawned.errors) as errors:
        said = answers.read() + errors.read()
    spawned.process.wait(10)
    return said


def test_pipes_are_3_and_4_and_nothing_else_is_open(tmp_path: Path) -> None:
    spawned = start("read line <&3; echo got $line >&4; ls /proc/self/fd >&4", tmp_path)
    os.write(spawned.commands, b"hello\n")
    first, *fds = finish(spawned).split("\n")

    assert first == "got hello"
    assert {int(fd) for fd in fds if fd} <= {0, 1, 2, 3, 4, 5}  # 5: the folder that ls reads


def test_limits_are_set(tmp_path: Path) -> None:
    spawned = start("(ulimit -c; ulimit -n) >&4", tmp_path, "CORE=0", "NOFILE=123")

    assert finish(spawned).split() == ["0", "123"]


def test_limit_is_never_above_what_we_may(tmp_path: Path) -> None:
    code = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (100, 100))"
    code += "; from linkpeek.capture import shim; shim._limit(r.RLIMIT_NOFILE, 999)"
    code += "; print(r.getrlimit(r.RLIMIT_NOFILE))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "(100, 100)"


def test_has_entered_its_group_when_it_begins(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    spawned = start("cat cgroup.procs >&4; echo ' '$$ >&4", tmp_path, group=tmp_path)
    entered, own = finish(spawned).split()

    assert entered == own


@pytest.mark.parametrize("group", [None, Path("/nonexistent")])
def test_a_group_that_cannot_be_entered_is_left_out(tmp_path: Path, group: Path | None) -> None:
    assert finish(start("ls >&4; echo ran >&4", tmp_path, group=group)) == "ran\n"


def test_waits_for_its_turns(tmp_path: Path) -> None:
    spawned = start("echo ready >&4; read line <&3", tmp_path)

    assert os.read(spawned.answers, 10) == b"ready\n"
    assert os.sched_getscheduler(spawned.process.pid) == os.SCHED_BATCH
    finish(spawned)


def test_where_that_is_forbidden_it_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    shim._wait_for_turns()


def test_leads_a_session_of_its_own_in_its_folder(tmp_path: Path) -> None:
    spawned = start("pwd >&4; read line <&3", tmp_path)

    assert os.getsid(spawned.process.pid) == os.getpgid(spawned.process.pid) == spawned.process.pid
    assert finish(spawned).strip() == str(tmp_path)


def test_ends_with_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Spawned] = []
    go_on = threading.Event()

    def owner() -> None:
        started.append(start("echo ready >&4; exec sleep 100", tmp_path))
        go_on.wait(10)

    thread = threading.Thread(target=owner)
    thread.start()
    while not started:
        time.sleep(0.01)
    assert os.read(started[0].answers, 10) == b"ready\n"
    assert started[0].process.poll() is None
    go_on.set()
    thread.join()

    assert started[0].process.wait(10) == -signal.SIGKILL
    finish(started[0])


def test_orphan_does_not_even_begin() -> None:
    arguments = [sys.executable, "-I", "-S", shim.__file__, "1", "3", "4", "", "--", SHELL]

    assert subprocess.run(arguments, check=False).returncode == 125


def test_no_folder_is_unavailable_and_leaves_nothing_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(Unavailable, match="does not start"):
        start("true", tmp_path / "missing")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("made", [0, 1, 2])
def test_no_pipes_is_unavailable_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    pipe, pipes = os.pipe, []

    def scarce() -> tuple[int, int]:
        if len(pipes) == made:
            raise OSError(errno.EMFILE, "Too many open files")
        pipes.append(pipe())
        return pipes[-1]

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "pipe", scarce)

    with pytest.raises(Unavailable, match="Too many open files"):
        start("true", tmp_path)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("program", ["/usr/bin/uwsgi", "", None])
def test_interpreter_inside_another_program(monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    monkeypatch.setattr(sys, "executable", program)

    assert os.access(spawn.python(), os.X_OK)
    assert "python" in os.path.basename(spawn.python())
