"""API v1's usual answer, by one look-up: what was asked for before, and a picture that is there.

It needs no routes, views or transactions, which for such a request take longer
than all the rest. Whatever is not as it was, or takes more, is left to the
application, and so is whatever goes wrong: there an error becomes an answer.
"""

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from linkpeek.routes import API_V1
from linkpeek.views.api import picture
from linkpeek.views.headers import complete
from linkpeek.views.orders import Order


class AtOnce:
    """WSGI middleware that answers at once where that can be.

    :param app: answers everything else.
    :param registry: the application's, with ``orders`` and ``resources``.
    :param request_factory: makes the application's requests.
    """

    def __init__(self, app: Any, registry: Registry, request_factory: Callable[[Any], Request]) -> None:
        self._app = app
        self.registry = registry
        self._make_request = request_factory

    def __call__(self, environ: MutableMapping[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        answer = self._answer(environ)
        if answer is None:
            rest: Iterable[bytes] = self._app(environ, start_response)
            return rest
        start_response(answer.status, answer.headerlist)
        return ()

    def _answer(self, environ: MutableMapping[str, Any]) -> Response | None:
        if environ.get("PATH_INFO") != API_V1 or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return None
        order = self.registry.orders.get(environ.get("QUERY_STRING", ""))
        if order is None:
            return None
        request = self._make_request(environ)
        request.registry = self.registry
        try:
            return _redirect(request, order)
        except Exception:
            return None  # it happens again where it is done in full, and is told there


def _redirect(request: Request, order: Order) -> Response | None:
    resources = request.registry.resources
    credentials, ready = resources.lookups.credentials_and_fresh(order.apikey, order.key, order.max_age)
    if ready is None or resources.authenticator.meant(credentials, order.token, [order.meant]) is None:
        return None
    return complete(picture(request, ready, order.size, "ready"))
