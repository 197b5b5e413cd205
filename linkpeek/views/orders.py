"""What a query of API v1 asks for, remembered: the same few are asked for again and again.

Nothing is believed from memory. What is remembered follows from the query's text alone;
whether its token is right, and which picture there is, is looked up each time.
"""

from dataclasses import dataclass

from linkpeek.geometry import Size
from linkpeek.services.keys import Meaning
from linkpeek.services.snapshots import Target

#: Queries that a process remembers, and the characters of the longest.
MOST, LONGEST = 4096, 1024


@dataclass(frozen=True, slots=True)
class Order:
    """A query that was understood.

    :ivar meant: the reading that the token was made for.
    :ivar key: the target's.
    :ivar max_age: see ``SnapshotService.request``.
    """

    apikey: str
    token: str
    meant: Meaning
    target: Target
    key: str
    size: Size
    max_age: int | None


class Orders:
    """The queries whose token was right when they came first: so strangers cannot fill it."""

    def __init__(self) -> None:
        self._known: dict[str, Order] = {}

    def get(self, query: str) -> Order | None:
        """Give what a query asks for, if it is remembered."""
        return self._known.get(query)

    def put(self, query: str, order: Order) -> None:
        """Remember a query, unless it is a long one."""
        if len(query) > LONGEST:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[query] = order
