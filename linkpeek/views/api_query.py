"""Reading API v1's query string the way its clients in the wild write it.

Some percent-encode ``uri`` with ``%20``, some with ``+``, and some leave it raw,
so that the page's own ``&`` end up among our parameters. A raw query string can
mean several things; all of them are listed, and the token, which its client made
from what it meant, tells which one it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from urllib.parse import unquote, unquote_plus

from linkpeek.errors import ParameterError
from linkpeek.services.keys import Meaning

PARAMETERS = frozenset({"uri", "apikey", "token", "size", "viewport", "ttl"})
#: Bytes: an address of 2048 characters, each percent-encoded as four bytes of
#: UTF-8, and as much again for everything else.
MAX_QUERY = 32 * 1024
#: More parts than any address of the wild has; bounds the meanings to compare.
MAX_PARTS = 100
MAX_TTL = 10**9


@dataclass(frozen=True, slots=True)
class ApiQuery:
    """A query: who says it is asking, and all that it may be asking for.

    :ivar problem: what is wrong with the query when it is read the plain way.
    """

    apikey: str
    token: str
    readings: list[Meaning]
    problem: ParameterError | None


def parse_query(query: str) -> ApiQuery:
    """Read a query string.

    :param query: as WSGI gives it: bytes decoded as latin-1.
    :raises ParameterError: ``missing-parameter``, ``repeated-parameter``,
        ``bad-encoding``, ``query-too-long``.
    """
    if len(query) > MAX_QUERY:
        raise ParameterError("The query is too long.", code="query-too-long")
    parts = _utf8(query).split("&")
    if len(parts) > MAX_PARTS:
        raise ParameterError("The query has too many parts.", code="query-too-long")
    # Each part is decoded once, though it belongs to many readings: strangers may send any query.
    values = [_Value(part) for part in parts]
    start = next((index for index, value in enumerate(values) if value.name == "uri"), None)
    if start is None:
        raise ParameterError("The parameter uri is missing.", code="missing-parameter")
    spelt = [_spellings(part) for part in (values[start].raw, *parts[start + 1 :])]
    problem: ParameterError | None = None
    plain_problem: ParameterError | None = None
    found: list[tuple[dict[str, str], list[str]]] = []
    for end in range(start + 1, len(parts) + 1):
        try:
            others = _parameters(values[:start] + values[end:])
        except ParameterError as exc:
            problem = problem or exc
            plain_problem = exc if end == start + 1 else plain_problem
            if exc.code == "missing-parameter":
                break  # and so it would be from each later end
        else:
            found.append((others, _joined(spelt[: end - start])))
    if not found:
        raise problem or ParameterError("The query is not understood.", code="missing-parameter")
    first = found[0][0]
    readings = [
        Meaning(uri, others.get("size", ""), others.get("viewport", ""), others.get("ttl", ""))
        for others, uris in found
        for uri in uris
    ]
    return ApiQuery(first["apikey"], first["token"], list(dict.fromkeys(readings)), plain_problem)


def parse_ttl(text: str) -> int | None:
    """Read ``ttl``: whole seconds, or nothing.

    :raises ParameterError: ``bad-ttl``.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_TTL):
        raise ParameterError(f"ttl must be whole seconds, from 0 to {MAX_TTL}.", code="bad-ttl")
    return int(text)


def _utf8(query: str) -> str:
    try:
        return query.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise ParameterError("The query is not UTF-8.", code="bad-encoding") from None


class _Value:
    """A part of a query, as a parameter."""

    def __init__(self, part: str) -> None:
        self.name, _, self.raw = part.partition("=")

    @cached_property
    def text(self) -> str:
        """What it says.

        :raises ParameterError: ``bad-encoding``.
        """
        try:
            return unquote_plus(self.raw, errors="strict")
        except UnicodeDecodeError:
            raise ParameterError("A parameter is not UTF-8.", code="bad-encoding") from None


def _parameters(parts: list[_Value]) -> dict[str, str]:
    """Read the parameters beside ``uri``; there must be a key and a token, and nothing twice."""
    values: dict[str, str] = {}
    for part in parts:
        if part.name not in PARAMETERS:
            continue
        if part.name in values or part.name == "uri":
            raise ParameterError(f"The parameter {part.name} is repeated.", code="repeated-parameter")
        values[part.name] = part.text
    for name in ("apikey", "token"):
        if not values.get(name):
            raise ParameterError(f"The parameter {name} is missing.", code="missing-parameter")
    return values


#: How a value may be written: as a form, percent-encoded, or as it stands. Clients that
#: encode at all are by far the most, so their reading comes first.
_WAYS: tuple[Callable[[str], str], ...] = (
    partial(unquote_plus, errors="strict"),
    partial(unquote, errors="strict"),
    str,
)


def _spellings(text: str) -> Sequence[str | None]:
    """Read a text in each way; None where it cannot be read so."""
    if "%" not in text and "+" not in text:
        return [text] * len(_WAYS)
    return [_read(text, way) for way in _WAYS]


def _read(text: str, way: Callable[[str], str]) -> str | None:
    try:
        return way(text)
    except UnicodeDecodeError:
        return None


def _joined(spelt: list[Sequence[str | None]]) -> list[str]:
    """List what the parts of an address mean together, each way of writing for all of them."""
    texts: dict[str, None] = {}
    for parts in zip(*spelt, strict=True):
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            texts["&".join(known)] = None
    return list(texts)
