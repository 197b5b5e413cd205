"""One capture's way out: a SOCKS5 server on a loopback port of its own, with a budget.

The browser context of a capture is given this port as its proxy and has no
other route. Everything a session keeps (pinned names, counts, failures) ends
with the capture.
"""

import asyncio
import ipaddress
import logging
import secrets
import socket
from dataclasses import dataclass

from linkpeek.egress.dial import dial
from linkpeek.egress.guard import Guard, Refused
from linkpeek.egress.names import Unresolvable
from linkpeek.egress.policy import IPAddress
from linkpeek.egress.tunnel import Tunnel, Upstream

log = logging.getLogger(__name__)

#: Connections that may wait to be taken.
BACKLOG = 256

#: A page can provoke refusals by the thousand; the log takes so many of one session.
MAX_LOGGED = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use.

    :ivar total_bytes: bytes in both directions together, as they pass (not inflated).
    :ivar open_connections: at any one time; Chromium itself holds to 32 per proxy.
    :ivar connections: in total, refused ones included.
    :ivar idle: seconds without a byte (handshake included) after which a connection ends.
    :ivar connect: seconds for resolving and dialling together.
    """

    total_bytes: int = 256 * 1024 * 1024
    open_connections: int = 256
    connections: int = 4000
    idle: float = 60.0
    connect: float = 15.0


class EgressServer:
    """Opens sessions that share one guard and one set of limits."""

    def __init__(self, guard: Guard, limits: Limits | None = None) -> None:
        self._guard = guard
        self._limits = limits or Limits()

    async def open_session(self, name: str | None = None) -> "EgressSession":
        """Open a way out for one capture; the caller closes it.

        :param name: how the log calls the session; a random one otherwise.
        :raises OSError: there is no port or file descriptor left.
        """
        session = EgressSession(self._guard, name=name or secrets.token_hex(4), limits=self._limits)
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session


class EgressSession:
    """A running SOCKS5 server and the account of what went through it.

    :ivar proxy_url: what the browser is given: ``socks5://127.0.0.1:PORT``.
    :ivar bytes_in: bytes that came from outside; ``bytes_out``: that went there.
    :ivar connections: how many connections the browser made.
    :ivar last_activity: loop time in seconds when a byte last passed or a connection began or ended.
    :ivar exceeded: ``too-many-bytes`` or ``too-many-connections`` once that is so.
    """

    def __init__(self, guard: Guard, *, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.bytes_in = self.bytes_out = self.connections = self.refusals = 0
        self.exceeded: str | None = None
        self.proxy_url = ""
        self._guard, self._pins = guard.pinned()
        self._loop = asyncio.get_running_loop()
        self.last_activity = self._loop.time()
        self._failures: dict[tuple[str, int], str] = {}
        self._tunnels: set[Tunnel] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.proxy_url = f"socks5://127.0.0.1:{listener.getsockname()[1]}"
        # Given a socket, this waits for nothing: it is never open without being ours to close.
        self._server = await self._loop.create_server(
            lambda: Tunnel(self), sock=listener, backlog=BACKLOG, start_serving=False
        )
        self._sweep()
        await self._server.start_serving()

    async def close(self) -> None:
        """Stop listening and cut every tunnel; twice is as good as once."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        # What was taken a moment ago becomes a tunnel first, which needs a server that is there.
        self._loop.remove_reader(server.sockets[0].fileno())
        try:
            await asyncio.sleep(0)
        finally:
            server.close()
        tunnels = list(self._tunnels)
        self._cut_all()
        await asyncio.gather(*(tunnel.ended.wait() for tunnel in tunnels))
        await self._pins.close()
        await server.wait_closed()
        if self.refusals > MAX_LOGGED:
            log.info("egress %s: %d refusals in all", self.name, self.refusals)

    async def __aenter__(self) -> "EgressSession":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def open_connections(self) -> int:
        """How many connections the browser holds just now."""
        return len(self._tunnels)

    def quiet_for(self, now: float) -> float:
        """Give the seconds since anything last moved; ``now`` is the loop's time."""
        return now - self.last_activity

    def failure(self, host: str, port: int) -> str | None:
        """Say why the last attempt to reach a destination failed; None where none was made or it did not.

        One of ``dns-failed``, ``address-refused``, ``name-refused``,
        ``port-refused``, ``connection-refused``, ``connect-timeout``, or, for any
        destination once a limit is passed, ``too-many-bytes`` or ``too-many-connections``.
        """
        return self.exceeded or self._failures.get((_key(host), port))

    # What the tunnels ask, see tunnel.Keeper.

    def opened(self, tunnel: Tunnel) -> bool:
        """Count a connection in; False (and it ends) where there are too many, or the session is over."""
        self.last_activity = tunnel.last_activity = self._loop.time()
        self.connections += 1
        self._tunnels.add(tunnel)
        if self.connections > self.limits.connections:
            self._exceed("too-many-connections")
        if self._server is None:  # it was taken while the session closed
            return False
        return self.exceeded is None and len(self._tunnels) <= self.limits.open_connections

    def closed(self, tunnel: Tunnel) -> None:
        """Count a connection out."""
        self.last_activity = self._loop.time()
        self._tunnels.discard(tunnel)

    def moved(self, tunnel: Tunnel, *, incoming: int = 0, outgoing: int = 0) -> None:
        """Count bytes, and cut everything once there are too many."""
        self.bytes_in += incoming
        self.bytes_out += outgoing
        self.last_activity = tunnel.last_activity = self._loop.time()
        if self.bytes_in + self.bytes_out > self.limits.total_bytes:
            self._exceed("too-many-bytes")
            self._cut_all()

    async def connect(self, tunnel: Tunnel, host: str, port: int) -> Upstream | None:
        """Judge and dial one destination; None, with the reason noted, where nothing came of it."""
        failure: str
        try:
            async with asyncio.timeout(self.limits.connect):
                upstream = await self._reach(tunnel, host, port)
            self._failures.pop((_key(host), port), None)
            return upstream
        except Refused as exc:
            failure = exc.code
            self._log_refusal(host, port, exc.code)
        except Unresolvable:
            failure = "dns-failed"
        except TimeoutError:
            failure = "connect-timeout"
        except OSError:
            failure = "connection-refused"
        self._failures[_key(host), port] = failure
        return None

    async def _reach(self, tunnel: Tunnel, host: str, port: int) -> Upstream:
        addresses = await self._guard.addresses(host, port)
        sock = await dial(addresses, port)
        try:
            _, upstream = await self._loop.create_connection(lambda: Upstream(tunnel, self), sock=sock)
        except BaseException:
            sock.close()
            raise
        return upstream

    def _log_refusal(self, host: str, port: int, code: str) -> None:
        self.refusals += 1
        if self.refusals <= MAX_LOGGED:
            log.info("egress %s: %s %a:%d", self.name, code, host, port)

    def _exceed(self, code: str) -> None:
        if self.exceeded is None:
            self.exceeded = code
            log.info("egress %s: %s", self.name, code)

    def _cut_all(self) -> None:
        for tunnel in list(self._tunnels):
            tunnel.cut()

    def _sweep(self) -> None:
        """End idle connections, now and again and again."""
        now = self._loop.time()
        for tunnel in list(self._tunnels):
            if now - tunnel.last_activity > self.limits.idle:
                tunnel.cut()
        self._sweeper = self._loop.call_later(min(5.0, self.limits.idle / 4), self._sweep)


def _key(host: str) -> str:
    host = host.strip("[]").lower()
    try:
        ip: IPAddress = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ip)
