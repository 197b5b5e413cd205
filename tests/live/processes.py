"""Processes: waiting for what shall happen, and finding what shall be gone."""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Call until the answer is true, and give it.

    :raises AssertionError: it was not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return answer


def family(process: psutil.Process) -> list[psutil.Process]:
    """List a process and everything that descends from it."""
    return [process, *process.children(recursive=True)]


def named(processes: Iterable[psutil.Process], word: str) -> list[psutil.Process]:
    """List those whose command line has a word in it."""
    return [one for one in processes if word in command_line(one)]


def users(processes: Iterable[psutil.Process]) -> set[int]:
    """List whose they are, as far as they still run."""
    return {uid for one in processes if _runs(one) and (uid := _uid(one)) is not None}


def command_line(process: psutil.Process) -> str:
    """Give a process's command line; empty when it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def said_of(process: psutil.Process, name: str) -> str:
    """Give a file of /proc that tells of a process; empty when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process.pid}/{name}").read_text()
    return ""


def cpu_time(process: psutil.Process) -> float:
    """Give the seconds that a process has worked; none when it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return sum(process.cpu_times()[:2])
    return 0


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """List those that still run; one that waits to be reaped does not."""
    return [one for one in processes if _runs(one)]


def of_user(uid: int) -> list[psutil.Process]:
    """List what runs as a user, whoever started it."""
    return [one for one in psutil.process_iter() if _runs(one) and _uid(one) == uid]


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill what is left of them."""
    for one in processes:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _uid(process: psutil.Process) -> int | None:
    try:
        return process.uids().real
    except psutil.NoSuchProcess:
        return None
