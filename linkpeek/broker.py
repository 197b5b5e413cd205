"""The embedded broker: kombu's file system transport, hardened.

Kombu's own writes a message in place, so a reader can take it half written, and
a message that is not JSON ends the worker that reads it. It also moves each
message through the machine's common temporary folder. This one writes aside and
renames, reads where the message lies, and drops what is none.
"""

import base64
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any

from celery.exceptions import InvalidTaskError
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)


#: Seconds after which a worker looks up from the queue.
LONGEST_DRAIN = 0.2

#: Bytes. A wake-up carries nothing, and has less than one thousand.
MAX_MESSAGE = 64 * 1024


class Channel(filesystem.Channel):
    """A channel whose messages are whole files or not there."""

    # The two base classes call the second parameter by different names.
    def _put(self, queue: Any, message: Any, **_: Any) -> None:  # type: ignore[override]
        path = Path(self.data_folder_out, f"{time_ns()}_{uuid.uuid4()}.{queue}.msg")
        part = path.with_suffix(".part")
        part.write_text(dumps(message))
        part.rename(path)

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        ending = f".{queue}.msg"
        for name in sorted(name for name in os.listdir(self.data_folder_in) if name.endswith(ending)):
            path = Path(self.data_folder_in, name)
            try:
                payload = path.read_bytes()
                # Whoever removes the file is the one who got the message.
                path.unlink()
            except OSError:
                continue
            message = message_in(payload)
            if message is not None:
                return message
            log.warning("dropped %s, which is no message", name)
        raise Empty


class Transport(filesystem.Transport):
    """The transport with that channel, which lets a worker hear a stop signal soon."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: Any = None, **kwargs: Any) -> Any:
        """Deliver what is there; a worker looks for stop signals in between."""
        return super().drain_events(
            connection, timeout=min(timeout or LONGEST_DRAIN, LONGEST_DRAIN), **kwargs
        )


def look_up_often(sender: Any, **_: object) -> None:
    """Have a worker hear a stop signal soon, where it is the network that it waits on.

    :param sender: Celery's consumer, which is ready.
    """
    if sender.hub is not None:
        # RabbitMQ's client would wait for as long as nothing comes; what there is to do is to be awake.
        sender.hub.call_repeatedly(LONGEST_DRAIN, lambda: None)


def message_in(payload: bytes) -> dict[str, Any] | None:
    """Give the message that bytes hold; None where it is none, or one that Celery would stumble over."""
    if len(payload) > MAX_MESSAGE:
        return None
    try:
        message = loads(payload.decode())
        has_form = _has_form(message)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return message if has_form else None


def _has_form(message: Any) -> bool:
    """Tell whether a message is formed as Celery's are (protocol 2, as JSON)."""
    properties, headers = message["properties"], message["headers"]
    body = loads(base64.b64decode(message["body"], validate=True).decode())
    return (
        (message["content-type"], message["content-encoding"]) == ("application/json", "utf-8")
        and properties["body_encoding"] == "base64"
        and isinstance(properties["delivery_info"], dict)
        and isinstance(properties["delivery_tag"], str)
        and isinstance(headers["task"], str)
        and isinstance(headers["id"], str)
        # Ours are not: what is small could unpack to gigabytes.
        and headers.get("compression") is None
        and isinstance(body, list)
        and list(map(type, body)) == [list, dict, dict]
    )


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Handle a task's messages as Celery does, and drop what it cannot handle.

    An error of its own would end the worker, and the message would be waiting for
    the next one. See ``Task.Strategy``.
    """
    from celery.worker.strategy import default  # the web processes, which only send, do without

    handle: Callable[..., Any] = default(task, app, consumer)

    def drop_garbage(*args: Any, **kwargs: Any) -> Any:
        try:
            return handle(*args, **kwargs)
        except (InvalidTaskError, ContentDisallowed, DecodeError):
            raise  # Celery drops these itself
        except Exception as exc:
            raise InvalidTaskError(f"this is no message: {exc!r}") from exc

    return drop_garbage


def install() -> None:
    """Let ``filesystem://``, ``redis://`` and ``rediss://`` mean the hardened transports in this process."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{Transport.__name__}"
    # By name: its library is there only where it is used.
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "linkpeek.redis_broker:Transport"
