"""API v1's usual answer, by one look-up or none: what was asked for before, and a picture that is there.

It needs no routes, views or transactions, nor request and response objects, which for
such a request take longer than all the rest. Whatever is not as it was, or takes more,
is left to the application, and so is whatever goes wrong: there an error becomes an answer.

A picture that many ask for at the same time is not even looked up each time: for a fraction
of a second its answer is given again, of which a client that names no ttl may make use for a minute.
"""

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from linkpeek.routes import API_V1
from linkpeek.views.api import names_webp, redirect
from linkpeek.views.headers import complete
from linkpeek.views.orders import Order

Headers = tuple[tuple[str, str], ...]

#: Seconds in which a process looks an order up no more than so many times: what was changed
#: meanwhile, a key that was disabled among it, is seen so much later by such orders only.
SPAN, LOOKS = 0.25, 8

#: Orders whose looks are counted at a time.
COUNTED = 1024


@dataclass(slots=True)
class Looks:
    """How often an order was looked up since a moment, and what came of it."""

    since: float
    count: int
    headers: Headers


class AtOnce:
    """WSGI middleware that answers at once where that can be.

    :param app: answers everything else.
    :param registry: the application's, with ``orders`` and ``resources``.
    """

    def __init__(self, app: Any, registry: Registry, *, clock: Callable[[], float] = monotonic) -> None:
        self._app = app
        self.registry = registry
        self.clock = clock
        self._looks: dict[tuple[str, ...], Looks] = {}

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        headers = self._answer(environ)
        if headers is None:
            rest: Iterable[bytes] = self._app(environ, start_response)
            return rest
        start_response("302 Found", list(headers))
        return ()

    def _answer(self, environ: MutableMapping[str, Any]) -> Headers | None:
        if environ.get("PATH_INFO") != API_V1 or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        query = environ.get("QUERY_STRING", "")
        order = self.registry.orders.get(query)
        if order is None:
            return None
        try:
            return self._recent(environ, query, order)
        except Exception:
            return None  # it happens again where it is done in full, and is told there

    def _recent(self, environ: MutableMapping[str, Any], query: str, order: Order) -> Headers | None:
        """Give the answer to an order; looked up, unless it just was again and again."""
        image_format = "webp" if names_webp(environ.get("HTTP_ACCEPT", "")) else "png"
        where = environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ.get("SCRIPT_NAME", "")
        asked, now = (query, image_format, *where), self.clock()
        looks = self._looks.get(asked)
        if looks is not None and now - looks.since > SPAN:
            looks = None
        if looks is not None and looks.count >= LOOKS:
            return looks.headers
        path = self._path(order, image_format)
        if path is None:
            return None
        headers = _headers(*where, path, keep=order.max_age is None)
        if looks is None:
            self._count_from(Looks(now, 1, headers), asked)
        else:
            looks.count, looks.headers = looks.count + 1, headers
        return headers

    def _count_from(self, looks: Looks, asked: tuple[str, ...]) -> None:
        if len(self._looks) >= COUNTED:
            self._looks.clear()
        self._looks[asked] = looks

    def _path(self, order: Order, image_format: str) -> str | None:
        """Give the path of the picture that is there for an order, if its token still is good."""
        resources = self.registry.resources
        credentials, ready = resources.lookups.credentials_and_fresh(order.apikey, order.key, order.max_age)
        if ready is None or resources.authenticator.meant(credentials, order.token, [order.meant]) is None:
            return None
        path: str | None = resources.renditions.found(ready, order.size, image_format)
        return path


@lru_cache(maxsize=4096)
def _headers(scheme: str, host: str, script_name: str, path: str, *, keep: bool) -> Headers:
    """Give the headers that the application would redirect with."""
    request = Request({"wsgi.url_scheme": scheme, "HTTP_HOST": host, "SCRIPT_NAME": script_name})
    return tuple(complete(redirect(request, path, "ready", keep=keep)).headerlist)
