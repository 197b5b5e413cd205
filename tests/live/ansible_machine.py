"""A machine that deploy/ansible builds: the plays, what is there before and after, and how it runs.

No init runs in it. While it is booted, a few lines stand in for systemctl: they start what a unit
says as the user it says, and again when that ends. So what is tried is the playbook's own doing.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.live.debian_root import DebianRoot

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = "/usr/src/linkpeek"
#: The next version, as a source archive.
NEXT_SOURCE = "/usr/src/linkpeek-99.0.tar.gz"
#: What each page of the next version has in it.
NEXT_SAYS = "<!-- the next version -->"
ROOT = "/opt/pictures"
WEB = f"{ROOT}/web"
INI = f"{WEB}/linkpeek/production.ini"
UNITS = "etc/systemd/system"

#: What a release is made of, and what makes it.
_CHECKOUT = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGES.md", "SECURITY.md", "LICENSE")
_CHECKOUT += ("constraints.txt", "development.ini", "production.ini", "linkpeek", "deploy")

#: A page of this machine may be captured only when that is said.
SETTINGS = {"linkpeek.egress_allow": "127.0.0.0/8", "linkpeek.egress_ports": "*"}
#: The short file that an operator edits.
_VARIABLES = f"""
linkpeek_server_name: linkpeek.example.com
linkpeek_root: {ROOT}
linkpeek_settings: {json.dumps(SETTINGS)}
"""

_SYSTEMCTL = """#!/bin/sh
verb=$1; shift
[ "$1" != --quiet ] || shift
unit=/etc/systemd/system/$1 state=/run/$1
said() { sed -n "s/^$1=//p" "$unit"; }
case "$verb $unit" in
    is-active*) [ -e "$state" ] ;;
    start*.timer) touch "$state" ;;
    start*)
        setsid sh -c '
            echo $$ > "$0"
            while :; do
                env -i PATH=/usr/bin:/bin setpriv --reuid "$1" --regid "$1" --clear-groups $2 &
                echo $! > "$0.main"
                wait $!
                sleep 1
            done' "$state" "$(said User)" "$(said ExecStart)" </dev/null >/dev/null 2>&1 &
        until [ -s "$state.main" ]; do sleep 0.05; done ;;
    stop*)
        [ -e "$state" ] || exit 0
        kill -KILL "$(cat "$state")"
        main=$(cat "$state.main")
        rm "$state" "$state.main"
        kill "$main" || exit 0
        for _ in $(seq 100); do kill -0 "$main" || exit 0; sleep 0.1; done
        kill -KILL "$main" ;;
esac 2>/dev/null
"""


@dataclass(frozen=True)
class Play:
    """What a run of Ansible came to."""

    returncode: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, or would."""
        (number,) = re.findall(r"^localhost .* changed=(\d+) ", self.output, re.M)
        return int(number)


class Machine:
    """The machine, with a checkout of LinkPeek and an archive of the next version."""

    def __init__(self, root: DebianRoot) -> None:
        self.root = root
        _copy_checkout(root.path(SOURCE))
        _make_next(root.path(SOURCE), root.path(NEXT_SOURCE))
        self._init: psutil.Process | None = None

    def play(self, *words: str, playbook: str = "site.yml") -> Play:
        """Run the one command in it."""
        command = ["sh", f"{SOURCE}/deploy/ansible/build-server", *words]
        done = self.attempt("env", f"PLAYBOOK={playbook}", *command)
        print(done.stdout)
        return Play(done.returncode, done.stdout)

    def attempt(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in it: among what runs there, when it is booted."""
        if self._init is None:
            return self.root.attempt(*command)
        enter = ["nsenter", f"--target={self._init.pid}", "--mount", "--pid", "--uts", "--ipc", *command]
        return subprocess.run(
            enter,
            env=self.root.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
            check=False,
        )

    def run(self, *command: str) -> str:
        """Run a command in it and give what it says; it must succeed."""
        done = self.attempt(*command)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def linkpeek(self, *arguments: str) -> str:
        """Run a ``linkpeek`` command as the service's user."""
        return self.run(*as_user(f"{WEB}/env/bin/linkpeek", *arguments))

    def link(self, name: str) -> str:
        """Give the release that a link in web/ names."""
        return Path(os.readlink(self.root.path(f"{WEB}/{name}"))).name

    def masters(self) -> list[int]:
        """List uWSGI's masters."""
        assert self._init is not None
        found = [one for one in self._init.children(recursive=True) if one.name() == "uwsgi"]
        return sorted(one.pid for one in found if one.parent() not in found)

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Have it run, in the caller's network, with the double of systemctl and with Nginx."""
        systemctl = self.root.path("/usr/local/bin/systemctl")
        systemctl.write_text(_SYSTEMCTL)
        systemctl.chmod(0o755)
        boot = "mkdir -p /run/systemd/system; nginx; echo booted; while :; do sleep 3600 & wait $!; done"
        command = self.root.command(["sh", "-euc", boot])
        with subprocess.Popen(command, env=self.root.environment(), stdout=subprocess.PIPE) as outer:
            try:
                assert outer.stdout is not None
                assert outer.stdout.readline() == b"booted\n"
                (self._init,) = psutil.Process(outer.pid).children()
                yield
            finally:
                # All that runs in it ends with its first process.
                if self._init is not None:
                    self._init.kill()
                outer.kill()
                self._init = None


def _copy_checkout(target: Path) -> None:
    target.mkdir(parents=True)
    for name in _CHECKOUT:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    (target / "deploy/ansible/vars.yml").write_text(_VARIABLES)


def _make_next(checkout: Path, archive: Path) -> None:
    with TemporaryDirectory() as folder:
        following = Path(folder, archive.name.removesuffix(".tar.gz"))
        shutil.copytree(checkout, following)
        _change(following)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(following, following.name)


def _change(checkout: Path) -> None:
    """Make another version of a checkout: its pages say more, and the database has one table more."""
    setup = checkout / "setup.py"
    setup.write_text(re.sub(r'version="[^"]+"', 'version="99.0"', setup.read_text()))
    layout = checkout / "linkpeek/templates/layout.jinja2"
    layout.write_text(layout.read_text() + f"\n{NEXT_SAYS}\n")
    versions = checkout / "linkpeek/migrations/versions"
    last = max(versions.glob("0*.py")).read_text()
    (revision,) = re.findall(r'^revision(?:: str)? = "(.+)"$', last, re.M)
    (versions / "9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f'revision = "9999"\ndown_revision = "{revision}"\nbranch_labels = None\ndepends_on = None\n\n\n'
        'def upgrade():\n    op.create_table("next", sa.Column("id", sa.Integer, primary_key=True))\n'
    )


def as_user(*command: str) -> list[str]:
    """Give what runs a command as the service's user."""
    return ["setpriv", "--reuid=linkpeek", "--regid=linkpeek", "--clear-groups", *command]


def picture(root: DebianRoot) -> dict[str, tuple[int, ...]]:
    """Tell apart what is in it, by modes, owners, sizes and times: all but releases, which are made aside."""
    found = {}
    for top in ("etc", "opt", "srv", "usr", "var/lib", "var/backups"):
        for folder, folders, files in os.walk(root.path(top)):
            # What apt and Python keep to be quicker.
            folders[:] = [name for name in folders if name not in ("__pycache__", "lists", "releases")]
            for path in (Path(folder, name) for name in (*folders, *files)):
                stat = path.lstat()
                times = (0, 0) if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
                found[str(path)] = (stat.st_mode, stat.st_uid, stat.st_gid, *times)
    return found
