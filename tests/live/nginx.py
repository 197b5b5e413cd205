"""A real Nginx with the site of deploy/nginx, as it is but for what the site says is to be replaced.

As root it has the ports 80 and 443 (in a network of the test's own) and its
workers run as www-data, as Debian's do; other users get free ports.
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.live.processes import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
SITE = CHECKOUT / "deploy/nginx/linkpeek.conf"
NAME = "linkpeek.example.com"
ROOT_IN_SITE = "/path/to/linkpeek"

#: What is left of Debian's nginx.conf when its comments are gone, with other paths.
_MAIN = """
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/log/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    {temporary}
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    access_log {folder}/log/access.log;
    gzip on;
    include {folder}/sites-enabled/*;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """One Nginx, its folder, and where it listens."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.acme = folder / "acme"
        self.access_log = folder / "log/linkpeek.access.log"
        self.error_log = folder / "log/linkpeek.error.log"
        self.certificate = folder / "tls/fullchain.pem"
        self.http, self.https = (80, 443) if os.geteuid() == 0 else (_free_port(), _free_port())
        for name in ("log", "tls", "acme", "sites-enabled", "temp"):
            (folder / name).mkdir()
        make_certificate(folder / "tls")
        self.site = folder / "sites-enabled/linkpeek"
        self.site.write_text(self._rendered(root))
        user = "user www-data;" if os.geteuid() == 0 else ""
        temporary = " ".join(f"{name}_temp_path {folder}/temp/{name};" for name in _TEMPORARY)
        self._main = folder / "nginx.conf"
        self._main.write_text(_MAIN.format(user=user, folder=folder, temporary=temporary))
        self._process: subprocess.Popen[bytes] | None = None

    def _rendered(self, root: Path) -> str:
        replaced: Mapping[str, str] = {
            ROOT_IN_SITE: str(root),
            "/etc/linkpeek/tls": str(self.folder / "tls"),
            "/var/log/nginx": str(self.folder / "log"),
            "/var/lib/linkpeek-acme": str(self.acme),
        }
        text = SITE.read_text()
        for old, new in replaced.items():
            assert old in text, f"{old} is no longer in the site"
            text = text.replace(old, new)
        for port, other in ((80, self.http), (443, self.https)):
            text = re.sub(rf"(listen (?:\[::\]:)?){port}\b", rf"\g<1>{other}", text)
        if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
            text = re.sub(r"\n *listen \[::\].*", "", text)
        return text

    def check(self) -> str:
        """Run ``nginx -t`` and give what it says.

        :raises CalledProcessError: it finds the configuration wrong.
        """
        done = subprocess.run(
            [*self._command(), "-t"], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return done.stdout

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen([*self._command(), "-g", "daemon off;"])
        wait_until(lambda: _listens(self.https), 10, "Nginx listens")
        assert self._process.poll() is None

    def stop(self) -> None:
        """Stop it at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)

    def reopen_logs(self) -> None:
        """Do what Debian's logrotate does after it has moved the logs away."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def _command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self._main), "-e", f"{self.folder}/log/error.log"]


@contextmanager
def made_nginx(root: Path) -> Iterator[Nginx]:
    """Lay out an Nginx for the service under a root folder, and stop it in the end."""
    with tempfile.TemporaryDirectory(prefix="linkpeek-nginx-") as folder:
        os.chmod(folder, 0o755)
        nginx = Nginx(Path(folder), root)
        try:
            yield nginx
        finally:
            nginx.stop()


def make_certificate(folder: Path) -> None:
    """Make a self-signed certificate for ``NAME``."""
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-days", "2"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
        ],
        check=True,
        capture_output=True,
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
