"""A name server on loopback that answers as a test says."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

#: For one name: the words of the answers to the first lookup, the second, ...; the last one stays.
Script = Sequence[Mapping[str, str]]


class NameServer(asyncio.DatagramProtocol):
    """Answers over UDP.

    Words: ``A``, ``AAAA``, ``CNAME``, ``NXDOMAIN``, ``SERVFAIL``, ``NODATA``, ``TIMEOUT``.
    """

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = scripts
        self.asked: Counter[tuple[str, str]] = Counter()
        self.port = 0

    async def __aenter__(self) -> "NameServer":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        family = dns.rdatatype.to_text(question.rdtype)
        number = self.asked[name, family]
        self.asked[name, family] += 1
        script = self.scripts.get(name, [{"NXDOMAIN": ""}])
        words = script[min(number, len(script) - 1)]
        if "TIMEOUT" not in words:
            self._transport.sendto(_answer(query, words, family), address)


def _answer(query: dns.message.Message, words: Mapping[str, str], family: str) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    owner = query.question[0].name
    if "CNAME" in words:
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", words["CNAME"] + "."))
        owner = response.answer[0][0].target
    for word, rcode in (("NXDOMAIN", dns.rcode.NXDOMAIN), ("SERVFAIL", dns.rcode.SERVFAIL)):
        if word in words:
            response.set_rcode(rcode)
    if words.get(family) and words[family] != "NODATA":
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", family, *words[family].split(",")))
    return response.to_wire()
