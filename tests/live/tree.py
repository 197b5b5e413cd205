"""The tree that the Upstart job expects, built for real: ``web/env`` and ``web/linkpeek``.

As root, everything in it runs as the user linkpeek, as under Upstart. The user
does not have to exist on the machine: it is added to the passwd file that the
service sees, in a mount namespace of its own. There, too, the interpreter of the
tests is made reachable when it lives in somebody's private folder.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
JOB = CHECKOUT / "deploy/upstart/weblinkpeek.conf"
#: What the job says instead of a real folder.
ROOT_IN_JOB = "/path/to/linkpeek"
#: The number of the user linkpeek in a test: nobody's on a usual machine, and no other
#: test session's, for at the end everything that runs under it is killed.
UID = 70_000 + os.getpid() % 20_000

#: The environment of an Upstart job (init(5)).
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "linux"}

_ENTER = """
set -e
if [ -n "$HIDDEN" ]; then
    for folder in $NEEDED; do mkdir -p "$SCRATCH$folder"; mount --bind "$folder" "$SCRATCH$folder"; done
    mount --rbind "$SCRATCH$HIDDEN" "$HIDDEN"
fi
mount --bind "$SCRATCH/passwd" /etc/passwd
mount --bind "$SCRATCH/group" /etc/group
cd /
exec setpriv --reuid linkpeek --regid linkpeek --clear-groups env -i "PATH=$PATH" TERM=linux "$@"
"""


class Tree:
    """A deployed LinkPeek under a folder of its own.

    :ivar web: the folder that the job calls ``/path/to/linkpeek/web``.
    :ivar ini: its production.ini.
    """

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.web = root / "web"
        self.ini = self.web / "linkpeek/production.ini"
        self.log = self.web / "uwsgi.log"
        self._scratch = scratch
        _copy_checkout(self.web / "linkpeek")
        _make_environment(self.web / "env", self.web / "linkpeek")
        if os.geteuid() == 0:
            self._prepare_user()

    def set(self, *lines: str) -> None:
        """Add settings to ``[app:main]`` of this tree's production.ini."""
        text = self.ini.read_text()
        head = "use = egg:linkpeek\n"
        assert head in text
        self.ini.write_text(text.replace(head, head + "".join(f"{line}\n" for line in lines), 1))

    def exec_line(self) -> list[str]:
        """Give the job's command, with nothing replaced but the root folder."""
        (line,) = [line for line in JOB.read_text().splitlines() if line.startswith("exec ")]
        return shlex.split(line.removeprefix("exec ").replace(ROOT_IN_JOB, str(self.root)))

    def linkpeek(self, *arguments: str) -> str:
        """Run a ``linkpeek`` command as the service's user and give what it says."""
        return self.run([str(self.web / "env/bin/linkpeek"), *arguments], check=True).stdout

    def run(self, command: list[str], *, check: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run a command as the service's user until it ends, and give what it says."""
        return subprocess.run(
            self.command(command), check=check, capture_output=True, text=True, timeout=60, **self._how()
        )

    def start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """Start a command as the service's user; its pid is that of the command itself."""
        return subprocess.Popen(self.command(command), **self._how())

    def command(self, command: list[str]) -> list[str]:
        """Give what runs a command as under Upstart: its user, its environment, its folder."""
        if os.geteuid() != 0:
            return command
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", *command]

    def as_root(self, command: list[str]) -> list[str]:
        """Give what runs a command as root where the user linkpeek exists; where not root, the command."""
        if os.geteuid() != 0:
            return command
        enter = (
            f"mount --bind {self._scratch}/passwd /etc/passwd; mount --bind {self._scratch}/group /etc/group"
        )
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            f'{enter}; exec "$@"',
            "sh",
            *command,
        ]

    def _how(self) -> dict[str, object]:
        environment = dict(ENVIRONMENT)
        if os.geteuid() == 0:
            needed = [Path(sys.base_prefix), *(Path(path) for path in _site_packages())]
            hidden = _hidden_folder(needed)
            inside = [str(path) for path in needed if hidden and hidden in path.parents]
            environment |= {
                "SCRATCH": str(self._scratch),
                "HIDDEN": str(hidden or ""),
                "NEEDED": " ".join(inside),
            }
        return {"env": environment, "cwd": "/"}

    def _prepare_user(self) -> None:
        for name, entry in (
            ("passwd", f"linkpeek:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin"),
            ("group", f"linkpeek:x:{UID}:"),
        ):
            lines = [
                line
                for line in Path("/etc", name).read_text().splitlines()
                if not line.startswith("linkpeek:")
            ]
            (self._scratch / name).write_text("\n".join([*lines, entry, ""]))
        for folder, _, files in os.walk(self.root):
            for name in (".", *files):
                os.chown(Path(folder, name), UID, UID, follow_symlinks=False)


@contextmanager
def deployed_tree() -> Iterator[Tree]:
    """Build a tree in a temporary folder that every user can reach."""
    with (
        tempfile.TemporaryDirectory(prefix="linkpeek-root-") as root,
        tempfile.TemporaryDirectory() as scratch,
    ):
        for folder in (root, scratch):
            os.chmod(folder, 0o755)
        yield Tree(Path(root), Path(scratch))


def _copy_checkout(target: Path) -> None:
    """Copy what a clone would have, as it is now."""
    for name in ("linkpeek", "deploy"):
        shutil.copytree(CHECKOUT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "production.ini"):
        shutil.copy2(CHECKOUT / name, target)


def _make_environment(folder: Path, checkout: Path) -> None:
    """Make a virtual environment that has the running one's packages, and this checkout first."""
    venv.EnvBuilder(symlinks=True).create(folder)
    own = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (own / "linkpeek-tree.pth").write_text("\n".join([str(checkout), *_site_packages(), ""]))
    running = Path(sys.executable).parent
    shutil.copy2(running / "uwsgi", folder / "bin")
    script = folder / "bin/linkpeek"
    script.write_text(f"#!{folder}/bin/python\nfrom linkpeek.cli import main\nmain()\n")
    script.chmod(0o755)


def _site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def _hidden_folder(paths: list[Path]) -> Path | None:
    """Find the topmost folder on the way to the paths that other users may not enter."""
    for path in paths:
        for folder in reversed([path, *path.parents]):
            if not folder.stat().st_mode & 0o001:
                return folder
    return None
