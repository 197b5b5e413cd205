"""Dialling: one connection to the first of the judged addresses that answers.

A new attempt starts when the last one failed or took ``STAGGER`` seconds, as
RFC 8305 ("Happy Eyeballs") has it, so that a dead address costs little.
"""

import asyncio
import socket
from collections.abc import Sequence

from linkpeek.egress.policy import IPAddress

#: Seconds between attempts (RFC 8305, section 8), and how many addresses are tried at most.
STAGGER = 0.25
MAX_ATTEMPTS = 6


async def dial(addresses: Sequence[IPAddress], port: int) -> socket.socket:
    """Connect to one of ``addresses``; the caller sets the time limit and owns the socket.

    :raises OSError: none of them took the connection.
    """
    if len(addresses) == 1:  # the usual case has nothing to race
        return await _connect(addresses[0], port)
    race = _Race(port)
    try:
        return await race.run(addresses[:MAX_ATTEMPTS])
    finally:
        race.close()


class _Race:
    """Attempts that run beside each other until one of them has won."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._running: set[asyncio.Task[socket.socket]] = set()
        self._error: OSError = OSError("no address to dial")

    async def run(self, addresses: Sequence[IPAddress]) -> socket.socket:
        for ip in addresses:
            self._running.add(asyncio.create_task(_connect(ip, self._port)))
            if winner := await self._winner(STAGGER):
                return winner
        while self._running:
            if winner := await self._winner(None):
                return winner
        raise self._error

    async def _winner(self, seconds: float | None) -> socket.socket | None:
        done, self._running = await asyncio.wait(
            self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        winner = None
        for attempt in done:
            try:
                sock = attempt.result()
            except OSError as exc:
                self._error = exc
                continue
            if winner is None:
                winner = sock
            else:
                sock.close()
        return winner

    def close(self) -> None:
        for attempt in self._running:
            attempt.add_done_callback(_close_late)
            attempt.cancel()


def _close_late(attempt: "asyncio.Task[socket.socket]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(ip: IPAddress, port: int) -> socket.socket:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (str(ip), port))
    except BaseException:
        sock.close()
        raise
    return sock
