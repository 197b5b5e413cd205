"""Processes that outlived their browser, and an end to them.

A browser dies with its owner (see ``shim``), and its processes when they notice that it is
gone. One that is stopped, or hangs, does not notice. So that the next worker finds it, the
browser's session and program are written down in its throw-away folder.
"""

import contextlib
import os
import signal
from pathlib import Path

from linkpeek.capture.procfs import group_of, pids

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
    if group_of(session) is not None:
        return 0
    return sum(_end(pid, session, (device, inode)) for pid in pids())


def _end(pid: int, session: int, program: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):  # it is gone, or another user's
        # By a handle, so that the process that is killed is the one that was looked at.
        process = os.pidfd_open(pid)
        try:
            if os.getsid(pid) == session:
                found = os.stat(f"/proc/{pid}/exe")
                if (found.st_dev, found.st_ino) == program:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    return True
        finally:
            os.close(process)
    return False
