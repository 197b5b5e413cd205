"""Asking DNS, with a time limit that holds.

dnspython's asyncio resolver, not ``getaddrinfo``: that blocks a thread for as
long as the C library pleases, cannot be called off, and answers from
``/etc/hosts`` and whatever else the machine is set up with. Here a lookup that
is given up is gone, any number wait beside each other, search lists are not
used, and only what the machine's name servers say counts.
"""

import asyncio
import ipaddress
import logging
import os
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from linkpeek.egress.names import Unresolvable
from linkpeek.egress.policy import IPAddress

log = logging.getLogger(__name__)

RESOLV_CONF = "/etc/resolv.conf"

#: Seconds that a lookup may take in all, and that one family may take longer than the other.
TIME_LIMIT = 5.0
GRACE = 1.0

#: Where to ask if nobody said so, as the C library does (resolv.conf(5)).
_FALLBACK = "127.0.0.1"


class DnsResolver:
    """Asks the name servers of ``/etc/resolv.conf``, which is read again whenever it changes.

    :param nameservers: addresses to ask instead.
    :param port: at which the name servers listen.
    """

    def __init__(
        self, nameservers: Iterable[str] = (), *, port: int = 53, time_limit: float = TIME_LIMIT
    ) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._time_limit = time_limit
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._read_at: object = None

    async def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """Give the addresses of ``name``, IPv6 and IPv4 by turns.

        A family whose lookup fails while the other's succeeds counts as empty:
        only what was learned is judged, and only what was judged is dialled.

        :raises Unresolvable: neither family has an address.
        """
        ask = self._current()
        lookups = [asyncio.create_task(self._ask(ask, name, family)) for family in ("AAAA", "A")]
        try:
            async with asyncio.timeout(self._time_limit):
                await asyncio.wait(lookups, return_when=asyncio.FIRST_COMPLETED)
                grace = GRACE if any(_answer(lookup) for lookup in lookups) else None
                await asyncio.wait(lookups, timeout=grace)
        except TimeoutError:
            pass
        finally:
            for lookup in lookups:
                lookup.cancel()
        answer = _interleaved(*(_answer(lookup) for lookup in lookups))
        if not answer:
            raise Unresolvable
        return answer

    async def _ask(self, ask: dns.asyncresolver.Resolver, name: str, family: str) -> list[IPAddress]:
        try:
            qname = dns.name.from_text(name + ".")
            answer = await ask.resolve(
                qname, family, search=False, raise_on_no_answer=False, lifetime=self._time_limit
            )
        except (dns.exception.DNSException, OSError, ValueError):
            return []
        return [ipaddress.ip_address(record.address) for record in answer.rrset or ()]

    def _current(self) -> dns.asyncresolver.Resolver:
        stamp = _stamp()
        if self._resolver is None or stamp != self._read_at:
            self._read_at = stamp
            self._resolver = self._configured()
        return self._resolver

    def _configured(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=False)
        if not self._nameservers:
            try:
                resolver.read_resolv_conf(RESOLV_CONF)
            except (dns.exception.DNSException, OSError, ValueError):
                log.warning("%s names no name server; asking %s", RESOLV_CONF, _FALLBACK)
        resolver.nameservers = self._nameservers or resolver.nameservers or [_FALLBACK]
        resolver.port = self._port
        return resolver


def _stamp() -> tuple[int, int] | None:
    try:
        status = os.stat(RESOLV_CONF)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _answer(lookup: "asyncio.Task[list[IPAddress]]") -> list[IPAddress]:
    return lookup.result() if lookup.done() and not lookup.cancelled() else []


def _interleaved(first: list[IPAddress], second: list[IPAddress]) -> tuple[IPAddress, ...]:
    longest = max(len(first), len(second))
    pairs = (ip for n in range(longest) for ip in (*first[n : n + 1], *second[n : n + 1]))
    return tuple(dict.fromkeys(pairs))
