"""Headers that every response carries: what a browser may do with it."""

from collections.abc import Callable

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

#: For our own pages: only what is served from here, and no frames around them.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: For pictures: nothing in them may act, whatever their bytes are.
IMAGE_POLICY = "default-src 'none'; sandbox"

Handler = Callable[[Request], Response]


def tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Make the tween that adds the headers a view has not set itself."""

    def tween(request: Request) -> Response:
        response = handler(request)
        policy = PAGE_POLICY if response.content_type == "text/html" else IMAGE_POLICY
        headers = response.headers
        headers.setdefault("Content-Security-Policy", policy)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        return response

    return tween
