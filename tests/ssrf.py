"""The list of hostile addresses, ``ssrf_cases.tsv``, as tests read it; its header explains the fields.

Pages that make many attempts each are files of their own, below ``live/hostile/pages``.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIST = Path(__file__).with_name("ssrf_cases.tsv")
PAGES = Path(__file__).with_name("live") / "hostile" / "pages"
URL_KINDS = frozenset({"scheme", "ipv4", "ipv6", "name", "userinfo", "port", "size", "encoding"})

#: What a name without a stub resolves to.
DEFAULT_ADDRESS = "93.184.216.34"

_STUB = re.compile(r"stub (?:([a-z0-9.-]+) )?((?:A|AAAA)=[^\s;]+(?:;(?:A|AAAA)=[^\s;]+)*|NXDOMAIN)")


@dataclass(frozen=True)
class Case:
    """One line of the list.

    :ivar line: the case as it stands in the file, escapes and all.
    :ivar text: the case, decoded.
    :ivar headers: of the answer, where a page needs some; ``Status`` among them is its status.
    """

    id: str
    verdict: str
    kind: str
    line: str
    text: str
    reason: str
    stubs: dict[str, tuple[str, ...]] = field(compare=False)
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def raw_bytes(self) -> bool:
        """Whether what is sent are the bytes of latin-1, no text."""
        return "RAW-BYTES" in self.reason

    def __str__(self) -> str:
        return self.id


def cases(*kinds: str) -> list[Case]:
    """Read the cases of some kinds."""
    return [case for case in _read() if case.kind in kinds]


def page_files() -> list[Case]:
    """Read the pages that are files: served over ``plain`` HTTP or ``secure``, which is their kind."""
    return [
        Case(path.stem, "refuse", path.parent.name, "", path.read_text(), "", {}, _headers(path))
        for path in sorted(PAGES.glob("*/*.html"))
    ]


def _headers(page: Path) -> tuple[tuple[str, str], ...]:
    file = page.with_suffix(".headers")
    lines = file.read_text().splitlines() if file.exists() else []
    return tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))


def _read() -> Iterator[Case]:
    for line in LIST.read_text("ascii").splitlines():
        if not line.startswith("#"):
            identity, verdict, kind, text, reason = line.split("\t")
            decoded = text.encode("ascii").decode("unicode_escape")
            yield Case(identity, verdict, kind, text, decoded, reason, _stubs(reason))


def _stubs(reason: str) -> dict[str, tuple[str, ...]]:
    """Read what names resolve to; ``*`` is the host of the case."""
    return {name or "*": _addresses(answer) for name, answer in _STUB.findall(reason)}


def _addresses(answer: str) -> tuple[str, ...]:
    if answer == "NXDOMAIN":
        return ()
    return tuple(word for part in answer.split(";") for word in part.partition("=")[2].split(","))


def answers(case: Case) -> dict[str, tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]]:
    """Give what the stub resolver answers for a case."""
    texts = {"*": (DEFAULT_ADDRESS,)} | case.stubs
    return {name: tuple(map(ipaddress.ip_address, words)) for name, words in texts.items()}
