"""Would this address be opened? The parser and the guard, asked for the operator's eyes."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal, TypedDict

from linkpeek.address import read_address
from linkpeek.egress.guard import Guard, Refused
from linkpeek.egress.hosts import canonical_host
from linkpeek.egress.policy import IPAddress
from linkpeek.errors import LinkPeekError

#: A backslash that escapes nothing, for no escape goes on with what is not ASCII.
_IDLE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\(?=[^\x00-\x7f])")


class Verdict(TypedDict):
    """What is said of one address; ``linkpeek check`` prints it as JSON.

    ``code`` is None for what is allowed; ``canonical`` is None for what cannot
    be read; ``addresses`` are what the host is or resolves to, as far as it was asked.
    """

    uri: str
    verdict: Literal["allow", "refuse"]
    code: str | None
    canonical: str | None
    addresses: list[str]


async def judge_text(text: str, guard: Guard) -> Verdict:
    """Say what the parser and then the guard make of ``text``; never raises."""
    verdict = Verdict(uri=text, verdict="refuse", code=None, canonical=None, addresses=[])
    try:
        address = read_address(text)
        verdict["canonical"] = address.uri
        answer: Iterable[IPAddress] = await guard.addresses(address.host, address.port)
        verdict["verdict"] = "allow"
    except LinkPeekError as exc:
        verdict["code"] = exc.code
        answer = exc.addresses if isinstance(exc, Refused) else ()
    verdict["addresses"] = [str(ip) for ip in answer]
    return verdict


def decoded(raw: bytes, *, escaped: bool) -> str:
    """Turn bytes from outside into text; what is no UTF-8 stays in it as lone surrogates.

    :param escaped: read the text as a Python ``unicode_escape`` besides.
    :raises ValueError: the escapes are malformed.
    """
    text = raw.decode("utf-8", "surrogateescape")
    if escaped:
        text = _IDLE_BACKSLASH.sub(lambda found: found[0] + "\\", text)
        text = text.encode("ascii", "backslashreplace").decode("unicode_escape")
    return text


def read_stub(text: str) -> tuple[str, tuple[IPAddress, ...]]:
    """Read ``NAME=ADDR[,ADDR]``: a name, or ``*`` for any, and what it resolves to (perhaps nothing).

    :raises ValueError: it is not of that form.
    """
    name, equals, addresses = text.partition("=")
    if not equals:
        raise ValueError("must be NAME=ADDR[,ADDR]")
    if name != "*":
        name = canonical_host(name).removesuffix(".")
    words = filter(None, (word.strip() for word in addresses.split(",")))
    return name, tuple(ipaddress.ip_address(word.strip("[]")) for word in words)
