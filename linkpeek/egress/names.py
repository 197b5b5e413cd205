"""What the guard needs of name resolution: the interface, its one error, and an answer that stays.

``resolver`` asks DNS; tests and ``linkpeek check --resolve`` answer from a list.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from linkpeek.egress.policy import IPAddress
from linkpeek.errors import LinkPeekError


class Unresolvable(LinkPeekError):
    """There is no such name, it has no address, or nobody answered in time."""

    code = "unresolvable"

    def __init__(self, message: str = "The host name does not resolve.") -> None:
        super().__init__(message)


class Resolver(Protocol):
    """Whoever turns a name into addresses."""

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """Give every IPv4 and IPv6 address of ``name``, in the order to dial; aliases are followed.

        :param name: canonical, ASCII, without a root dot.
        :raises Unresolvable: there is none, or none was learned within the resolver's own time limit.
        """


class ListedResolver:
    """Answers from a list and asks nobody.

    :param answers: canonical name without root dot, or ``*`` for any other, to its addresses.
    """

    def __init__(self, answers: Mapping[str, tuple[IPAddress, ...]]) -> None:
        self._answers = answers

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """See :class:`Resolver`."""
        answer = self._answers.get(name, self._answers.get("*", ()))
        if not answer:
            raise Unresolvable
        return answer


class PinnedResolver:
    """Asks for each name once and keeps to that answer for its own lifetime.

    One lives as long as one capture does. A name that changes its address
    meanwhile (rebinding) is not asked for again; a failure is not kept.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._lookups: dict[str, asyncio.Task[tuple[IPAddress, ...]]] = {}

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """See :class:`Resolver`."""
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(name))
            lookup.add_done_callback(_noted)
            self._lookups[name] = lookup
        # Others may wait for the same answer, so one that stops waiting must not end the lookup.
        return await asyncio.shield(lookup)

    async def _look_up(self, name: str) -> tuple[IPAddress, ...]:
        try:
            return await self._resolver.resolve(name)
        except BaseException:
            del self._lookups[name]
            raise

    async def close(self) -> None:
        """End the lookups that still run, and wait until they have ended."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)


def _noted(lookup: "asyncio.Task[tuple[IPAddress, ...]]") -> None:
    # A failure that nobody waits for any more is no news; unread, asyncio would log it.
    if not lookup.cancelled():
        lookup.exception()
