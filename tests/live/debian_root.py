"""A bare Debian in a folder, entered with namespaces of its own: a machine to install things on.

What runs in it sees its own processes, mounts, host name, /tmp and /run, and nothing of this
machine's but devices that hold nothing and, on request, folders that are named. Where pip and
apt get their packages from is taken from this machine, whatever that is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

CODENAME = "bookworm"

_ENTER = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
mkdir -m 1777 dev/shm
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
ln -s /proc/self/fd dev/fd
hostname bare
for folder in $BOUND; do mkdir -p "./$folder"; mount --bind "$folder" "./$folder"; done
unset BOUND
pivot_root . .
umount -l .
cd /
exec "$@"
"""

#: Where Debian keeps the certificates that are believed.
_BELIEVED = Path("/etc/ssl/certs/ca-certificates.crt")

#: Mounts and processes that this machine does not see, and that end with their first process.
_APART = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DebianRoot:
    """The machine.

    :ivar folder: its root folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bound: list[str] = []
        self._environment = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"}

    def path(self, inside: str) -> Path:
        """Give the place, on this machine, of a path in that one."""
        return self.folder / inside.lstrip("/")

    def command(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command as root in it; all that it starts ends with it."""
        return [*_APART, "--uts", "--ipc", "sh", "-c", _ENTER, "sh", str(self.folder), *command]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give the environment for what ``command`` gives."""
        return {**self._environment, "BOUND": " ".join(self._bound), **(more or {})}

    def run(self, *command: str, seconds: float = 800, **environment: str) -> str:
        """Run a command as root in it, and give what it says.

        :raises AssertionError: it fails; with everything that it said.
        """
        done = self.attempt(*command, seconds=seconds, **environment)
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def attempt(
        self, *command: str, seconds: float = 800, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as root in it; standard error is in its output."""
        return subprocess.run(
            self.command(command),
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def fetch_as_here(self) -> None:
        """Let apt and pip in it get packages from where this machine gets them."""
        # Where this machine has none (or has never looked), what debootstrap wrote stays.
        if sources := [f"deb {uri} {suite} main" for uri, suite in _debian_sources()]:
            self.path("etc/apt/sources.list").write_text("\n".join([*sources, ""]))
        shutil.copy("/etc/resolv.conf", self.path("etc"))
        # It will never lose its power.
        self.path("etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")
        # A package that this machine has fetched need not be fetched again.
        for package in Path("/var/cache/apt/archives").glob("*.deb"):
            _link(package, self.path("var/cache/apt/archives"))
        names = [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]
        self._environment |= {name: os.environ[name] for name in names}
        # The certificates that are believed here; that machine's own file is its packages' to make.
        if _BELIEVED.exists():
            shutil.copy(_BELIEVED, self.path("etc/ssl-believed.pem"))
            self._environment["PIP_CERT"] = "/etc/ssl-believed.pem"
        self._share_with_pip()

    def _share_with_pip(self) -> None:
        settings = [line.partition("=")[::2] for line in _pip("config", "list").splitlines()]
        configured = {name.rpartition(".")[2].strip("'"): value.strip("'") for name, value in settings}
        for name in ("index-url", "extra-index-url", "find-links"):
            if name in configured:
                self._environment["PIP_" + name.upper().replace("-", "_")] = configured[name].replace(
                    "\\n", " "
                )
        words = " ".join(self._environment.values()).replace("file://", "").split()
        folders = {Path(word) for word in words if word.startswith("/") and Path(word).is_dir()}
        # An index names its files beside itself.
        folders = {folder.parent if folder.name == "simple" else folder for folder in folders}
        # With the cache, uWSGI is compiled once, and not for each machine.
        cache = Path(_pip("cache", "dir").strip())
        cache.mkdir(parents=True, exist_ok=True)
        self._environment["PIP_CACHE_DIR"] = str(cache)
        self._bound = sorted(str(folder) for folder in {*folders - {Path("/root")}, cache})


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _link(file: Path, folder: Path) -> None:
    try:
        os.link(file, folder / file.name)
    except OSError:
        shutil.copy(file, folder)


def _debian_sources() -> list[tuple[str, str]]:
    """List the addresses and suites of Debian's own packages that this machine uses."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(ORIGIN)",
        "Created-By: Packages",
    ]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [line.split() for line in lines if line.endswith(" Debian")]
    suites = {(uri, suite) for uri, suite, _ in found if suite.startswith(CODENAME)}
    return sorted(suites)


@contextmanager
def bare_debian() -> Iterator[DebianRoot]:
    """Make one, with no more than apt in it, and remove it in the end."""
    sources = [uri for uri, suite in _debian_sources() if suite == CODENAME]
    with TemporaryDirectory(prefix="linkpeek-debian-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        command = ["debootstrap", "--variant=minbase", CODENAME, folder, *sources[:1]]
        subprocess.run(
            [*_APART, "--mount-proc", *command], check=True, stdout=subprocess.DEVNULL, timeout=600
        )
        root = DebianRoot(Path(folder))
        root.fetch_as_here()
        yield root
