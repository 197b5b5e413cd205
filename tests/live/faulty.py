"""A running service whose disk, a few megabytes of its own, can be filled, taken away and locked.

``pserve`` and its worker live in a mount namespace in which data_dir is a tmpfs. From
outside, the same files are reached through ``/proc/PID/root``.
"""

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import psutil

from linkpeek.security import md5_token
from tests.factories import APIKEY, SECRET
from tests.live.processes import family, kill, wait_until
from tests.live.running import INI, Service, free_port, is_ready

#: Becomes the service: $1 the folder, $2 the disk's size in MiB, $3 the ini file, $4 Python.
START = f"""
set -eu
mount -t tmpfs -o size="$2"m,mode=0755 tmpfs "$1"
"$4" -m linkpeek init "$3"
echo {SECRET} | "$4" -m linkpeek key add "$3" --name test --apikey {APIKEY} --secret -
exec "$4" -m pyramid.scripts.pserve "$3"
"""
#: Goes between a program and its C library: the clock on the wall is wrong by so many seconds
#: as stand in a file. What is measured, such as time limits, goes by another clock.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile long *wrong;
static int (*real)(clockid_t, struct timespec *);
__attribute__((constructor)) static void begin(void) {
    wrong = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("WRONG_BY"), O_RDONLY), 0);
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}
int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = real(which, now);
    if (!failed && which == CLOCK_REALTIME) now->tv_sec += *wrong;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec, now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *also) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return also ? *also = now.tv_sec : now.tv_sec;
}
"""
#: Holds a lock until nobody writes to it any more.
HOLD = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""
OWN_MOUNTS = ["unshare", "--mount", "--propagation", "private"]
AS_ROOT = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


@dataclass(frozen=True)
class Answer:
    """An answer of the service, and the seconds that it took."""

    status: int
    headers: Message
    seconds: float

    @property
    def code(self) -> str | None:
        return self.headers["X-LinkPeek-Error"]

    @property
    def state(self) -> str | None:
        return self.headers["X-LinkPeek-State"]


@dataclass(frozen=True)
class Faulty:
    """The service.

    :ivar disk: its data folder, as seen from here.
    """

    process: psutil.Process
    port: int
    disk: Path
    folder: Path

    def get(self, path: str, timeout: float = 30) -> Answer:
        since = time.monotonic()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
        return Answer(response.status, response.headers, time.monotonic() - since)

    def ask(self, uri: str, size: str = "336", **more: str) -> Answer:
        """Ask for a picture as a client of the API does."""
        values = {"uri": uri, "apikey": APIKEY, "token": md5_token(SECRET, uri, size), "size": size, **more}
        return self.get("/api/v1?" + urlencode(values))

    def ended(self, uri: str, seconds: float, size: str = "336") -> Answer:
        """Ask until there is a picture, or the reason why there is none."""

        def look() -> Answer | None:
            answer = self.ask(uri, size)
            return answer if answer.state != "pending" else None

        return wait_until(look, seconds, "the capture ends")

    @contextmanager
    def filled(self, free: int) -> Iterator[None]:
        """Leave only so many bytes of the disk free."""
        ballast = self.disk / "ballast"
        room = shutil.disk_usage(self.disk).free - free
        try:
            with ballast.open("wb") as file, suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(room, 1))
            while free == 0 and self._grow(ballast):
                pass
            yield
        finally:
            ballast.unlink()

    def _grow(self, ballast: Path) -> bool:
        try:
            with ballast.open("ab") as file:
                file.write(bytes(os.sysconf("SC_PAGE_SIZE")))
        except OSError:
            return False
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the database's one lock for writing, in another process."""
        command = [*self._enter(), sys.executable, "-c", HOLD, str(self.folder / "linkpeek.sqlite")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            try:
                assert other.stdout.readline() == b"locked\n"
                yield
            finally:
                other.stdin.close()

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Take the database away."""
        names = [path.name for path in self.disk.glob("linkpeek.sqlite*")]
        away = self.disk / "away"
        away.mkdir()
        for name in names:
            (self.disk / name).rename(away / name)
        try:
            yield
        finally:
            for path in self.disk.glob("linkpeek.sqlite*"):
                path.unlink()
            for name in sorted(names, reverse=True):  # the file itself last
                (away / name).rename(self.disk / name)
            away.rmdir()

    @contextmanager
    def set_back(self, seconds: int) -> Iterator[None]:
        """Set the clock of all its processes back, and right again afterwards."""
        clock = self.folder.parent / "clock"
        _set(clock, -seconds)
        try:
            yield
        finally:
            _set(clock, 0)

    @contextmanager
    def read_only(self, name: str) -> Iterator[None]:
        """Make a folder of the disk read-only for everything that is opened from now on."""
        path = str(self.folder / name)
        self._in_there("mount", "--bind", path, path)
        self._in_there("mount", "-o", "remount,bind,ro", path)
        try:
            yield
        finally:
            self._in_there("umount", "--lazy", path)

    def _in_there(self, *command: str) -> None:
        subprocess.run([*self._enter(), *command], check=True, timeout=30)

    def _enter(self) -> list[str]:
        user = ["--user", "--preserve-credentials"] if AS_ROOT else []
        return ["nsenter", "--target", str(self.process.pid), "--mount", *user]


def _set(clock: Path, wrong: int) -> None:
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(struct.pack("l", wrong))


def own_clock(folder: Path) -> dict[str, str]:
    """Make a clock that can be set; give what a program must have in its environment to go by it."""
    source, library, clock = folder / "clock.c", folder / "clock.so", folder / "clock"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    _set(clock, 0)
    return {"LD_PRELOAD": str(library), "WRONG_BY": str(clock)}


@contextmanager
def faulty_service(folder: Path, megabytes: int, **settings: object) -> Iterator[Faulty]:
    """Start a service on a disk of its own, and end all of it afterwards."""
    data, port = folder / "data", free_port()
    data.mkdir()
    more = "\n".join(f"linkpeek.{name} = {value}" for name, value in settings.items())
    ini = folder / "service.ini"
    ini.write_text(INI.format(more=more, port=port).replace("data_dir = %(here)s", f"data_dir = {data}"))
    arguments = [str(data), str(megabytes), str(ini), sys.executable]
    command = [*OWN_MOUNTS, *AS_ROOT, "sh", "-c", START, "sh", *arguments]
    with subprocess.Popen(command, env=os.environ | own_clock(folder)) as started:
        process = psutil.Process(started.pid)
        service = Service(f"http://127.0.0.1:{port}")
        try:
            wait_until(lambda: started.poll() is not None or is_ready(service), 60, "the service is ready")
            assert started.poll() is None
            yield Faulty(process, port, Path(f"/proc/{started.pid}/root{data}"), data)
        finally:
            if started.poll() is None:
                kill(family(process))
