import json
from pathlib import Path
from queue import Empty
from typing import Any
from unittest.mock import Mock

import pytest
from celery.exceptions import InvalidTaskError

from linkpeek import broker
from linkpeek.tasks import CAPTURE_TASK, QUEUE, WakeUp, broker_folder, make_broker_folders, make_celery
from tests.factories import make_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = make_settings(tmp_path)
    make_broker_folders(settings)
    celery = make_celery(settings)
    with celery.connection_for_write() as connection:
        celery.amqp.queues[QUEUE].bind(connection.default_channel).declare()
    WakeUp(celery)()
    return broker_folder(settings)


def read(folder: Path) -> dict[str, Any]:
    with make_celery(make_settings(folder.parent)).connection_for_write() as connection:
        message: dict[str, Any] = connection.default_channel._get(QUEUE)
        return message


def test_a_wake_up_comes_whole(folder: Path) -> None:
    assert read(folder)["headers"]["task"] == CAPTURE_TASK
    with pytest.raises(Empty):
        read(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"body": "W10="},
        {"body": "garbage!"},
        {"content-type": "application/x-python-serialize"},
        {"content-encoding": "binary"},
        {"headers": None},
        {"headers": {"task": CAPTURE_TASK}},
        {"headers": {"task": CAPTURE_TASK, "id": "1", "compression": "application/x-gzip"}},
        {"properties": {"delivery_tag": "1", "body_encoding": "base64"}},
        {"properties": "x"},
        {"filling": "x" * broker.MAX_MESSAGE},
    ],
    ids=lambda change: str(change)[:60],
)
def test_what_is_formed_otherwise_is_dropped(folder: Path, change: dict[str, object]) -> None:
    (path,) = folder.glob("*.msg")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))

    with pytest.raises(Empty):
        read(folder)
    assert not list(folder.glob("*.msg"))


def test_what_celery_stumbles_over_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """With any broker: else the message would end one worker after the other."""
    handle = Mock(side_effect=ValueError("not enough values to unpack"))
    monkeypatch.setattr("celery.worker.strategy.default", lambda *_: handle)

    with pytest.raises(InvalidTaskError, match="not enough values"):
        broker.strategy(None, None, None)("message")
    handle.assert_called_once_with("message")
