"""A network of one's own, with nothing in it but loopback.

As root, a test enters it with everything it starts: the real ports (80, 443,
5200) are free there, whatever runs on the machine, and nothing gets out. Other
users stay in the machine's network, where those ports have to be free.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000  # unshare(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def own_network() -> Iterator[None]:
    """Move the calling thread, and what it starts from now on, into a new network."""
    if os.geteuid() != 0:
        yield
        return
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)
