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

#: Lower-case name, name and value of what goes with everything.
_ALWAYS = (
    ("x-content-type-options", "X-Content-Type-Options", "nosniff"),
    ("referrer-policy", "Referrer-Policy", "no-referrer"),
    ("cross-origin-opener-policy", "Cross-Origin-Opener-Policy", "same-origin"),
)
_WITH_PAGES = (("content-security-policy", "Content-Security-Policy", PAGE_POLICY), *_ALWAYS)
_WITH_IMAGES = (("content-security-policy", "Content-Security-Policy", IMAGE_POLICY), *_ALWAYS)

Handler = Callable[[Request], Response]


def tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Make the tween that adds the headers a view has not set itself."""

    def tween(request: Request) -> Response:
        return complete(handler(request))

    return tween


def complete(response: Response) -> Response:
    """Add the headers that are not set yet to a response, and give it back."""
    headers = response.headerlist
    there = {name.lower() for name, _ in headers}
    wanted = _WITH_PAGES if response.content_type == "text/html" else _WITH_IMAGES
    headers.extend((name, value) for key, name, value in wanted if key not in there)
    return response
