"""The pages for people: the front page and ``/docs``, and what all of them share."""

import re
from pathlib import Path
from typing import Any

from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import FileResponse, Response
from pyramid.view import view_config

from linkpeek.errors import ParameterError
from linkpeek.security import hmac_token, md5_token
from linkpeek.views.advice import ADVICE
from linkpeek.views.form import Form

_FIELDS = ("https://example.com", "336", "", "3600")
STRONG_EXAMPLE = {"fields": _FIELDS, "token": hmac_token("sesame", *_FIELDS)}

FAVICON = Path(__file__).parents[1] / "static" / "favicon.ico"
DAY = 24 * 3600

#: What a Host header may look like to be shown in examples (RFC 3986, reg-name and IP-literal).
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", re.ASCII)
#: Pairs that show what a token is made from, with the secret of the examples.
TOKEN_EXAMPLES = tuple(
    {"uri": uri, "size": size, "token": md5_token("sesame", uri, size)}
    for uri, size in (
        ("http://example.com", "336x336"),
        ("example.com", "336"),
        ("https://example.com/a?b=1&c=d e", "200x400"),
        ("http://bücher.example/ü", "140x100"),
        ("http://example.com", "original"),
        ("http://example.com", ""),
    )
)


@view_config(route_name="home", request_method=("GET", "HEAD"))
def home(request: Request) -> Response:
    """Show the front page."""
    return front_page(request)


@view_config(route_name="docs", request_method=("GET", "HEAD"))
def docs(request: Request) -> Response:
    """Show how API v1 is used, with programs that work against this very service."""
    settings = request.services.settings
    values = {
        "here": "docs",
        "advice": ADVICE,
        "examples": TOKEN_EXAMPLES,
        "strong": STRONG_EXAMPLE,
        "site": site_address(request),
        "wait": f"{settings.wait:g}",
        "ttl": settings.ttl,
    }
    return _html(request, "docs", values)


def front_page(request: Request, form: Form | None = None, **values: Any) -> Response:
    """Render the front page, as it is or with a form filled in, a ``problem`` or a ``result``."""
    generator = request.services.settings.generator
    return _html(request, "home", {"here": "home", "generator": generator, "form": form or Form(), **values})


def site_address(request: Request) -> str:
    """Give the service's own address as the client wrote it, without a slash at the end.

    :raises ParameterError: ``bad-host``, so that no example or snippet holds anything else.
    """
    if not _HOST.fullmatch(request.host):
        raise ParameterError("This is not the name of a host.", code="bad-host")
    site: str = request.application_url
    return site


def _html(request: Request, name: str, values: dict[str, Any]) -> Response:
    response = render_to_response(f"linkpeek:templates/{name}.jinja2", values, request)
    response.cache_control = "private, no-cache"
    response.vary = ("Accept", "Cookie")
    # Without any referrer, browsers say "Origin: null" when they send our own form.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@view_config(route_name="favicon", request_method=("GET", "HEAD"))
def favicon(request: Request) -> Response:
    """Show the icon where browsers look for it that show a bare picture."""
    return FileResponse(FAVICON, request=request, cache_max_age=DAY)
