"""What a figure depends on: the machine, the versions, and which cores who may use."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from linkpeek.capture import find_executable
from linkpeek.errors import ConfigurationError

PACKAGES = [
    "linkpeek",
    "pyramid",
    "SQLAlchemy",
    "uWSGI",
    "waitress",
    "gunicorn",
    "cheroot",
    "Paste",
    "granian",
    "bjoern",
    "celery",
    "Pillow",
    "playwright",
]
PROGRAMS = {
    "nginx": ["nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "node": ["node", "--version"],
    "PostgreSQL": ["psql", "--version"],
}


def describe() -> dict[str, object]:
    """Give the machine and the versions of everything that was measured or measured with."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "browser": _browser(),
        **{name: _first_line(command) for name, command in PROGRAMS.items()},
        **{name: _version(name) for name in PACKAGES},
    }


def load() -> float:
    """Give how busy the machine was in the last minute: figures from above 1 or so are no good."""
    return round(os.getloadavg()[0], 2)


def cores(*numbers: int) -> set[int]:
    """Give those of the first cores that this machine has; all, when it has none of them.

    Servers get 0 and 1, Nginx 2 and the client 3, so that none of them costs another.
    """
    there = sorted(os.sched_getaffinity(0))
    return {there[number] for number in numbers if number < len(there)} or set(there)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    release = Path("/etc/os-release")
    values = dict(line.partition("=")[::2] for line in release.read_text("utf-8").splitlines())
    return values.get("PRETTY_NAME", platform.system()).strip('"')


def _browser() -> str:
    try:
        return _first_line([str(find_executable(None)), "--version"])
    except ConfigurationError:
        return "none"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return (done.stdout.strip().splitlines() or [""])[0]
