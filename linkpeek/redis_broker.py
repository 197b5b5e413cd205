"""Kombu's Redis transport, hardened as the embedded broker is: whatever lies in the queue ends no worker."""

import logging
import time
from typing import Any

import redis
from kombu.transport import redis as kombu_redis

from linkpeek.broker import message_in

log = logging.getLogger(__name__)

#: Seconds until something is looked at again that is not the queue it should be.
PAUSE = 1.0


class Client(redis.Redis):
    """A client that gives a worker messages, or nothing."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Read an answer of the server; garbage in the queue is as good as an empty queue."""
        try:
            answer = super().parse_response(connection, command_name, **options)
        except redis.ResponseError as exc:
            if command_name != "BRPOP" or not _is_no_queue(exc):
                raise
            log.error("the queue in Redis is none (%s); captures start a little later", exc)
            time.sleep(PAUSE)
            return None
        if command_name == "BRPOP" and answer and message_in(answer[1]) is None:
            log.warning("dropped %d bytes from the queue, which are no message", len(answer[1]))
            return None
        return answer


class Channel(kombu_redis.Channel):
    """A channel with that client."""

    def _get_client(self) -> type[Client]:
        super()._get_client()  # sees whether the library is new enough
        return Client

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))
        except redis.ResponseError as exc:
            if not _is_no_queue(exc):
                raise
            return 0


class Transport(kombu_redis.Transport):
    """The transport with that channel."""

    Channel = Channel


def _is_no_queue(error: redis.ResponseError) -> bool:
    return "WRONGTYPE" in str(error)
