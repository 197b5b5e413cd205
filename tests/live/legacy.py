"""The stack before uWSGI, run from the files in deploy/legacy as they are.

Only ``/path/to/linkpeek`` and the folders of Nginx become real ones; each job's
command runs as Upstart would run it.
"""

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.live.processes import alive, family, wait_until
from tests.live.tree import CHECKOUT, ROOT_IN_JOB, UID, Tree

LEGACY = CHECKOUT / "deploy/legacy"
NAME = "linkpeek.example.com"
PORTS = (9901, 9902)

_NGINX = """
{user}
worker_processes 2;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    tcp_nopush on;
    include /etc/nginx/mime.types;
    client_body_temp_path {folder}/t1;
    proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4;
    scgi_temp_path {folder}/t5;
    include {folder}/sites/*;
}}
"""


def listens(port: int) -> bool:
    """Tell whether something takes connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def prepare(tree: Tree) -> Path:
    """Make a deployed tree ready for the stack, and give its production.ini."""
    legacy = tree.web / "linkpeek/deploy/legacy"
    for file in [*legacy.glob("supervisor/*"), *legacy.glob("upstart/*")]:
        file.write_text(file.read_text().replace(ROOT_IN_JOB, str(tree.root)))
    for name, module in (("supervisord", "supervisor.supervisord"), ("pserve", "pyramid.scripts.pserve")):
        script = tree.web / "env/bin" / name
        script.write_text(
            f"#!{tree.web}/env/bin/python -Wignore\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(script, UID, UID)
    return legacy / "production.ini"


def job(tree: Tree, name: str, **environment: str) -> list[str]:
    """Give the command of an Upstart job with the environment that the job sets."""
    lines = (tree.web / "linkpeek/deploy/legacy/upstart" / name).read_text().splitlines()
    (command,) = (line.removeprefix("exec ") for line in lines if line.startswith("exec "))
    values = dict(line.removeprefix("env ").split("=", 1) for line in lines if line.startswith("env "))
    return [
        "env",
        *(f"{key}={value}" for key, value in (values | environment).items()),
        *shlex.split(command),
    ]


@contextmanager
def supervised(tree: Tree, server: str) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """Run both jobs, with the web under a server: ``main`` (CherryPy) or ``paste``.

    :raises AssertionError: when something of them outlives its stop.
    """
    assert not any(map(listens, PORTS))
    jobs = {
        "web": tree.start(job(tree, "weblinkpeek-supervisord.conf", LINKPEEK_SERVER=server)),
        "worker": tree.start(job(tree, "worker-supervisord.conf")),
    }
    try:
        wait_until(lambda: all(map(listens, PORTS)), 30, "both web processes listen")
        yield jobs
    finally:
        everything = [one for process in jobs.values() for one in family(psutil.Process(process.pid))]
        for process in jobs.values():
            process.terminate()
        for process in jobs.values():
            process.wait(70)
        print(*(path.read_text()[-4000:] for path in sorted(tree.web.glob("*.log"))), sep="\n")
        wait_until(lambda: not alive(everything), 5, "all of it has ended")


class LegacyNginx:
    """Nginx with the two files of the stack; on 80 and 443 for root, else on other ports."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        self._folder = folder
        self.http, self.https = (80, 443) if os.geteuid() == 0 else (8980, 8943)
        for name in ("sites", "tls", "log", "acme"):
            (folder / name).mkdir()
        for name in ("linkpeek.conf", "linkpeek-ssl.conf"):
            (folder / "sites" / name).write_text(self._rendered((LEGACY / "nginx" / name).read_text(), tree))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX.format(user=user, folder=folder))
        make_certificate(folder / "tls")

    def _rendered(self, text: str, tree: Tree) -> str:
        for old, new in (
            (ROOT_IN_JOB, tree.root),
            ("/etc/linkpeek/tls", self._folder / "tls"),
            ("/var/log/nginx", self._folder / "log"),
            ("/var/lib/linkpeek-acme", self._folder / "acme"),
        ):
            text = text.replace(old, str(new))
        text = re.sub(r"listen 80\b", f"listen {self.http}", text)
        return re.sub(r"listen 443\b", f"listen {self.https}", text)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have it run meanwhile."""
        command = [
            "nginx",
            "-p",
            self._folder,
            "-c",
            self._folder / "nginx.conf",
            "-e",
            self._folder / "log/error",
        ]
        process = subprocess.Popen([*map(str, command), "-g", "daemon off;"])
        try:
            wait_until(lambda: listens(self.https), 10, "Nginx listens")
            yield
        finally:
            process.terminate()
            process.wait(10)


def make_certificate(folder: Path) -> None:
    """Make a self-signed certificate for ``NAME``."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    out = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-subj", f"/CN={NAME}", "-days", "2", *out],
        check=True,
        capture_output=True,
    )
