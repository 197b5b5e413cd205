"""One Chromium process: started, connected to, and gone without a trace."""

import asyncio
import contextlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

from linkpeek.capture import flags
from linkpeek.capture.cage import Cage
from linkpeek.capture.cdp import Connection, ProtocolError
from linkpeek.capture.leftovers import note_session
from linkpeek.capture.procfs import group_of, pids
from linkpeek.capture.profile import Profile
from linkpeek.capture.spawn import Spawned, spawn
from linkpeek.errors import Unavailable

#: Seconds from start to the first answer; warm it takes 0.2, on a cold and busy disk many.
START_TIMEOUT = 30.0

#: Seconds that killed processes may take to disappear, and between looks.
END_TIMEOUT, END_PAUSE = 5.0, 0.02

#: Bytes of the browser's complaints that are kept to say why it did not start.
COMPLAINTS = 4096


class Chromium:
    """A running browser and the connection to it.

    Start it on a thread that lives as long as the browser should: the browser is
    killed by the kernel when that thread ends, and so with the process, however
    that ends. Its children (zygote, GPU, network, renderers) end when the
    browser's end of their channel closes; what does not, by the next worker (see ``leftovers``).

    :ivar version: its own name and version, such as ``HeadlessChrome/1.2.3.4``.
    """

    def __init__(self, spawned: Spawned, profile: Profile, cage: Cage) -> None:
        self._process = spawned.process
        self._profile = profile
        self._cage = cage
        self._complaints = _Complaints()
        self._closing: asyncio.Task[None] | None = None
        self.connection = Connection()
        self.version = ""

    @classmethod
    async def start(cls, executable: Path, *, sandbox: bool, folder: Path | None = None) -> "Chromium":
        """Start a browser and wait for its first answer; whoever gives up waiting leaves nothing behind.

        :param sandbox: False only where the process is root.
        :param folder: where its throw-away folder is made; the system's temp folder when None.
        :raises Unavailable: it does not start; the message says what it complained of.
        """
        profile = Profile(folder)
        cage = Cage.build()
        try:
            spawned = spawn(
                flags.command_line(executable, profile=profile.path, sandbox=sandbox),
                limits=cage.limits,
                environment=flags.environment(profile.path),
                folder=profile.path,
                group=cage.path,
            )
        except BaseException:
            profile.remove()
            cage.remove()
            raise
        self = cls(spawned, profile, cage)
        try:
            # Whoever gives up: the pipes are taken over, so that there is someone to close them.
            await asyncio.shield(self._take_pipes(spawned))
            await self._greet()
            cage.inspect(self.pid)
            self._note()
        except BaseException:
            await self.close()
            raise
        return self

    def _take_pipes(self, spawned: Spawned) -> "asyncio.Future[Any]":
        return asyncio.gather(
            self.connection.open(spawned.answers, spawned.commands), self._complaints.read(spawned.errors)
        )

    async def _greet(self) -> None:
        """Wait until the browser answers."""
        try:
            version = await self.connection.browser.call("Browser.getVersion", limit=START_TIMEOUT)
        except ProtocolError as exc:
            await self._complaints.ended(1.0)
            reason = self._complaints.summary() or exc
            raise Unavailable(f"The browser does not start: {reason}") from None
        self.version = str(version["product"])

    def _note(self) -> None:
        try:
            note_session(self._profile.path, self.pid)
        except OSError as exc:  # the disk is full, or the browser has just ended
            raise Unavailable(f"The browser does not start: {exc}") from exc

    @property
    def pid(self) -> int:
        """The browser process, which leads a session and a process group of its own."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether commands can still be sent."""
        return not self.connection.is_closed

    async def close(self) -> None:
        """Kill every process of the browser and remove its folder; may be repeated.

        Once begun, this goes on to its end, whoever gives up waiting for it.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.connection.close()
        deadline = time.monotonic() + END_TIMEOUT
        while self._kill() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells when a group is empty
            await asyncio.sleep(END_PAUSE)
        self._complaints.close()
        self._cage.remove()
        await asyncio.to_thread(self._profile.remove)

    def _kill(self) -> bool:
        """Kill what is left; whether anything was.

        There is nothing to save, so nobody is asked to end. The group's leader is
        reaped last: until then its number cannot become anyone else's.
        """
        if self._process.returncode is not None:
            return False
        self._cage.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if not _has_ended(self.pid) or _others(self.pid) or self._cage.is_populated:
            return True
        self._process.wait()
        return False


class _Complaints(asyncio.Protocol):
    """Keeps the last of what the browser writes to its standard error."""

    def __init__(self) -> None:
        self._tail = b""
        self._transport: asyncio.BaseTransport | None = None
        self._ended = asyncio.Event()

    async def read(self, fd: int) -> None:
        """Take over our end of the pipe that the browser writes to."""
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, io.FileIO(fd, "r"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-COMPLAINTS:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    def close(self) -> None:
        """Listen no more."""
        if self._transport is not None:
            self._transport.close()

    async def ended(self, seconds: float) -> None:
        """Wait until all is said, but not longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    def summary(self) -> str:
        """The first line that tells of a fatal error, or else the last one of all."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        telling = [line for line in lines if line and not line.startswith("#")]
        fatal = [line for line in telling if "FATAL" in line]
        return (fatal or telling[-1:] or [""])[0][:400]


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _others(group: int) -> list[int]:
    """Give the living processes of a group besides its leader."""
    return [pid for pid in pids() if pid != group and group_of(pid) == group]
