"""The capture worker and a real RabbitMQ: whatever can lie in the queue, and a server that fails."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import psutil
import pytest

from linkpeek.errors import Unavailable
from linkpeek.models import State
from linkpeek.resources import Resources
from linkpeek.tasks import CAPTURE_TASK, QUEUE
from tests.factories import make_service
from tests.live.processes import alive, wait_until
from tests.live.site import Site
from tests.live.test_worker import ask, ended, running_worker
from tests.rabbitmq_server import RabbitMQ, rabbitmq_server

#: Seconds: more than a request waits for a broker that does not answer, on however busy a machine.
IN_TIME = 15
#: Wake-ups, of which some 6,000 fill the buffers of a connection.
MANY = 50_000


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def service(tmp_path: Path, server: RabbitMQ) -> Iterator[Resources]:
    """A service whose queue is not there yet."""
    server.start()
    with server.connection() as connection:
        connection.channel().queue_delete(QUEUE)
    resources = make_service(tmp_path, egress_allow="127.0.0.0/8", egress_ports="*", broker_url=server.url)
    yield resources
    resources.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def worker(service: Resources, tmp_path: Path, server: RabbitMQ) -> Iterator[psutil.Popen]:
    with running_worker(service, tmp_path, server.url) as worker:
        yield worker


def heard(log: Path) -> int:
    """Count the wake-ups that the worker has taken from the queue."""
    return log.read_text().count(f"Task {CAPTURE_TASK}[")


def wait_heard(service: Resources, log: Path) -> None:
    """Send wake-ups until one is heard."""
    before = heard(log)

    def woken() -> bool:
        service.wake()
        return heard(log) > before

    wait_until(woken, 40, "the worker hears wake-ups")


def test_wake_ups_are_heard(service: Resources, worker: psutil.Popen, log: Path, site: Site) -> None:
    service.wake.check()
    assert ended(service, ask(service, site.url("/static"))).state == State.READY
    wait_until(lambda: heard(log), 20, "the wake-up is heard")
    service.wake.check()


def test_whoever_comes_first_makes_the_queue(service: Resources, server: RabbitMQ) -> None:
    """All three make the same one, or the later ones could not use it."""
    for _ in range(2):
        service.wake.check()
        service.wake()
    with server.connection() as connection:
        assert connection.channel().queue_declare(QUEUE, passive=True).message_count == 2


def poison(message: amqp.Message) -> Iterator[amqp.Message]:
    """Give what is no message of ours: nothing that JSON is, of the wrong types, and far too large."""
    how: dict[str, Any] = message.properties
    for body in (b"", b"\xff", b"null", b"{}", b"[]", b"[1, 2]", b"[[1], {}, {}]", b"x" * 2**25, b"[" * 5000):
        yield amqp.Message(body, **how)
    changes: tuple[dict[str, Any], ...] = (
        {"content_type": "application/x-python-serialize"},
        {"content_type": "application/data"},
        {"content_encoding": "no-such-encoding"},
        {"application_headers": {}},
        {"application_headers": {"task": "no.such.task", "id": "1"}},
        {"application_headers": {"task": 7, "id": []}},
        {"application_headers": how["application_headers"] | {"compression": "application/x-gzip"}},
        {"application_headers": how["application_headers"] | {"id": None}},
        {"application_headers": how["application_headers"] | {"task": "celery.chord"}},
        {"application_headers": how["application_headers"] | {"timelimit": "x"}},
        {"application_headers": how["application_headers"] | {"eta": "2999-01-01T00:00:00+00:00"}},
        {"application_headers": how["application_headers"] | {"eta": "whenever", "retries": "many"}},
        {"application_headers": how["application_headers"] | {"expires": "whenever"}},
        {"correlation_id": "", "reply_to": ""},
    )
    for change in changes:
        yield amqp.Message(message.body.encode(), **(how | change))
    yield amqp.Message(message.body.encode())
    yield amqp.Message(base64.b64encode(message.body.encode()), **how)
    yield amqp.Message(
        json.dumps({"task": CAPTURE_TASK, "id": "1", "args": 7}), content_type="application/json"
    )


def test_whatever_lies_in_the_queue(
    service: Resources, worker: psutil.Popen, server: RabbitMQ, log: Path, site: Site
) -> None:
    with server.connection() as connection:
        channel = connection.channel()
        worker.suspend()  # so that a message can be had before it is read
        try:
            service.wake.check()  # makes the queue
            service.wake()
            message = wait_until(lambda: channel.basic_get(QUEUE, no_ack=True), 20, "a message is there")
            for one in poison(message):
                channel.basic_publish(one, routing_key=QUEUE)
        finally:
            worker.resume()
        snapshot = ended(service, ask(service, site.url("/static")), 40)
        assert (snapshot.state, snapshot.attempts) == (State.READY, 1)
        wait_until(lambda: channel.queue_declare(QUEUE, passive=True).message_count == 0, 40, "all are read")
    assert alive([worker]), "it got over all of them"
    wait_heard(service, log)
    assert worker.memory_info().rss < 600 * 1024 * 1024


def test_a_server_that_ends_and_comes_back(
    service: Resources, worker: psutil.Popen, server: RabbitMQ, log: Path, site: Site
) -> None:
    wait_heard(service, log)
    server.stop()
    since = time.monotonic()
    snapshot_id = ask(service, site.url("/static?gone"))
    assert time.monotonic() - since < IN_TIME
    with pytest.raises(Unavailable):
        service.wake.check()
    assert ended(service, snapshot_id).state == State.READY, "the worker looks for work itself"
    server.start()
    service.wake.check()
    wait_heard(service, log)


def test_a_server_that_says_nothing(
    service: Resources,
    worker: psutil.Popen,
    server: RabbitMQ,
    log: Path,
    site: Site,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It takes connections, and does not hang up: as where its memory or its disk is full."""
    wait_heard(service, log)
    server.suspend()
    try:
        with pytest.raises(Unavailable):
            service.wake.check()
        for _ in range(MANY):
            since = time.monotonic()
            service.wake()
            assert time.monotonic() - since < IN_TIME
            if "takes no message" in caplog.text:
                break
        assert "takes no message" in caplog.text
        snapshot_id = ask(service, site.url("/static?silent"))
        assert ended(service, snapshot_id).state == State.READY, "the worker looks for work itself"
    finally:
        server.resume()
    wait_heard(service, log)


def test_a_worker_that_waits_for_a_server_can_be_stopped(
    service: Resources, worker: psutil.Popen, server: RabbitMQ, log: Path
) -> None:
    """The end of the fixture sees to it that it does."""
    wait_heard(service, log)
    server.stop()
    wait_until(
        lambda: "connection" in log.read_text().rpartition(CAPTURE_TASK)[2].lower(), 30, "it is noticed"
    )
