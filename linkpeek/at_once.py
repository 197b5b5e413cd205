"""API v1's usual answer, by one look-up: what was asked for before, and a picture that is there.

It needs no routes, views or transactions, nor request and response objects, which for
such a request take longer than all the rest. Whatever is not as it was, or takes more,
is left to the application, and so is whatever goes wrong: there an error becomes an answer.
"""

from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request

from linkpeek.routes import API_V1
from linkpeek.views.api import names_webp, redirect
from linkpeek.views.headers import complete
from linkpeek.views.orders import Order

Headers = list[tuple[str, str]]


class AtOnce:
    """WSGI middleware that answers at once where that can be.

    :param app: answers everything else.
    :param registry: the application's, with ``orders`` and ``resources``.
    """

    def __init__(self, app: Any, registry: Registry) -> None:
        self._app = app
        self.registry = registry

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        headers = self._answer(environ)
        if headers is None:
            rest: Iterable[bytes] = self._app(environ, start_response)
            return rest
        start_response("302 Found", headers)
        return ()

    def _answer(self, environ: MutableMapping[str, Any]) -> Headers | None:
        if environ.get("PATH_INFO") != API_V1 or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        order = self.registry.orders.get(environ.get("QUERY_STRING", ""))
        if order is None:
            return None
        try:
            return self._redirect(environ, order)
        except Exception:
            return None  # it happens again where it is done in full, and is told there

    def _redirect(self, environ: MutableMapping[str, Any], order: Order) -> Headers | None:
        resources = self.registry.resources
        credentials, ready = resources.lookups.credentials_and_fresh(order.apikey, order.key, order.max_age)
        if ready is None or resources.authenticator.meant(credentials, order.token, [order.meant]) is None:
            return None
        image_format = "webp" if names_webp(environ.get("HTTP_ACCEPT", "")) else "png"
        path = resources.renditions.path(ready, order.size, image_format)
        where = environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ.get("SCRIPT_NAME", "")
        return list(_headers(*where, path))


@lru_cache(maxsize=4096)
def _headers(scheme: str, host: str, script_name: str, path: str) -> tuple[tuple[str, str], ...]:
    """Give the headers that the application would redirect with."""
    request = Request({"wsgi.url_scheme": scheme, "HTTP_HOST": host, "SCRIPT_NAME": script_name})
    return tuple(complete(redirect(request, path, "ready")).headerlist)
