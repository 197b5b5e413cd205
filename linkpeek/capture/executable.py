"""Finds the browser."""

import os
import shutil
from pathlib import Path

from linkpeek.errors import ConfigurationError

#: In this order: the headless shell starts faster, needs less memory and carries
#: no extensions, printing or profile code.
NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")

#: Where Debian keeps the program that its shell wrapper in /usr/bin starts. The
#: wrapper does not exec: killing it would leave the browser running.
DIRECTORIES = ("/usr/lib/chromium", "/usr/lib64/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome")

_ELF = b"\x7fELF"


def find_executable(configured: Path | None = None) -> Path:
    """Give the browser's real program file.

    :param configured: what ``linkpeek.chromium`` says, or None to look for one.
    :raises ConfigurationError: when there is none, with what to do.
    """
    if configured is not None:
        return _program(configured)
    for name in NAMES:
        found = shutil.which(name)
        for candidate in [*(Path(d, name) for d in DIRECTORIES), *([Path(found)] if found else [])]:
            if _is_elf(candidate):
                return candidate
    raise ConfigurationError(
        "no Chromium found: install chromium-headless-shell (or chromium), or set linkpeek.chromium"
    )


def _program(path: Path) -> Path:
    """Resolve a wrapper script to the program of the same name that it starts."""
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ConfigurationError(f"linkpeek.chromium = {path}: there is no such program")
    if _is_elf(path):
        return path
    for directory in DIRECTORIES:
        if _is_elf(Path(directory, path.name)):
            return Path(directory, path.name)
    raise ConfigurationError(f"linkpeek.chromium = {path}: this is a script; name the program that it starts")


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == _ELF and os.access(path, os.X_OK)
    except OSError:
        return False
