"""A RabbitMQ server of a test's own: new, on free ports of loopback, and gone with all it kept.

Needs Debian's package ``rabbitmq-server``.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from amqp import Connection

from tests.live.processes import family, kill, wait_until
from tests.live.running import free_port

#: Debian's own command, /usr/sbin/rabbitmq-server, becomes the user rabbitmq first.
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitMQ:
    """The server, which can be stopped, suspended and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._distribution, self._names = free_port(), free_port(), free_port()
        self._process: psutil.Popen | None = None
        self._epmd: psutil.Popen | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Have it running, and wait until it answers."""
        if self._process is not None:
            return
        folder = self._folder
        own = {
            "HOME": folder,  # for Erlang's cookie
            "RABBITMQ_NODENAME": "linkpeek-test@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self._port,
            "RABBITMQ_DIST_PORT": self._distribution,
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
            "RABBITMQ_CONFIG_FILE": folder / "none",
            "RABBITMQ_CONF_ENV_FILE": folder / "none",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": self._names,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        environment = os.environ | {name: str(value) for name, value in own.items()}
        with (folder / "server.log").open("ab") as log:
            # Where none answers, the server starts one itself, which outlives it.
            names = ["epmd", "-port", str(self._names)]
            self._epmd = psutil.Popen(names, env=environment, stdout=log, stderr=log)
            self._process = psutil.Popen(
                [PROGRAM], env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(self._answers, 60, "RabbitMQ answers")
        except AssertionError:
            print((folder / "server.log").read_text()[-10_000:])
            raise

    def suspend(self) -> None:
        """Let it neither answer nor hang up."""
        assert self._process is not None
        for one in family(self._process):
            one.suspend()

    def resume(self) -> None:
        assert self._process is not None
        for one in family(self._process):
            one.resume()

    def stop(self) -> None:
        """End it as a crash would."""
        for one in (self._process, self._epmd):
            if one is not None:
                kill(family(one))
                one.wait()
        self._process = self._epmd = None

    def connection(self) -> Connection:
        """Give a connection of the library below kombu, for what nobody would send by that."""
        connection = Connection(f"127.0.0.1:{self._port}", connect_timeout=20)
        connection.connect()
        return connection

    def _answers(self) -> bool:
        try:
            self.connection().close()
        except OSError:
            return False
        return True


@contextmanager
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """Run a server."""
    with tempfile.TemporaryDirectory(prefix="rabbitmq-") as folder:
        server = RabbitMQ(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
