"""What the kernel tells of the processes that run; see proc(5)."""

import os
from pathlib import Path

#: Units of processor time in a second.
TICKS = os.sysconf("SC_CLK_TCK")


def pids() -> list[int]:
    """List all processes, those that have ended and wait to be reaped among them."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[bytes]:
    """Give what follows the name in /proc/PID/stat, which is of any bytes.

    :raises OSError: it has ended.
    """
    return Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()


def group_of(pid: int) -> int | None:
    """Give a living process's group; None where it has ended."""
    try:
        state, _, group = _stat(pid)[:3]
    except OSError:
        return None
    return None if state in b"ZX" else int(group)


def command_of(pid: int) -> bytes:
    """Give a process's command line, as it was or as it writes it now; empty where it has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def member_with(words: bytes, group: int) -> int | None:
    """Give a living process of a group that has these words in its command line; None where there is none."""
    members = (pid for pid in pids() if group_of(pid) == group)
    return next((pid for pid in members if words in command_of(pid)), None)


def processor_seconds(pid: int) -> float:
    """Give the processor time that a process has used, all its threads together; 0 where it has ended."""
    try:
        user, system = _stat(pid)[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / TICKS
