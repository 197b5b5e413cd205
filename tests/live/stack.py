"""The whole stack: Nginx, the exact exec line under a supervisor, a key, and a site to take pictures of.

It stands in a network of the test's own where that is root, and nothing in the
tree can be written to by the service but what has to be.
"""

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil

from tests.live.https import Answer, Client
from tests.live.network import own_network
from tests.live.nginx import Nginx, made_nginx
from tests.live.processes import family, kill, named, of_user, wait_until
from tests.live.site import Site
from tests.live.tree import CHECKOUT, ROOT_IN_JOB, UID, Tree, deployed_tree

APIKEY, SECRET = "an-old-client", "sesame"
#: Ours, for a page of this machine may be captured only when that is said.
SETTINGS = (
    "linkpeek.egress_allow = 127.0.0.0/8",
    "linkpeek.egress_ports = *",
    "linkpeek.rate_limit = 999999/minute",
)


#: What a command of a tree is run by, such as restrictions.
Within = Callable[[Tree, list[str]], list[str]]


class Supervisor:
    """Starts the exec line, and starts it again whenever it ends: what Upstart and systemd do."""

    def __init__(self, tree: Tree, within: Within) -> None:
        self._tree = tree
        self._command = within(tree, tree.exec_line())
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.starts = 0

    @property
    def master(self) -> psutil.Process:
        """uWSGI's master, as it runs now."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def start(self) -> None:
        """Start it, once, and keep it running from now on."""
        self._wanted.set()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Stop it with TERM, and give the seconds that took."""
        began = time.monotonic()
        self._wanted.clear()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(15)
            self._thread.join()
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing."""
        self._wanted.clear()
        if self._process is not None and self._process.poll() is None:
            kill(family(psutil.Process(self._process.pid)))
        if self._thread.is_alive():
            self._thread.join()
        if os.geteuid() == 0:
            kill(of_user(UID))

    def _watch(self) -> None:
        while self._wanted.is_set():
            self._process = self._tree.start(self._command)
            self.starts += 1
            print(f"The service has ended: {self._process.wait()}")


class Stack:
    """Everything together."""

    def __init__(self, tree: Tree, nginx: Nginx, site: Site, within: Within) -> None:
        self.tree, self.nginx, self.site = tree, nginx, site
        self.client = Client(nginx)
        self.supervisor = Supervisor(tree, within)

    @property
    def data(self) -> Path:
        """The service's data_dir."""
        return self.tree.ini.parent / "var"

    def up(self) -> None:
        """Have it running, ready for captures."""
        if self.supervisor.starts == 0 or not self._answers():
            self.supervisor.end()
            self.supervisor.start()
        self.wait_ready()

    def wait_ready(self, seconds: float = 40) -> None:
        """Wait until the service says that it is ready, and there is a browser."""
        wait_until(lambda: self.ready() and self.browsers(), seconds, "the service is ready")

    def ready(self) -> bool:
        """Tell whether the service says that it is ready."""
        return self._status("/readyz") == 200

    def peek(self, path: str, **options: object) -> Answer:
        """Ask for a picture of a page of the site."""
        return self.client.get(self.signed(path), **options)  # type: ignore[arg-type]

    def picture(self, answer: Answer) -> Answer:
        """Follow an answer to its picture."""
        place = urlsplit(answer.header("Location"))
        return self.client.get(place.path)

    def signed(self, path: str, size: str = "336x336") -> str:
        """Give the path and query of a signed API v1 request for a page of the site."""
        uri = self.site.url(path)
        token = hashlib.md5(f"{SECRET}{uri}{size}".encode()).hexdigest()
        return "/api/v1?" + urlencode({"uri": uri, "apikey": APIKEY, "token": token, "size": size})

    def web_workers(self) -> list[psutil.Process]:
        """List uWSGI's workers."""
        return named(self.supervisor.master.children(), "uWSGI worker")

    def capture_workers(self) -> list[psutil.Process]:
        """List the capture worker."""
        return named(self.supervisor.master.children(), "/linkpeek worker ")

    def browsers(self) -> list[psutil.Process]:
        """List the browser's processes."""
        return named(family(self.supervisor.master), "chrom")

    def _answers(self) -> bool:
        return self._status("/healthz") == 200

    def _status(self, path: str) -> int:
        try:
            return self.client.get(path, timeout=5).status
        except OSError:
            return 0


@contextmanager
def made_stack(*settings: str, within: Within = lambda _, command: command) -> Iterator[Stack]:
    """Build it, with Nginx running and the service not yet."""
    with own_network(), Site() as site, deployed_tree() as tree, made_nginx(tree.root) as nginx:
        tree.set(*SETTINGS, *settings)
        _make_readable_only(tree)
        tree.linkpeek("init", str(tree.ini))
        tree.linkpeek("key", "add", "--name", "old", "--apikey", APIKEY, "--secret", SECRET, str(tree.ini))
        nginx.start()
        stack = Stack(tree, nginx, site, within)
        try:
            yield stack
        finally:
            stack.supervisor.end()
            print(tree.log.read_text()[-20_000:])


def rotate(stack: Stack, folder: Path) -> None:
    """Run logrotate with deploy/logrotate, where the user linkpeek exists."""
    text = (CHECKOUT / "deploy/logrotate/linkpeek").read_text().replace(ROOT_IN_JOB, str(stack.tree.root))
    if os.geteuid() != 0:
        text = "".join(line for line in text.splitlines(True) if "create " not in line)
        text = text.replace("setpriv --reuid=linkpeek --regid=linkpeek --clear-groups ", "")
    config = folder / "linkpeek"
    config.write_text(text)
    config.chmod(0o644)
    command = ["logrotate", "--force", "--state", str(folder / "state"), str(config)]
    subprocess.run(stack.tree.as_root(command), check=True, timeout=30)


def _make_readable_only(tree: Tree) -> None:
    """Give the tree to root, but for the data and the log: all that the service may write."""
    data = tree.ini.parent / "var"
    data.mkdir(mode=0o711)
    tree.log.touch(mode=0o640)
    if os.geteuid() != 0:
        return
    for folder, folders, files in os.walk(tree.root):
        for name in (".", *folders, *files):
            os.chown(Path(folder, name), 0, 0, follow_symlinks=False)
    for path in (data, tree.log):
        os.chown(path, UID, UID)
