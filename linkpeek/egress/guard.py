"""The guard: a host and a port in, the addresses that may be dialled out, or a refusal.

What cannot be judged without asking DNS is judged by ``Guard.addresses``; what
can, by ``admit``, which the parser at the edge uses too, so that both agree.
"""

from linkpeek.egress import hosts
from linkpeek.egress.names import PinnedResolver, Resolver, Unresolvable
from linkpeek.egress.policy import IPAddress, Network, allowed, judge, unmapped
from linkpeek.errors import AddressRefused


class Refused(AddressRefused):
    """The guard does not open this: ``port-refused``, ``name-refused`` or ``address-refused``.

    :ivar addresses: what the name resolved to, for the operator's eyes only.
    """

    addresses: tuple[IPAddress, ...] = ()


def admit(
    host: str, port: int, *, ports: frozenset[int] | None, allow: tuple[Network, ...]
) -> IPAddress | None:
    """Judge as much of a destination as can be judged without asking anyone.

    :param host: a canonical host, see :func:`linkpeek.egress.hosts.canonical_host`.
    :param ports: the ports that may be opened; None for any.
    :returns: the address where ``host`` is one, and passed; None where a name must be resolved.
    :raises Refused:
    """
    if port == 0 or (ports is not None and port not in ports):
        raise Refused("This port is not open to captures.", code="port-refused")
    ip = hosts.ip_literal(host)
    if ip is not None:
        return _judged(ip, allow)
    if hosts.is_special(host) and not allow:
        raise Refused("Names of private networks are not opened.", code="name-refused")
    return None


def _judged(ip: IPAddress, allow: tuple[Network, ...]) -> IPAddress:
    reason = judge(ip, allow)
    if reason is None:
        return unmapped(ip)
    refusal = Refused(f"Only public addresses are opened; this one is not ({reason}).")
    refusal.addresses = (ip,)
    raise refusal


class Guard:
    """Says which addresses a destination may be reached at.

    :param ports: the ports that may be opened; None for any.
    :param allow: networks that are opened besides the global ones.
    """

    def __init__(
        self, resolver: Resolver, *, ports: frozenset[int] | None, allow: tuple[Network, ...]
    ) -> None:
        self.allow = allow
        self.ports = ports
        self.resolver = resolver

    def pinned(self) -> tuple["Guard", PinnedResolver]:
        """Give a guard with the same rules that asks for each name once, and what holds its answers."""
        pins = PinnedResolver(self.resolver)
        return Guard(pins, ports=self.ports, allow=self.allow), pins

    async def addresses(self, host: str, port: int) -> list[IPAddress]:
        """Give the judged addresses of a destination, at least one, in the order to dial.

        Every address of an answer must pass: one bad one refuses the name.

        :raises Refused: and nothing may be dialled.
        :raises Unresolvable: the name has no address.
        """
        try:
            host = hosts.canonical_host(host)
        except ValueError:
            raise Refused("This is not a host name.", code="name-refused") from None
        literal = admit(host, port, ports=self.ports, allow=self.allow)
        if literal is not None:
            return [literal]
        if hosts.is_special(host):
            return await self._special(host)
        answer = await self._resolve(host)
        if any(judge(ip, self.allow) for ip in answer):
            raise _refused_name(answer)
        return [unmapped(ip) for ip in answer]

    async def _special(self, host: str) -> list[IPAddress]:
        """Answer for a name of private meaning: only ever with what the operator opened."""
        loopback = hosts.loopback_of(host)
        if loopback:
            opened = [ip for ip in loopback if allowed(ip, self.allow)]
            if not opened:
                raise _refused_name(loopback)
            return opened
        answer = await self._resolve(host)
        if not all(allowed(ip, self.allow) and judge(ip, self.allow) is None for ip in answer):
            raise _refused_name(answer)
        return [unmapped(ip) for ip in answer]

    async def _resolve(self, host: str) -> tuple[IPAddress, ...]:
        answer = await self.resolver.resolve(host.removesuffix("."))
        if not answer:
            raise Unresolvable
        return answer


def _refused_name(answer: tuple[IPAddress, ...]) -> Refused:
    refusal = Refused("Only names with nothing but public addresses are opened.")
    refusal.addresses = answer
    return refusal
