"""Processes that outlived their browser, and an end to them.

A browser dies with its owner (see ``shim``), and its processes when they notice that it is
gone. One that is stopped, or hangs, does not notice. So that the next worker finds it, the
browser's session and program are written down in its throw-away folder.
"""

import contextlib
import os
import signal
from pathlib import Path

NAME = "linkpeek-session"


def note_session(folder: Path, browser: int) -> None:
    """Write down a running browser, which leads a session of its own.

    :param browser: its process id.
    :raises OSError: the folder takes no file.
    """
    program = os.stat(f"/proc/{browser}/exe")
    (folder / NAME).write_text(f"{browser} {program.st_dev} {program.st_ino}")


def end_session(folder: Path) -> int:
    """Kill what runs the noted program in the noted session, if its leader is gone; give how many.

    A process's session cannot be that of a later leader: its number is not given again
    for as long as anyone is in it.
    """
    try:
        session, device, inode = map(int, (folder / NAME).read_text().split())
    except (OSError, ValueError):
        return 0
    if _runs(session):
        return 0
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return sum(_end(pid, session, (device, inode)) for pid in pids)


def _end(pid: int, session: int, program: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):  # it is gone, or another user's
        if os.getsid(pid) != session:
            return False
        # By a handle, so that the process that is killed is the one that was looked at.
        process = os.pidfd_open(pid)
        try:
            found = os.stat(f"/proc/{pid}/exe")
            if os.getsid(pid) == session and (found.st_dev, found.st_ino) == program:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                return True
        finally:
            os.close(process)
    return False


def _runs(pid: int) -> bool:
    """Tell whether a process is there and has not ended; see proc(5), /proc/PID/stat."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
