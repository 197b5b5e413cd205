"""A Redis server of a test's own: new, on a free port of loopback, and nothing of it reaches the disk.

Needs Debian's package ``redis-server``.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from redis import ConnectionError, Redis

from tests.live.processes import wait_until
from tests.live.running import free_port


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a server, and give its URL."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    port = url.rpartition(":")[2].partition("/")[0]
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = ["--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
            try:
                wait_until(lambda: answers(url), 10, "Redis answers")
                yield url
            finally:
                server.terminate()


def answers(url: str) -> bool:
    """Tell whether a server is there."""
    with Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except ConnectionError:
            return False
