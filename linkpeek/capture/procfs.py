"""What the kernel tells of the processes that run; see proc(5)."""

import os
from pathlib import Path


def pids() -> list[int]:
    """List all processes, those that have ended and wait to be reaped among them."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def group_of(pid: int) -> int | None:
    """Give a living process's group; None where it has ended. See /proc/PID/stat."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    state, _, group = stat.rpartition(")")[2].split()[:3]
    return None if state in "ZX" else int(group)
