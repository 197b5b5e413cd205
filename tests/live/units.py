"""Unit files of systemd, as they are read there, and what systemd says of them. None is started."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"
#: What the units say instead of a real folder.
ROOT_IN_UNIT = "/path/to/linkpeek"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0"}


@dataclass(frozen=True)
class Directive:
    """One line that says something, and the comment above it or above the lines of its name before it."""

    name: str
    value: str
    comment: str


class Unit:
    """One unit of deploy/systemd."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (FOLDER / name).read_text()
        self.directives = _read(self.text)

    def all(self, name: str) -> list[str]:
        """Give the values of a directive, one for each line."""
        return [one.value for one in self.directives if one.name == name]

    def one(self, name: str) -> str:
        """Give the value of a directive that is there once."""
        (value,) = self.all(name)
        return value

    def left_open(self) -> list[Directive]:
        """Give the lines of the part that says what is left open."""
        return _read(self.text.partition("# ---- what is left open")[2].partition("\n[")[0])

    def system_calls(self) -> list[str]:
        """Give the system calls that the lines, one after the other, leave (systemd.exec(5))."""
        allowed: set[str] = set()
        for value in self.all("SystemCallFilter"):
            named = {call for word in value.lstrip("~").split() for call in _calls(word)}
            allowed = allowed - named if value.startswith("~") else allowed | named
        return sorted(allowed)

    def confinement(self, root: Path) -> dict[str, object]:
        """Give what ``confine`` takes: the restrictions of the service of a tree."""

        def paths(name: str) -> list[str]:
            return " ".join(self.all(name)).replace(ROOT_IN_UNIT, str(root)).split()

        return {
            "writable": paths("ReadWritePaths"),
            # All is, by ProtectSystem; but a test's tree lies in /tmp, which is writable.
            "read_only": [str(root), *paths("ReadOnlyPaths")],
            "namespaces": self.one("RestrictNamespaces").split(),
            "families": self.one("RestrictAddressFamilies").split(),
            "system_calls": self.system_calls(),
            "umask": int(self.one("UMask"), 8),
            "files": int(self.one("LimitNOFILE")),
        }


def _read(text: str) -> list[Directive]:
    found: list[Directive] = []
    comment = ""
    for line in text.splitlines():
        if line.startswith("#"):
            comment += line
        elif "=" in line:
            name, _, value = line.partition("=")
            same = found[-1].comment if found and found[-1].name == name else ""
            found.append(Directive(name, value, comment or same))
            comment = ""
    return found


@cache
def _calls(word: str) -> frozenset[str]:
    """Give the system calls that a word of SystemCallFilter means."""
    if not word.startswith("@"):
        return frozenset({word})
    lines = [line.strip() for line in analyze("syscall-filter", word).splitlines()]
    named = [line for line in lines if line and not line.startswith("#") and line != word]
    return frozenset(call for name in named for call in _calls(name))


def analyze(*words: str) -> str:
    """Run systemd-analyze, which needs no systemd, and give everything that it says.

    :raises CalledProcessError: it is not content.
    """
    command = ["systemd-analyze", *words]
    how = {"check": True, "text": True, "timeout": 60, "env": _ENVIRONMENT}
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how).stdout  # type: ignore[call-overload,no-any-return]


def exposure(path: Path) -> tuple[float, set[str]]:
    """Ask how exposed a service is: 0 (not at all) to 10, and which directives could be stricter."""
    said = analyze("security", "--no-pager", "--offline=true", str(path))
    overall = said.rpartition("Overall exposure level for ")[2]
    faults = {line.split()[1].partition("=")[0] for line in said.splitlines() if line.startswith("✗")}
    return float(overall.partition(": ")[2].split()[0]), faults
