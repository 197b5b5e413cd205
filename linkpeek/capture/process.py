"""One Chromium process: started, connected to, and gone without a trace."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from linkpeek.capture import flags, shim
from linkpeek.capture.cage import Cage
from linkpeek.capture.cdp import Connection, ProtocolError
from linkpeek.capture.profile import Profile
from linkpeek.errors import Unavailable

log = logging.getLogger(__name__)

#: Seconds from start to the first answer; warm it takes 0.2, on a cold and busy disk many.
START_TIMEOUT = 30.0

#: Seconds that killed processes may take to disappear.
END_TIMEOUT = 5.0

#: Bytes of the browser's complaints that are kept to say why it did not start.
COMPLAINTS = 4096


class Chromium:
    """A running browser and the connection to it.

    Start it on a thread that lives as long as the browser should: the browser is
    killed by the kernel when that thread ends, and so with the process, however
    that ends. Its children (zygote, GPU, network, renderers) end when the
    browser's end of their channel closes.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", connection: Connection, profile: Profile, cage: Cage) -> None:
        self._process = process
        self._profile = profile
        self._cage = cage
        self.connection = connection
        self.version = ""

    @classmethod
    async def start(cls, executable: Path, *, sandbox: bool, folder: Path | None = None) -> "Chromium":
        """Start a browser and wait for its first answer.

        :param folder: where its throw-away folder is made; the system's when None.
        :raises Unavailable: it does not start; the message says what it complained of.
        """
        profile = Profile(folder)
        cage = Cage.build()
        complaints = _Complaints()
        try:
            self = await cls._spawn(executable, sandbox, profile, cage, complaints)
        except BaseException:
            profile.remove()
            cage.remove()
            raise
        try:
            version = await self.connection.browser.call("Browser.getVersion", timeout=START_TIMEOUT)
        except BaseException as exc:
            await self.close()
            if isinstance(exc, ProtocolError):
                raise Unavailable(f"The browser does not start: {complaints.summary() or exc}") from None
            raise
        self.version = str(version["product"])
        return self

    @classmethod
    async def _spawn(
        cls, executable: Path, sandbox: bool, profile: Profile, cage: Cage, complaints: "_Complaints"
    ) -> "Chromium":
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()
        errors_out, errors_in = os.pipe()
        command = [python(), "-I", "-S", shim.__file__, str(os.getpid()), str(commands_out), str(answers_in)]
        try:
            process = subprocess.Popen(
                [*command, *cage.limits, "--", *flags.command_line(executable, profile=profile.path, sandbox=sandbox)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors_in,
                cwd=profile.path,
                env=flags.environment(profile.path),
                pass_fds=(commands_out, answers_in),
                start_new_session=True,
            )
        except OSError as exc:
            for fd in (commands_in, answers_out, errors_out):
                os.close(fd)
            raise Unavailable(f"The browser does not start: {exc}") from exc
        finally:
            for fd in (commands_out, answers_in, errors_in):
                os.close(fd)
        cage.take(process.pid)
        connection = await Connection.open(answers_out, commands_in)
        await asyncio.get_running_loop().connect_read_pipe(lambda: complaints, open(errors_out, "rb", 0))
        return cls(process, connection, profile, cage)

    @property
    def pid(self) -> int:
        """The browser process, which leads a session and a process group of its own."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether commands can still be sent."""
        return not self.connection.is_closed

    async def close(self) -> None:
        """Kill every process of the browser and remove its folder; may be repeated."""
        self.connection.close()
        deadline = time.monotonic() + END_TIMEOUT
        while self._kill() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._cage.remove()
        self._profile.remove()

    def _kill(self) -> bool:
        """Kill what is left; whether anything was.

        There is nothing to save, so nobody is asked to end. The group's leader is
        reaped last: until then its number cannot become anyone else's.
        """
        if self._process.returncode is not None:
            return False
        self._cage.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None or _others(self.pid):
            return True
        self._process.wait()
        return False


class _Complaints(asyncio.Protocol):
    """Keeps the last of what the browser writes to its standard error."""

    def __init__(self) -> None:
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-COMPLAINTS:]

    def summary(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        telling = [line for line in lines if line and not line.startswith("#")]
        return telling[-1][:300] if telling else ""


def python() -> str:
    """Give a Python interpreter; ``sys.executable`` is uWSGI's own program inside uWSGI."""
    if "python" in os.path.basename(sys.executable or ""):
        return sys.executable
    return os.path.join(sys.exec_prefix, "bin", f"python{sys.version_info.major}")


def _others(group: int) -> list[int]:
    """Give the living processes of a group besides its leader."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != group:
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, _, process_group = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
                if int(process_group) == group and state not in "ZX":
                    found.append(int(name))
    return found


