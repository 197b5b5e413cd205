"""A session on real sockets: what it lets through, what it refuses, and where it ends."""

import asyncio
import gc
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from linkpeek.egress import EgressServer, EgressSession, Guard, Limits, ListedResolver
from linkpeek.egress import dial as dial_module
from linkpeek.egress import session as session_module
from linkpeek.egress.dial import dial
from linkpeek.egress.policy import IPAddress
from linkpeek.egress.socks import Reply

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
FAILED = Reply.FAILED.message()
SUCCEEDED = Reply.SUCCEEDED.message()
DEADLINE = 20.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


#: The browser's ends of the connections of the running test; ``run`` closes them.
_clients: list[asyncio.StreamWriter] = []


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(ipaddress.ip_address, texts))


class Site:
    """A server that stands for outside: counts its connections and echoes, or does as it is told."""

    def __init__(self, serve: Callable[..., Awaitable[None]] | None = None) -> None:
        self.connections = 0
        self._serve = serve or self._echo

    async def __aenter__(self) -> "Site":
        self._server = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    @staticmethod
    async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def run(
    scenario: Callable[[EgressSession], Awaitable[Any]],
    *,
    allow: tuple[ipaddress.IPv4Network, ...] = LOOPBACK,
    ports: frozenset[int] | None = None,
    answers: dict[str, tuple[IPAddress, ...]] | None = None,
    **limits: Any,
) -> Any:
    """Run a scenario against a session of its own; the loop must be clean afterwards."""

    async def whole() -> Any:
        guard = Guard(ListedResolver(answers or {}), ports=ports, allow=allow)
        async with await EgressServer(guard, Limits(**limits)).open_session("s1") as session:
            result = await scenario(session)
        assert session.open_connections == 0
        return result

    return finished(whole())


def finished(scenario: Awaitable[Any]) -> Any:
    """Run to the end, within the deadline, and close what the browser's side holds."""

    async def whole() -> Any:
        try:
            return await asyncio.wait_for(scenario, DEADLINE)
        finally:
            writers, _clients[:] = list(_clients), []
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    return asyncio.run(whole())


