"""Source archive and wheel, made from a copy of the checkout, and an environment with nothing but the wheel.

No network is asked: what the wheel requires is copied from where the tests run,
and only that, so a requirement that is not declared is missing.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from tests.live.tree import CHECKOUT

#: What git leaves alone, and git itself.
_NOT_OURS = (
    "env", "var", "build", "dist", "*.egg-info", "__pycache__", "*.py[cod]",
    ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache",
)  # fmt: skip


@dataclass(frozen=True)
class Built:
    """What ``python -m build`` makes.

    :ivar source: the copy of the checkout that both were made from.
    """

    source: Path
    archive: Path
    wheel: Path

    def source_files(self, folder: str = ".") -> set[str]:
        """Name the files of the copy, or of a folder in it."""
        return _files(self.source, folder)

    def archive_files(self) -> set[str]:
        """Name what is in the source archive, without the folder that all is in."""
        with tarfile.open(self.archive) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}

    def wheel_files(self) -> set[str]:
        """Name what is in the wheel."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}


def build(folder: Path) -> Built:
    """Make the archive from a copy of the checkout, and the wheel from the archive."""
    source, dist = folder / "source", folder / "dist"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(*_NOT_OURS))
    untouched = _files(source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in source.glob("*.egg-info"):
        shutil.rmtree(path)
    assert _files(source) == untouched
    (archive,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    return Built(source, archive, wheel)


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment with a wheel and what it requires; give its folder ``bin``.

    :raises AssertionError: when pip finds a requirement missing or unfit.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin/python"
    site = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for name in sorted(_required(wheel)):
        for file in importlib.metadata.files(name) or ():
            target = site / file
            # Beside modules, only the server: other scripts begin with the path of their interpreter.
            if file.parts[0] != ".." or file.name == "uwsgi":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), target)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    for command in (["install", "--no-deps", "--no-index", str(wheel)], ["check"]):
        done = subprocess.run([*pip, *command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


def _required(wheel: Path) -> set[str]:
    """Name all distributions that a wheel requires, directly or not, without any extra of it."""
    (about,) = importlib.metadata.distributions(path=[str(wheel)])
    left, names = _requirements(about, {""}), set()
    seen: set[str] = set()
    while left:
        requirement = left.pop()
        if str(requirement) not in seen:
            seen.add(str(requirement))
            names.add(requirement.name)
            installed = importlib.metadata.distribution(requirement.name)
            left += _requirements(installed, {"", *requirement.extras})
    return names


def _requirements(distribution: importlib.metadata.Distribution, extras: set[str]) -> list[Requirement]:
    """List what a distribution itself requires on this machine, with some of its extras."""
    requirements = map(Requirement, distribution.requires or ())
    return [
        one
        for one in requirements
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _files(root: Path, folder: str = ".") -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file()}
