"""The broker's side: one Celery task, which is a wake-up and carries nothing.

What is to be captured stands in the database. A message only says "look", so a
lost, doubled or garbled one does no harm.
"""

import logging
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from celery import Celery

from linkpeek import broker
from linkpeek.errors import Unavailable
from linkpeek.settings import Settings

log = logging.getLogger(__name__)

CAPTURE_TASK = "linkpeek.capture"
QUEUE = "linkpeek"

#: Seconds between two looks of the file system transport for new messages: half of it is
#: what a new capture waits. A look takes some 30 microseconds.
POLLING_INTERVAL = 0.01


#: A request that sends a wake-up does not wait for a broker that is gone; workers, which
#: listen, have settings of their own for that.
_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def make_celery(settings: Settings) -> Celery:
    """Make the Celery application of these settings; opens nothing."""
    broker.install()
    url = settings.broker_url
    # kombu warns about a URL without a host, though this transport has none.
    url = "filesystem://localhost" if url == "filesystem://" else url
    app = Celery("linkpeek", broker=url, set_as_current=False, fixups=[])
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport_options(settings),
        task_default_queue=QUEUE,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    return app


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url.startswith("redis"):
        # Without these a request waits for as long as TCP does. The second stands
        # above the 10 seconds that a worker's blocking read may take.
        return _ONE_TRY | {"socket_connect_timeout": 3, "socket_timeout": 20}
    if not settings.broker_url.startswith("filesystem:"):
        # RabbitMQ stops reading when its memory or its disk is full: once the connection's buffer
        # was full as well, a request would wait until there is room again.
        return _ONE_TRY | {"read_timeout": 5, "write_timeout": 5}
    messages = broker_folder(settings)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(messages / "control"),
        "polling_interval": POLLING_INTERVAL,
    }


def broker_folder(settings: Settings) -> Path:
    """Give the folder of the embedded broker's messages."""
    return settings.data_dir / "broker"


def embedded_folder(settings: Settings) -> Path | None:
    """Give the folder of the embedded broker's messages, where that is the broker in use."""
    return broker_folder(settings) if settings.broker_url.startswith("filesystem:") else None


def make_broker_folders(settings: Settings) -> None:
    """Make the folders of the embedded broker, where that is the one in use."""
    folder = embedded_folder(settings)
    if folder is not None:
        (folder / "control").mkdir(parents=True, exist_ok=True)


class WakeUp:
    """Sends wake-ups to whichever worker hears them first."""

    def __init__(self, app: Celery, folder: Path | None = None) -> None:
        """Send by a Celery application; ``folder`` is the embedded broker's, where that is the one."""
        self._app = app
        self._folder = folder

    def __call__(self) -> None:
        """Send one wake-up; when the broker is gone, the workers' own look finds the row."""
        try:
            self._app.send_task(CAPTURE_TASK, retry=False)
        except Exception as exc:
            # Whatever is wrong with the broker, the row is safe and asks for itself.
            log.warning("the broker takes no message (%s); the capture starts a little later", exc)

    def check(self) -> None:
        """See whether the broker takes connections.

        :raises Unavailable: ``broker-unavailable``.
        """
        try:
            self._ask()
        except Exception as exc:
            # Each transport's library has errors of its own.
            raise Unavailable("The broker does not answer.", code="broker-unavailable") from exc

    def _ask(self) -> None:
        if self._folder is not None:
            # The transport looks at its folder only when there is a message.
            with TemporaryFile(dir=self._folder):
                return
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            # As whoever sends a wake-up makes it: RabbitMQ refuses a queue of other properties.
            self._app.amqp.queues[QUEUE](connection.default_channel).declare()
