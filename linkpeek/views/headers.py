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
_PAGE = ("content-security-policy", "Content-Security-Policy", PAGE_POLICY)
_IMAGE = ("content-security-policy", "Content-Security-Policy", IMAGE_POLICY)
#: Whose pages may have it loaded into their process: pictures, and the redirects to
#: them, are for everybody's pages, all else is for our own.
_OURS = ("cross-origin-resource-policy", "Cross-Origin-Resource-Policy", "same-origin")
_EVERYBODYS = ("cross-origin-resource-policy", "Cross-Origin-Resource-Policy", "cross-origin")
_WITH_PAGES = (_PAGE, _OURS, *_ALWAYS)
_WITH_IMAGES = (_IMAGE, _EVERYBODYS, *_ALWAYS)
_WITH_THE_REST = (_IMAGE, _OURS, *_ALWAYS)

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
    headers.extend((name, value) for key, name, value in _wanted(response) if key not in there)
    return response


def _wanted(response: Response) -> tuple[tuple[str, str, str], ...]:
    kind = response.content_type or ""
    if kind == "text/html":
        return _WITH_PAGES
    return _WITH_IMAGES if kind.startswith("image/") or response.status_code == 302 else _WITH_THE_REST
