"""The broker's side: one Celery task, which is a wake-up and carries nothing.

What is to be captured stands in the database. A message only says "look", so a
lost, doubled or garbled one does no harm.
"""

import logging
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from linkpeek import broker
from linkpeek.errors import Unavailable
from linkpeek.settings import Settings

log = logging.getLogger(__name__)

CAPTURE_TASK = "linkpeek.capture"
QUEUE = "linkpeek"

#: Seconds between two looks of the file system transport for new messages.
POLLING_INTERVAL = 0.05


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
    if not settings.broker_url.startswith("filesystem:"):
        return {}
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


def make_broker_folders(settings: Settings) -> None:
    """Make the folders of the embedded broker, where that is the one in use."""
    if settings.broker_url.startswith("filesystem:"):
        (broker_folder(settings) / "control").mkdir(parents=True, exist_ok=True)


class WakeUp:
    """Sends wake-ups to whichever worker hears them first."""

    def __init__(self, app: Celery) -> None:
        self._app = app

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
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
                connection.default_channel.queue_declare(QUEUE, passive=False, durable=True)
        except (KombuError, OSError) as exc:
            raise Unavailable("The broker does not answer.", code="broker-unavailable") from exc
