"""Limits on what the browser, all its processes together, may use.

Where the kernel lets us make a control group (version 2) beside our own, as in a
systemd service with ``Delegate=yes`` or as root in a container, memory and
processes of the whole browser are limited, and killing it leaves nothing out.
Resource limits hold everywhere, for each process on its own.
"""

import contextlib
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

MB = 1024 * 1024

#: For each process. DATA counts private writable memory, not the address space
#: that V8 reserves and never touches; a page that fills it ends, alone. FSIZE also
#: bounds shared memory, in which a picture of 3840 x 16384 pixels takes 252 MB.
LIMITS = {"CORE": 0, "FSIZE": 1024 * MB, "NOFILE": 8192}

#: DATA: half of the machine's memory, but not less or more than these.
LEAST_DATA, MOST_DATA = 1024 * MB, 4096 * MB

#: For the whole browser.
MEMORY_SHARE = 0.75
MAX_TASKS = 4096


class Cage:
    """The limits of one browser; ``path`` is its control group, None where there is none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        data = max(LEAST_DATA, min(MOST_DATA, _memory() // 2))
        self.limits = [f"{name}={value}" for name, value in {**LIMITS, "DATA": data}.items()]

    @classmethod
    def build(cls) -> "Cage":
        """Make a control group if that is possible here."""
        parent = _own_group()
        if parent is None or not os.access(parent, os.W_OK):
            return cls(None)
        _remove_stale(parent)
        path = parent / f"linkpeek-browser-{os.getpid()}-{time.monotonic_ns()}"
        try:
            path.mkdir()
        except OSError:
            return cls(None)
        cage = cls(path)
        cage._limit("memory.max", str(int(_memory() * MEMORY_SHARE)))
        cage._limit("memory.swap.max", "0")
        cage._limit("memory.oom.group", "0")
        cage._limit("pids.max", str(MAX_TASKS))
        return cage

    def inspect(self, pid: int) -> None:
        """Say in the log where a process that was to enter the group (see ``shim``) could not."""
        if self.path is not None and str(pid) not in _lines(self.path / "cgroup.procs"):
            log.warning("the browser is not in its control group %s; nothing limits it as a whole", self.path)

    def kill(self) -> None:
        """Kill every process in the group, however it may have left its process group."""
        self._limit("cgroup.kill", "1")

    @property
    def is_populated(self) -> bool:
        """Whether a process of the group still lives; False where there is no group."""
        if self.path is None:
            return False
        return "populated 1" in _lines(self.path / "cgroup.events")

    def remove(self) -> None:
        """Remove the group; may be repeated."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _limit(self, name: str, value: str) -> None:
        if self.path is None or not (self.path / name).exists():
            return
        try:
            (self.path / name).write_text(value)
        except OSError as exc:
            log.warning("%s of the browser's control group: %s", name, exc)


def _lines(file: Path) -> list[str]:
    """Give the lines of a file; none where it cannot be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _remove_stale(parent: Path) -> None:
    """Remove the empty groups of workers that are no more; a group in use cannot be removed."""
    for path in parent.glob("linkpeek-browser-*-*"):
        if not Path("/proc", path.name.split("-")[2]).exists():
            with contextlib.suppress(OSError):
                path.rmdir()


def _own_group() -> Path | None:
    """Give the folder of this process's control group (version 2)."""
    try:
        # Folders have names of any bytes; see os.fsdecode.
        lines = Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    for words in (line.split() for line in mounts):
        if own is not None and words[words.index("-") + 1] == "cgroup2":
            return Path(words[4], own.removeprefix(words[3]).lstrip("/"))
    return None


def _memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