async def open_client(session: EgressSession) -> Connection:
    host, _, port = session.proxy_url.removeprefix("socks5://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    _clients.append(writer)
    return reader, writer


async def greet(session: EgressSession) -> Connection:
    reader, writer = await open_client(session)
    writer.write(b"\x05\x01\x00")
    assert await reader.readexactly(2) == b"\x05\x00"
    return reader, writer


async def connect(
    session: EgressSession, host: str, port: int, early: bytes = b""
) -> tuple[bytes, Connection]:
    reader, writer = await greet(session)
    name = host.encode("ascii")
    writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", port) + early)
    return await reader.readexactly(10), (reader, writer)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(DEADLINE / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about in time")


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of a connection, however it ends."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


class TestTunnel:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "0x7f.1"])
    def test_bytes_go_through_and_are_counted(self, host: str) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                reply, (reader, writer) = await connect(session, host, site.port)
                assert reply == SUCCEEDED
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                assert (session.bytes_in, session.bytes_out, session.connections) == (5, 5, 1)
                assert session.failure(host, site.port) is None

        run(scenario)

    def test_bytes_sent_before_the_reply_are_not_lost(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                _, (reader, writer) = await connect(session, "127.0.0.1", site.port, early=b"early")
                writer.write(b"late")
                assert await reader.readexactly(9) == b"earlylate"
                writer.close()

        run(scenario)

    def test_a_handshake_in_single_bytes(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                reader, writer = await greet(session)
                for byte in b"\x05\x01\x00\x01\x7f\x00\x00\x01" + struct.pack("!H", site.port):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0)
                assert await reader.readexactly(10) == SUCCEEDED
                writer.close()

        run(scenario)

    def test_a_server_that_speaks_first_comes_after_the_reply(self) -> None:
        async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hello")
            await writer.drain()

        async def scenario(session: EgressSession) -> None:
            async with Site(banner) as site:
                for _ in range(20):
                    reply, (reader, writer) = await connect(session, "127.0.0.1", site.port)
                    assert (reply, await ended(reader)) == (SUCCEEDED, b"220 hello")
                    writer.close()

        run(scenario)

    def test_all_of_a_large_answer_arrives_at_a_slow_reader(self) -> None:
        size = 16 * 1024 * 1024

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(size // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()

        async def scenario(session: EgressSession) -> None:
            async with Site(serve) as site:
                _, (reader, writer) = await connect(session, "127.0.0.1", site.port)
                await asyncio.sleep(0.2)
                # Nobody has read yet: what is on the way is in buffers, and those are bounded.
                assert session.bytes_in < size // 2
                total = 0
                while data := await reader.read(65536):
                    total += len(data)
                assert total == size
                writer.close()

        run(scenario)

    def test_when_the_browser_goes_the_destination_goes(self) -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ended(reader)
            gone.set()

        async def scenario(session: EgressSession) -> None:
            async with Site(serve) as site:
                _, (_, writer) = await connect(session, "127.0.0.1", site.port)
                writer.close()
                await gone.wait()
                await until(lambda: session.open_connections == 0)

        run(scenario)


class TestRefusals:
    @pytest.mark.parametrize(
        ("host", "port", "code"),
        [
            ("127.0.0.1", 80, "address-refused"),
            ("::1", 80, "address-refused"),
            ("[::ffff:127.0.0.1]", 80, "address-refused"),
            ("0x7f000001", 80, "address-refused"),
            ("inner.example", 80, "address-refused"),
            ("mixed.example", 80, "address-refused"),
            ("localhost", 80, "name-refused"),
            ("metadata.google.internal", 80, "name-refused"),
            ("127.0.0.1:80@example.com", 80, "name-refused"),
            ("example.com", 25, "port-refused"),
            ("none.example", 80, "dns-failed"),
        ],
    )
    def test_one_reply_for_all_and_the_reason_stays_inside(self, host: str, port: int, code: str) -> None:
        async def scenario(session: EgressSession) -> None:
            reply, (reader, writer) = await connect(session, host, port)
            assert (reply, await ended(reader)) == (FAILED, b"")
            assert session.failure(host, port) == code
            writer.close()

        answers = {"inner.example": ips("10.0.0.1"), "mixed.example": ips("8.8.8.8", "127.0.0.1")}
        run(scenario, allow=(), ports=frozenset({80, 443}), answers=answers)

    def test_nothing_is_dialled_that_was_refused(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                for host in ("127.0.0.1", "::ffff:127.0.0.1", "rebound.example", "localhost"):
                    reply, (_, writer) = await connect(session, host, site.port)
                    assert reply == FAILED
                    writer.close()
                assert site.connections == 0

        run(scenario, allow=(), answers={"*": ips("127.0.0.1")})

    def test_what_nobody_listens_at(self) -> None:
        async def scenario(session: EgressSession) -> None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            reply, (_, writer) = await connect(session, "127.0.0.1", port)
            assert (reply, session.failure("127.0.0.1", port)) == (FAILED, "connection-refused")
            writer.close()

        run(scenario)

    def test_a_success_clears_the_failure(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                session._failures["127.0.0.1", site.port] = "connect-timeout"
                _, (_, writer) = await connect(session, "127.0.0.1", site.port)
                assert session.failure("127.0.0.1", site.port) is None
                writer.close()

        run(scenario)

    @pytest.mark.parametrize(
        "message",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
            b"\x05\x01\x02",
            b"\x05\x00",
            b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50",
            b"\x05\x01\x00\x05\x01\x00\x09\x00\x00",
        ],
    )
    def test_other_protocols_are_hung_up_on(self, message: bytes) -> None:
        async def scenario(session: EgressSession) -> None:
            reader, writer = await open_client(session)
            writer.write(message)
            answer = await ended(reader)
            assert SUCCEEDED not in answer
            assert len(answer) <= 12
            writer.close()

        run(scenario)

    def test_the_log_names_the_session_and_not_too_often(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario(session: EgressSession) -> None:
            for port in range(1, 30):
                _, (_, writer) = await connect(session, "127.0.0.1", port)
                writer.close()

        with caplog.at_level(logging.INFO, logger="linkpeek.egress"):
            run(scenario, allow=())
        assert caplog.messages[0] == "egress s1: address-refused '127.0.0.1':1"
        assert caplog.messages[-1] == "egress s1: 29 refusals in all"
        assert len(caplog.messages) == session_module.MAX_LOGGED + 1


class TestLimits:
    def test_bytes(self) -> None:
        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

        async def scenario(session: EgressSession) -> None:
            async with Site(flood) as site, Site() as other:
                _, (idle, writer) = await connect(session, "127.0.0.1", other.port)
                _, (reader, writer2) = await connect(session, "127.0.0.1", site.port)
                assert len(await ended(reader)) < 2_000_000
                assert await ended(idle) == b""
                assert session.bytes_in < 2_000_000
                assert session.failure("any.example", 443) == "too-many-bytes"
                writer.close()
                writer2.close()
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await greet(session)

        run(scenario, total_bytes=1_000_000)

    def test_connections_at_once(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                first, second = [await connect(session, "127.0.0.1", site.port) for _ in range(2)]
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await greet(session)
                first[1][1].close()
                await until(lambda: session.open_connections == 1)
                reply, (_, writer) = await connect(session, "127.0.0.1", site.port)
                assert reply == SUCCEEDED
                writer.close()
                second[1][1].close()

        run(scenario, open_connections=2)

    def test_connections_in_total(self) -> None:
        async def scenario(session: EgressSession) -> None:
            for _ in range(3):
                _, (_, writer) = await connect(session, "127.0.0.1", 1)
                writer.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await greet(session)
            assert session.failure("127.0.0.1", 1) == "too-many-connections"

        run(scenario, allow=(), connections=3)

    @pytest.mark.parametrize("sent", [b"", b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01"])
    def test_a_handshake_that_stops(self, sent: bytes) -> None:
        async def scenario(session: EgressSession) -> None:
            reader, writer = await open_client(session)
            writer.write(sent)
            await ended(reader)
            writer.close()

        run(scenario, idle=0.1)

    def test_a_tunnel_that_goes_quiet(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                _, (reader, writer) = await connect(session, "127.0.0.1", site.port)
                assert await ended(reader) == b""
                assert session.quiet_for(asyncio.get_running_loop().time()) >= 0
                writer.close()

        run(scenario, idle=0.1)

    def test_time_to_connect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def never(addresses: object, port: int) -> None:
            await asyncio.Event().wait()

        async def scenario(session: EgressSession) -> None:
            reply, (_, writer) = await connect(session, "127.0.0.1", 80)
            assert (reply, session.failure("127.0.0.1", 80)) == (FAILED, "connect-timeout")
            writer.close()

        monkeypatch.setattr(session_module, "dial", never)
        run(scenario, connect=0.05)


class TestClosing:
    def test_every_tunnel_is_cut(self) -> None:
        async def scenario(session: EgressSession) -> None:
            async with Site() as site:
                readers = []
                for _ in range(5):
                    _, (reader, writer) = await connect(session, "127.0.0.1", site.port)
                    readers.append((reader, writer))
                await session.close()
                await session.close()
                for reader, writer in readers:
                    assert await ended(reader) == b""
                    writer.close()
                with pytest.raises(ConnectionError):
                    await greet(session)

        run(scenario)

    @pytest.mark.parametrize("steps", range(5))
    def test_one_that_was_only_just_taken(self, steps: int) -> None:
        async def scenario(session: EgressSession) -> None:
            address = ("127.0.0.1", int(session.proxy_url.rpartition(":")[2]))
            clients = [socket.create_connection(address) for _ in range(5)]
            for _ in range(steps):
                await asyncio.sleep(0)
            await session.close()
            for client in clients:
                with client, suppress(ConnectionError):
                    client.settimeout(DEADLINE)
                    assert await asyncio.to_thread(client.recv, 1) == b""

        run(scenario)
        gc.collect()  # a socket that nobody closed would be told of now

    @pytest.mark.parametrize("limits", [{}, {"idle": 0.1}])
    def test_a_server_that_takes_nothing_holds_nothing(self, limits: dict[str, float]) -> None:
        """What was still to be sent to it when the browser hung up must not keep a socket for ever."""
        may_read = asyncio.Event()
        got = []

        async def tarpit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            cast(asyncio.Transport, writer.transport).pause_reading()
            await may_read.wait()
            cast(asyncio.Transport, writer.transport).resume_reading()
            got.append(await ended(reader))

        async def scenario(session: EgressSession) -> None:
            async with Site(tarpit) as site:
                _, (_, writer) = await connect(session, "127.0.0.1", site.port)
                (tunnel,) = session._tunnels
                assert tunnel._upstream is not None
                while not tunnel._upstream.transport.get_write_buffer_size():
                    writer.write(bytes(16 * 1024))
                    await asyncio.sleep(0.001)
                writer.close()
                await until(lambda: tunnel.is_lost)
                assert session.open_connections == 1
                if limits:
                    await until(lambda: session.open_connections == 0)
                await session.close()
                sent = session.bytes_out
                may_read.set()
                await until(lambda: bool(got))
                assert len(got[0]) < sent

        run(scenario, **limits)

    def test_an_opening_that_is_given_up_leaves_no_socket(self) -> None:
        async def scenario() -> None:
            before = len(os.listdir("/proc/self/fd"))
            server = EgressServer(Guard(ListedResolver({}), ports=None, allow=()))
            for steps in range(6):
                opening = asyncio.ensure_future(server.open_session())
                for _ in range(steps):
                    await asyncio.sleep(0)
                opening.cancel()
                for done in await asyncio.gather(opening, return_exceptions=True):
                    if isinstance(done, EgressSession):
                        await done.close()
            assert len(os.listdir("/proc/self/fd")) == before

        finished(scenario())

    def test_while_a_name_is_looked_up_and_another_dialled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waiting = []

        class Never:
            async def resolve(self, name: str) -> tuple[IPAddress, ...]:
                waiting.append(name)
                await asyncio.Event().wait()
                return ()

        async def never(addresses: object, port: int) -> None:
            waiting.append(port)
            await asyncio.Event().wait()

        async def scenario() -> None:
            before = asyncio.all_tasks()
            session = await EgressServer(Guard(Never(), ports=None, allow=LOOPBACK)).open_session()
            for request in (
                b"\x05\x01\x00\x03\x09a.example\x00\x50",
                b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
            ):
                _, writer = await greet(session)
                writer.write(request)
                await writer.drain()
            await until(lambda: len(waiting) == 2)
            await session.close()
            assert asyncio.all_tasks() == before

        monkeypatch.setattr(session_module, "dial", never)
        finished(scenario())


class TestDialling:
    def test_the_next_address_when_one_refuses(self) -> None:
        async def scenario() -> None:
            async with Site() as site:
                with await dial(ips("127.0.0.2", "127.0.0.1"), site.port) as sock:
                    assert sock.getpeername() == ("127.0.0.1", site.port)

        finished(scenario())

    def test_the_next_address_when_one_is_silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = dial_module._connect

        async def connect_or_hang(ip: IPAddress, port: int) -> socket.socket:
            if str(ip) == "127.0.0.2":
                await asyncio.Event().wait()
            return await real(ip, port)

        async def scenario() -> None:
            async with Site() as site:
                with await dial(ips("127.0.0.2", "127.0.0.1"), site.port) as sock:
                    assert sock.getpeername() == ("127.0.0.1", site.port)

        monkeypatch.setattr(dial_module, "_connect", connect_or_hang)
        finished(scenario())

    def test_no_more_than_a_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        async def refuse(ip: IPAddress, port: int) -> socket.socket:
            tried.append(ip)
            raise ConnectionRefusedError

        monkeypatch.setattr(dial_module, "_connect", refuse)
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(dial(ips(*(f"127.0.0.{n}" for n in range(1, 100))), 80))
        assert len(tried) == dial_module.MAX_ATTEMPTS
