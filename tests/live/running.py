"""A running service: ``pserve`` with an embedded worker and a real browser, in a folder of its own."""

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil

from tests.factories import APIKEY, SECRET, make_service
from tests.live.processes import family, kill, wait_until

INI = """
[app:main]
use = egg:linkpeek
linkpeek.data_dir = %(here)s
linkpeek.worker = embedded
linkpeek.egress_allow = 127.0.0.0/8
linkpeek.egress_ports = *
linkpeek.allow_root = true
linkpeek.rate_limit = 1000/minute
{more}
[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
threads = 16
"""


@dataclass(frozen=True)
class Service:
    """Where it runs, and a key for it."""

    address: str
    apikey: str = APIKEY
    secret: str = SECRET


@contextmanager
def running_service(folder: Path, **settings: object) -> Iterator[Service]:
    """Start a service, wait until it is ready, and end all of it afterwards.

    :param settings: further ones; ``wait=1`` means ``linkpeek.wait = 1``.
    """
    make_service(folder).engine.dispose()
    port = free_port()
    ini = folder / "service.ini"
    more = "\n".join(f"linkpeek.{name} = {value}" for name, value in settings.items())
    ini.write_text(INI.format(more=more, port=port))
    service = Service(f"http://127.0.0.1:{port}")
    with Popen([sys.executable, "-m", "pyramid.scripts.pserve", str(ini)]) as pserve:
        try:
            wait_until(lambda: pserve.poll() is not None or is_ready(service), 40, "the service is ready")
            assert pserve.poll() is None
            yield service
        finally:
            if pserve.poll() is None:
                kill(family(psutil.Process(pserve.pid)))


def is_ready(service: Service) -> bool:
    try:
        with urllib.request.urlopen(f"{service.address}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    """Give a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
