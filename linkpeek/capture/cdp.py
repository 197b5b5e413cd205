"""A small DevTools protocol client over the browser's two pipes.

Chromium started with ``--remote-debugging-pipe`` reads commands from its file
descriptor 3 and writes answers and events to 4: JSON messages, each ended by a
NUL byte. No port is opened that another process could connect to, and a browser
whose pipe closes ends by itself. Sessions are "flat": every message of a page
carries its ``sessionId``.

https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

Params = Mapping[str, Any]
Handler = Callable[[dict[str, Any]], None]
Answer = asyncio.Future[dict[str, Any]]

#: Seconds a command may take when its caller says nothing. The browser answers
#: its own commands within milliseconds; this is for a machine under load.
COMMAND_TIMEOUT = 15.0

#: Bytes. A longer message is dropped instead of kept: the largest that is
#: wanted, a picture of 3840 x 16384 pixels of noise, has about 340 MB as base64.
MAX_MESSAGE = 400 * 1024 * 1024

#: Bytes. A longer event is dropped unread. An address has 2 MB at most, and an event tells of it
#: three times; only those of a page that loads ``data:`` addresses by script are longer. Of what
#: is not read, nothing but the size is in a page's books (``watch``).
MAX_EVENT = 8 * 1024 * 1024

#: What an event begins with, as Chromium writes it; its name follows, and a quote.
_EVENT = b'{"method":"'
#: What comes before its session's id, at its very end. In a text of the page the quotes would be escaped.
_SESSION = b',"sessionId":"'
#: Bytes that hold both, and the id of 32 characters.
_TAIL = 64


class ProtocolError(Exception):
    """The browser answered a command with an error."""


class CommandTimeout(ProtocolError):
    """The browser did not answer a command in time."""


class ConnectionClosed(ProtocolError):
    """The browser is gone; every call that waited for it fails with this."""


class Connection:
    """One browser's pipe pair: commands out, answers and events in.

    Belongs to the event loop it was opened on; no method may be called from
    another thread.
    """

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls: dict[int, Answer] = {}
        self._sessions: dict[str, Session] = {}
        self._wanted: set[bytes] = set()
        self._last_id = 0
        self._writer: asyncio.WriteTransport | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self.browser = Session(self, None)

    async def open(self, read_fd: int, write_fd: int) -> None:
        """Take over two pipe ends: what the browser writes, and what it reads."""
        loop = asyncio.get_running_loop()
        reading = loop.connect_read_pipe(lambda: _Reading(self), io.FileIO(read_fd, "r"))
        writing = loop.connect_write_pipe(lambda: _Writing(self), io.FileIO(write_fd, "w"))
        _, (self._writer, _) = await asyncio.gather(reading, writing)

    def keep(self, transport: asyncio.BaseTransport) -> None:
        """Take a pipe's transport, to close it with the connection."""
        self._transports.append(transport)
        if self.is_closed:  # not at once: the transport is still being set up
            asyncio.get_running_loop().call_soon(transport.close)

    @property
    def is_closed(self) -> bool:
        """Whether the browser is gone."""
        return self.closed.done()

    def session(self, session_id: str) -> "Session":
        """Give the session that Chromium named so in ``Target.attachToTarget``."""
        session = self._sessions[session_id] = Session(self, session_id)
        return session

    def want(self, event: str) -> None:
        """Let events of this name be read; all others are dropped unread, and they are most."""
        self._wanted.add(event.encode())

    def forget(self, session: "Session") -> None:
        """Drop a session: what still comes for it goes nowhere."""
        if session.id is not None:
            self._sessions.pop(session.id, None)
        session.handlers.clear()
        session.weighed = _ignore

    def close(self) -> None:
        """Close both pipes and fail every call that waits; may be repeated."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        for transport in self._transports:
            transport.close()
        calls, self._calls = self._calls, {}
        for answer in calls.values():
            if not answer.done():
                answer.set_exception(ConnectionClosed("the browser is gone"))
                answer.exception()  # a caller that was cancelled never asks: no "never retrieved" warning

    def post(self, method: str, params: Params, session_id: str | None) -> Answer:
        """Send a command at once and give the future of its result."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self._writer is None or self.closed.done():
            answer.set_exception(ConnectionClosed("the browser is gone"))
            answer.exception()
            return answer
        self._last_id += 1
        call_id = self._last_id
        message = {"id": call_id, "method": method, "params": params}
        if session_id is not None:
            message["sessionId"] = session_id
        self._calls[call_id] = answer
        answer.add_done_callback(lambda _: self._calls.pop(call_id, None))
        self._writer.write(json.dumps(message).encode() + b"\0")
        return answer

    def receive(self, data: bytes, size: int) -> None:
        """Take one message of the browser, without its NUL.

        :param data: all of it; of an event that is too long, the beginning and the end.
        :param size: bytes that it had.
        """
        if data.startswith(_EVENT):
            self._weigh(data, size)
            if size > MAX_EVENT or data[len(_EVENT) : data.find(b'"', len(_EVENT))] not in self._wanted:
                return
        try:
            message = json.loads(data)
        except ValueError:
            log.warning("the browser sent %d bytes that are not JSON", len(data))
            return
        if "id" in message:
            self._answered(message)
            return
        session_id = message.get("sessionId")
        session = self.browser if session_id is None else self._sessions.get(session_id)
        if session is not None:
            session.dispatch(message["method"], message.get("params", {}))

    def _weigh(self, event: bytes, size: int) -> None:
        """Tell an event's session of its size: reading alone costs time, which is all pages'."""
        _, mark, name = event[-_TAIL:].partition(_SESSION)
        session = self._sessions.get(name.decode(errors="replace").rstrip('"}')) if mark else None
        if session is not None:
            session.weighed(size)

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._calls.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(ProtocolError(str(message["error"].get("message", "unknown"))))
            answer.exception()  # commands that are sent and not awaited may fail in silence
        else:
            answer.set_result(message.get("result", {}))


