"""The capture worker and a real Redis, and everything that can lie in the queue there."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from linkpeek.models import State
from linkpeek.resources import Resources
from linkpeek.tasks import QUEUE
from tests.factories import make_service
from tests.live.processes import alive, wait_until
from tests.live.site import Site
from tests.live.test_worker import ask, ended, garbled, running_worker
from tests.redis_server import redis_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def redis(url: str) -> Iterator[Redis]:
    with Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def service(tmp_path: Path, url: str) -> Iterator[Resources]:
    resources = make_service(tmp_path, egress_allow="127.0.0.0/8", egress_ports="*", broker_url=url)
    yield resources
    resources.close()


@pytest.fixture
def whole(service: Resources, redis: Redis) -> bytes:
    """A message as the web sends it."""
    service.wake()
    message = redis.rpop(QUEUE)
    assert isinstance(message, bytes)
    return message


@pytest.fixture
def worker(service: Resources, tmp_path: Path, url: str, whole: bytes) -> Iterator[psutil.Popen]:
    with running_worker(service, tmp_path, url) as worker:
        yield worker


def poison(whole: bytes) -> Iterator[bytes]:
    """Give what is no message of ours: nothing that JSON is, of the wrong types, and far too large."""
    yield from garbled(whole)
    yield from (b"\xff", b"[]", b"1", b'"x"', b'{"properties": {}}', b"x" * 32 * 1024 * 1024)
    message = json.loads(whole)
    headers, properties = message["headers"], message["properties"]
    changes: tuple[dict[str, object], ...] = (
        {"body": 5},
        {"body": "A" * 32 * 1024 * 1024},
        {"body": base64.b64encode(b"[[1],{},{}]").decode()},
        {"body": base64.b64encode(b'[[],{},{"callbacks":7,"chain":[1]}]').decode()},
        {"headers": "x"},
        {"headers": headers | {"compression": "application/x-gzip"}},
        {"headers": headers | {"id": None}},
        {"headers": headers | {"task": "celery.chord"}},
        {"headers": headers | {"timelimit": "x"}},
        {"headers": headers | {"eta": "2999-01-01T00:00:00+00:00"}},
        {"properties": properties | {"delivery_tag": ["x"]}},
        {"properties": properties | {"delivery_info": {"exchange": {}, "routing_key": []}}},
        {"properties": properties | {"priority": "x"}},
    )
    for change in changes:
        yield json.dumps(message | change).encode()


def test_captures_what_is_queued(service: Resources, worker: psutil.Popen, site: Site) -> None:
    assert ended(service, ask(service, site.url("/static"))).state == State.READY


def test_whatever_lies_in_the_queue(
    service: Resources, worker: psutil.Popen, redis: Redis, whole: bytes, site: Site
) -> None:
    messages = list(poison(whole))
    redis.lpush(QUEUE, *messages, *[whole] * 20)
    wait_until(lambda: not redis.exists(QUEUE), 30, "all are read")
    snapshot = ended(service, ask(service, site.url("/static")), 20)
    assert (snapshot.state, snapshot.attempts) == (State.READY, 1)
    assert alive([worker]), "it got over all of them"
    assert worker.memory_info().rss < 600 * 1024 * 1024


def test_a_queue_that_is_none(service: Resources, worker: psutil.Popen, redis: Redis, site: Site) -> None:
    """Somebody else keeps something under its name: the worker looks for work itself."""
    redis.set(QUEUE, "not a list")
    for number in range(3):
        assert ended(service, ask(service, site.url(f"/static?{number}")), 20).state == State.READY
        assert alive([worker])
    redis.delete(QUEUE)
    assert ended(service, ask(service, site.url("/static?4"))).state == State.READY
