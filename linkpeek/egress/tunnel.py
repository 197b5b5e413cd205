"""A tunnel: the browser's connection on one side, one destination on the other, for ever.

Both sides are plain asyncio protocols that hand each chunk straight to the
other side's transport. A side whose peer is slow stops reading until the peer
has caught up, so a tunnel never holds more than the transports' high-water mark.
"""

import asyncio
from typing import Protocol, cast

from linkpeek.egress import socks


class Keeper(Protocol):
    """What a tunnel asks of the session it belongs to."""

    def opened(self, tunnel: "Tunnel") -> bool:
        """Note a new connection; False where there are too many."""

    def closed(self, tunnel: "Tunnel") -> None:
        """Note that both sides of a connection have ended."""

    def moved(self, tunnel: "Tunnel", *, incoming: int = 0, outgoing: int = 0) -> None:
        """Count bytes that passed; cuts every tunnel when there are too many."""

    async def connect(self, tunnel: "Tunnel", host: str, port: int) -> "Upstream | None":
        """Judge and dial; None (and noted why) where that was refused or did not succeed."""


class _Side(asyncio.Protocol):
    """One end of a tunnel: passes back-pressure and the end of the stream on to the other.

    An end that closes closes the other once that has sent what it holds. Nothing
    a browser speaks needs half-closed connections.
    """

    transport: asyncio.Transport
    peer: "_Side | None" = None
    is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which asyncio's servers and connections always give in this type."""
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Stop reading from the other end: this one cannot send as fast."""
        if self.peer is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the other end again."""
        if self.peer is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end."""
        self.is_lost = True
        if self.peer is not None:
            self.peer.transport.close()


class Upstream(_Side):
    """The destination's side."""

    def __init__(self, tunnel: "Tunnel", keeper: Keeper) -> None:
        self.peer = self._tunnel = tunnel
        self._keeper = keeper
        self._out = tunnel.transport.write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold back what the server says until the browser has its answer."""
        super().connection_made(transport)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass a chunk on to the browser."""
        self._out(data)
        self._keeper.moved(self._tunnel, incoming=len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the browser's side too."""
        super().connection_lost(exc)
        self._tunnel.side_lost()


class Tunnel(_Side):
    """The browser's side: speaks SOCKS5 first, then passes bytes on.

    :ivar last_activity: loop time in seconds at which a byte last passed.
    :ivar ended: set once both sides are gone. A server that takes nothing holds the one that
        still has something to send, for as long as it likes, long after the browser has gone.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.last_activity = 0.0
        self.ended = asyncio.Event()
        self._pending = b""
        self._greeted = False
        self._task: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._is_cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the session whether there may be one more connection."""
        super().connection_made(transport)
        if not self._keeper.opened(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass a chunk on to the destination, or take it as part of the handshake."""
        if self._upstream is not None:
            self._upstream.transport.write(data)
            self._keeper.moved(self, outgoing=len(data))
        else:
            self._pending += data
            self._advance()

    def _advance(self) -> None:
        try:
            if not self._greeted:
                self._greet()
            if self._greeted and self._task is None:
                self._request()
        except socks.Malformed as exc:
            self._hang_up(exc.answer)

    def _greet(self) -> None:
        length = socks.read_greeting(self._pending)
        if length is not None:
            self._greeted = True
            self._pending = self._pending[length:]
            self.transport.write(socks.GREETING_ACCEPTED)

    def _request(self) -> None:
        request = socks.read_request(self._pending)
        if request is not None:
            self._pending = self._pending[request.length :]
            # What the client sends before the answer waits in the kernel.
            self.transport.pause_reading()
            self._task = asyncio.create_task(self._connect(request))

    async def _connect(self, request: socks.Request) -> None:
        upstream = await self._keeper.connect(self, request.host, request.port)
        if upstream is None:
            self._hang_up(socks.Reply.FAILED.message())
            return
        self.transport.write(socks.Reply.SUCCEEDED.message())
        self.peer = self._upstream = upstream
        if self._pending:
            upstream.transport.write(self._pending)
            self._keeper.moved(self, outgoing=len(self._pending))
        upstream.transport.resume_reading()
        self.transport.resume_reading()

    def _hang_up(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side, or the attempt to reach it."""
        if self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)
        if self._is_cut and self._upstream is not None:  # it came about after the cut
            self._upstream.transport.abort()
        self.side_lost()

    def side_lost(self) -> None:
        """See whether the other side has ended as well."""
        if self.is_lost and (self._upstream is None or self._upstream.is_lost):
            self.ended.set()
            self._keeper.closed(self)

    def cut(self) -> None:
        """End both sides at once, whatever is still on its way."""
        self._is_cut = True
        self.transport.abort()
        if self._upstream is not None:
            self._upstream.transport.abort()