class Session:
    """Commands to and events from one target (or the browser itself)."""

    def __init__(self, connection: Connection, session_id: str | None) -> None:
        self.connection = connection
        self.id = session_id
        self.handlers: dict[str, Handler] = {}
        #: Called with the bytes of each event, also of those that nobody reads.
        self.weighed: Callable[[int], object] = _ignore

    def on(self, event: str, handler: Handler) -> None:
        """Call ``handler`` with the parameters of each such event; one handler an event."""
        self.handlers[event] = handler
        self.connection.want(event)

    def dispatch(self, event: str, params: dict[str, Any]) -> None:
        """Hand an event to its handler; a handler's bug never stops the reading."""
        handler = self.handlers.get(event)
        if handler is None:
            return
        try:
            handler(params)
        except Exception:
            log.exception("the handler of %s failed", event)

    def post(self, method: str, **params: Any) -> Answer:
        """Send a command without waiting; the future holds its result or failure."""
        return self.connection.post(method, params, self.id)

    async def call(self, method: str, *, limit: float = COMMAND_TIMEOUT, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result.

        :param limit: seconds.
        :raises CommandTimeout: no answer in time.
        :raises ConnectionClosed: the browser is gone.
        :raises ProtocolError: the browser refused the command.
        """
        try:
            async with asyncio.timeout(limit):
                return await self.post(method, **params)
        except TimeoutError:
            raise CommandTimeout(f"{method} took more than {limit:g} s") from None


def _ignore(_: int) -> None:
    """Listen to nothing."""


class _Reading(asyncio.Protocol):
    """Cuts the browser's bytes into messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.keep(transport)

    def data_received(self, data: bytes) -> None:
        *ends, rest = data.split(b"\0")
        for end in ends:
            self._keep(end)
            whole, size = b"".join(self._parts), self._size
            self._parts, self._size = [], 0
            if whole:
                self._connection.receive(whole, size)
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._parts and len(self._parts[0]) < len(_EVENT):
            self._parts[0] += part
        else:
            self._parts.append(part)
        if self._size > MAX_EVENT and self._parts[0].startswith(_EVENT):
            self._parts[1:] = [b"".join(self._parts[1:])[-_TAIL:]]
        elif self._size > MAX_MESSAGE:
            self._parts.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.close()


class _Writing(asyncio.BaseProtocol):
    """Notices that the browser reads no more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.keep(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.close()

    def pause_writing(self) -> None:
        """Commands are few and small: what is not yet read waits in the transport."""

    def resume_writing(self) -> None:
        """See ``pause_writing``."""
