"""The embedded broker: kombu's file system transport, hardened.

Kombu's own writes a message in place, so a reader can take it half written, and
a message that is not JSON ends the worker that reads it. It also moves each
message through the machine's common temporary folder. This one writes aside and
renames, reads where the message lies, and drops what is none.
"""

import logging
import os
import uuid
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)


#: Seconds after which a worker looks up from the queue.
LONGEST_DRAIN = 0.2


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
            message = _message(payload)
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


def _message(payload: bytes) -> dict[str, Any] | None:
    try:
        message = loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return None
    properties = message.get("properties")
    if not isinstance(properties, dict) or not {"delivery_info", "delivery_tag"} <= properties.keys():
        return None
    return message


def install() -> None:
    """Let ``filesystem://`` mean this transport in this process."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{Transport.__name__}"
