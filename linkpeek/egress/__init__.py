"""The egress guard: the only way out for a page that is being captured.

``policy`` judges an address, ``hosts`` reads a host name, ``guard`` puts the
two together with a ``resolver``, and ``session`` is the SOCKS5 server through
which one capture's browser context reaches the network. See ``docs/egress.md``.
"""

from linkpeek.egress.guard import Guard, Refused
from linkpeek.egress.names import ListedResolver, Resolver, Unresolvable
from linkpeek.egress.session import EgressServer, EgressSession, Limits

__all__ = [
    "EgressServer",
    "EgressSession",
    "Guard",
    "Limits",
    "ListedResolver",
    "Refused",
    "Resolver",
    "Unresolvable",
]
