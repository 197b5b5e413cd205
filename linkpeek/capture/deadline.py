"""How the time of one capture is shared out: an answer is always given in time."""

import asyncio

from linkpeek.geometry import Extent

#: What is kept of the time for taking the picture: at most these seconds, at most this share.
RESERVE = {Extent.VIEWPORT: 4.0, Extent.FULL: 8.0}
RESERVE_SHARE = 0.35

#: What is kept for handing the answer over, likewise.
HANDOVER, HANDOVER_SHARE = 0.2, 0.05


class Deadline:
    """The limits of one capture, as loop times in seconds.

    :ivar hard: when the answer must be given.
    :ivar soft: when waiting ends and the picture is taken.
    """

    def __init__(self, started: float, seconds: float, extent: Extent) -> None:
        """:param started: loop time at which the request came."""
        self._loop = asyncio.get_running_loop()
        self.seconds = seconds
        self.hard = started + seconds - min(HANDOVER, seconds * HANDOVER_SHARE)
        self.soft = self.hard - min(RESERVE[extent], seconds * RESERVE_SHARE)

    def now(self) -> float:
        """Give the loop's time."""
        return self._loop.time()

    def left(self) -> float:
        """Give the seconds until the answer must be given."""
        return self.hard - self.now()

    def is_due(self) -> bool:
        """Whether waiting must end."""
        return self.now() >= self.soft

    def soon(self, seconds: float) -> float:
        """Give the loop time in so many seconds, but not beyond where waiting ends."""
        return min(self.soft, self.now() + seconds)

    def patience(self) -> float:
        """Seconds that a question to the page may take when its picture is due."""
        return min(2.0, max(0.1, self.left() / 4))
