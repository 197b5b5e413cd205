"""A LinkPeek to measure: initialised in a folder of its own, with as many ready snapshots as wanted."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import sqlalchemy as sa
from PIL import Image

from linkpeek.db import transaction, utcnow
from linkpeek.geometry import Extent, Viewport
from linkpeek.initialise import initialise
from linkpeek.models import Snapshot, State
from linkpeek.resources import Resources
from linkpeek.security import md5_token
from linkpeek.services.keys import KeyService
from linkpeek.services.snapshots import Target
from linkpeek.settings import Settings
from linkpeek.storage import image_path

CHECKOUT = Path(__file__).resolve().parent.parent
APIKEY, SECRET = "benchmark", "sesame"
VIEWPORT = Viewport(1024, 768)
BATCH = 10_000
#: How often one inode may be linked to is limited; ext4's limit is 65,000.
MOST_LINKS = 60_000


class Service:
    """One service's folder.

    :param folder: where everything goes.
    :param database_url: empty for SQLite under the folder.
    :param settings: further ones; ``wait=1`` means ``linkpeek.wait = 1``.
    """

    def __init__(self, folder: Path, database_url: str = "", **settings: object) -> None:
        self.folder = folder
        self.ini = folder / "production.ini"
        self.raw = {"linkpeek.data_dir": str(folder / "var"), "sqlalchemy.url": database_url}
        self.raw |= {f"linkpeek.{name}": str(value) for name, value in settings.items()}
        self.resources = Resources(Settings.from_ini(self.raw, {"here": str(folder)}))
        initialise(self.resources)
        with transaction(self.resources.sessions) as session:
            KeyService(session, self.resources.box).add("benchmark", APIKEY, SECRET)

    def write_ini(
        self, port: int, *, use: str = "egg:waitress#main", threads: str = "threads", worker: bool = False
    ) -> Path:
        """Write production.ini as it is, but for the settings and the port.

        :param use: the server that pserve serves by; ``threads`` is its option for their number.
        :param worker: have uWSGI start the capture worker, too.
        """
        text = (CHECKOUT / "production.ini").read_text("utf-8")
        given = "\n".join(f"{key} = {value}" for key, value in self.raw.items() if value)
        gone = r"linkpeek\.data_dir" if worker else r"linkpeek\.data_dir|attach-daemon2"
        text = re.sub(rf"(?m)^({gone}) *=.*\n", "", text)
        text = text.replace("[app:main]\n", f"[app:main]\n{given}\n", 1)
        listen = f"use = {use}\nhost = 127.0.0.1\nport = {port}\n{threads} = "
        text = re.sub(r"(?m)^use = egg:waitress#main\nlisten = .*\nthreads = ", listen, text)
        self.ini.write_text(text.replace("127.0.0.1:5200", f"127.0.0.1:{port}"), "utf-8")
        return self.ini

    def fill(self, count: int, *, start: int = 0, files: int | None = None) -> None:
        """Make snapshots number ``start`` to ``count`` ready.

        :param files: up to which of them a picture is on disk, too; None for all.
        """
        with self.resources.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA synchronous=OFF")
            for first in range(start, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                connection.execute(sa.insert(Snapshot.__table__), [row(number) for number in numbers])
                connection.commit()
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("ANALYZE")
                connection.commit()
        self.link(range(start, count if files is None else min(files, count)))
        self.resources.close()

    def link(self, numbers: range) -> None:
        """Put a picture of each of these snapshots on disk: one file with many names."""
        root = self.folder / "var" / "snapshots"
        picture = _picture()
        for place, number in enumerate(numbers):
            path = root / image_path(token(number), "336", "png")
            os.makedirs(path.parent)
            if place % MOST_LINKS == 0:
                path.write_bytes(picture)
                source = path
            else:
                os.link(source, path)

    def close(self) -> None:
        """Let go of the database."""
        self.resources.close()


def uri(number: int) -> str:
    """Give the address of page so and so."""
    return f"http://site-{number % 977}.example/page/{number}"


def token(number: int) -> str:
    """Give the token of snapshot so and so: spread as random ones are."""
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def row(number: int) -> dict[str, Any]:
    """Give a row as it is after a capture."""
    done = utcnow() - timedelta(seconds=number % 80_000)
    return {
        "token": token(number),
        "key": Target(uri(number), VIEWPORT, Extent.VIEWPORT).key,
        "uri": uri(number),
        "viewport_width": VIEWPORT.width,
        "viewport_height": VIEWPORT.height,
        "extent": Extent.VIEWPORT,
        "requester": f"key:{number % 50}",
        "state": State.READY,
        "attempts": 1,
        "requested_at": done - timedelta(seconds=1),
        "not_before": done - timedelta(seconds=1),
        "started_at": done - timedelta(seconds=0.9),
        "finished_at": done,
        "final_uri": uri(number),
        "status_code": 200,
        "title": f"Page {number} of a site",
        "width": VIEWPORT.width,
        "height": VIEWPORT.height,
        "stored_bytes": 60_000,
        "duration": 0.4,
        "browser_version": "Chrome/140",
        "truncated": False,
        "blank": False,
        "timings": {"queue": 0.03, "context": 0.02, "navigation": 0.2, "settle": 0.1, "screenshot": 0.1},
    }


def signed(address: str, size: str = "336") -> str:
    """Give the path and query of a signed API v1 request."""
    given = md5_token(SECRET, address, size)
    return "/api/v1?" + urlencode({"uri": address, "apikey": APIKEY, "token": given, "size": size})


def hits(count: int, most: int = 2000) -> list[str]:
    """Give signed requests for snapshots that are there, spread over all ``count`` of them."""
    step = max(1, count // most)
    return [signed(uri(number)) for number in range(0, count, step)][:most]


def free_port() -> int:
    """Give a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Call until the answer is true.

    :raises TimeoutError: it was not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def answers(port: int, path: str = "/healthz") -> bool:
    """Tell whether a server on 127.0.0.1 answers well."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def _picture() -> bytes:
    buffer = BytesIO()
    Image.linear_gradient("L").resize((336, 252)).save(buffer, "PNG")
    return buffer.getvalue()


def percentiles(values: list[float]) -> dict[str, float]:
    """Give p50 and p99 of what was measured."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100]}


def numbers(count: int) -> Iterator[int]:
    """Give numbers of snapshots, spread over all of them in no order, for ever."""
    number = 0
    while True:
        number = (number + 7_368_787) % count
        yield number
