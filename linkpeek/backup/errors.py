"""What can be wrong with a backup, or with the place that it is restored to."""

import contextlib
import errno
from collections.abc import Iterator

from linkpeek.errors import LinkPeekError, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BadBackup(LinkPeekError):
    """The backup is not whole, not unaltered, or not one of ours: nothing of it is used.

    Codes: ``backup-incomplete``, ``backup-damaged``, ``backup-foreign``, ``backup-newer``.
    """

    code = "backup-damaged"


class ServiceExists(LinkPeekError):
    """There is a service already where one is to be restored.

    Codes: ``service-exists``, ``service-running``, ``restore-running``.
    """

    code = "service-exists"


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the system's errors into the service's.

    :param what: what could not be done, as in "The backup could not be written".
    :raises Unavailable: ``disk-full`` or ``disk-unavailable``.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise Unavailable(f"{what}: the disk is full.", code="disk-full") from exc
        raise Unavailable(f"{what}: {exc.strerror or exc}.", code="disk-unavailable") from exc
