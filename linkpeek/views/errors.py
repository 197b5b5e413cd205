"""The one place where an error becomes an HTTP answer.

Every answer carries the stable code in ``X-LinkPeek-Error``. A client that asks
for an image gets a small picture that says what is wrong, one that asks for JSON
gets JSON, one that browses gets a page, others text.
"""

import logging
import re
from functools import lru_cache

from pyramid.exceptions import PredicateMismatch, URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPNotFound
from pyramid.renderers import render
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, notfound_view_config

from linkpeek import errors, pictures
from linkpeek.db import translated
from linkpeek.geometry import SIZE_MAX
from linkpeek.views.advice import advice_for

log = logging.getLogger(__name__)

#: The first class that fits decides; so the narrower stand before the wider.
STATUS: tuple[tuple[type[errors.LinkPeekError], int], ...] = (
    (errors.ParameterError, 400),
    (errors.AccessDenied, 403),
    (errors.AddressRefused, 403),
    (errors.CaptureRefused, 403),
    (errors.NotFound, 404),
    (errors.LimitExceeded, 429),
    (errors.CaptureTimeout, 504),
    (errors.CaptureError, 502),
    (errors.Unavailable, 503),
)
#: Seconds after which it may be worth asking again.
RETRY_AFTER = 5
ERROR_PICTURE = (336, 252)


@exception_view_config(errors.LinkPeekError)
def known_error(error: errors.LinkPeekError, request: Request) -> Response:
    """Answer one of the service's own errors."""
    status = status_of(error)
    if status == 500:
        # Such as a secret file that is not the right one: the operator's business.
        log.error("%s: %s", error.code, error.message)
        return answer(request, 500, error.code, "Something went wrong here; it was logged.")
    response = answer(request, status, error.code, error.message)
    say_when(response, error)
    return response


def status_of(error: errors.LinkPeekError) -> int:
    """Give the HTTP status of an error; 500 for one that is no caller's business."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def say_when(response: Response, error: errors.LinkPeekError) -> None:
    """Add ``Retry-After`` where trying again helps."""
    if isinstance(error, errors.LimitExceeded):
        response.headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.Unavailable):
        response.headers["Retry-After"] = str(RETRY_AFTER)


@notfound_view_config()
def not_found(error: HTTPNotFound, request: Request) -> Response:
    """Answer for an address that is not ours, or for a method that an address of ours does not take."""
    methods = ", ".join(_methods(request)) if isinstance(error, PredicateMismatch) else ""
    if not methods:
        return answer(request, 404, "not-found", "There is nothing at this address.")
    response = answer(request, 405, "method-not-allowed", f"This address takes {methods} only.")
    response.headers["Allow"] = methods
    return response


def _methods(request: Request) -> list[str]:
    """List the methods that the views of the request's route are for."""
    views = [item["introspectable"] for item in request.registry.introspector.get_category("views")]
    here = [view for view in views if view["route_name"] == request.matched_route.name]
    return sorted({method for view in here for method in view["request_methods"] or ()})


@exception_view_config(URLDecodeError)
def undecodable(error: URLDecodeError, request: Request) -> Response:
    """Answer for an address whose path is not UTF-8; nothing may ask this request for its path."""
    return answer(request, 400, "bad-encoding", "The address is not UTF-8.")


@exception_view_config(HTTPException)
def http_error(error: HTTPException, request: Request) -> Response:
    """Answer what Pyramid itself refused, such as a wrong method or a missing CSRF token."""
    if error.code < 400:
        return error
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__.removeprefix("HTTP")).lower()
    return answer(request, error.code, code, error.explanation or error.title)


@exception_view_config(Exception)
def unknown_error(error: Exception, request: Request) -> Response:
    """Answer a bug, or a database that failed in the middle of a request, without details."""
    try:
        with translated():
            raise error
    except errors.Unavailable as unavailable:
        log.warning("%s %r: %s", request.method, request.environ.get("PATH_INFO"), error)
        return known_error(unavailable, request)
    except Exception:
        log.exception("%s %r failed", request.method, request.environ.get("PATH_INFO"))
    return answer(request, 500, "internal-error", "Something went wrong here; it was logged.")


def answer(request: Request, status: int, code: str, message: str) -> Response:
    """Make the answer in the form that the client asks for."""
    media = _wanted(request)
    response = Response(status=status)
    response.headers.update({"X-LinkPeek-Error": code, "Cache-Control": "no-store", "Vary": "Accept"})
    if media == "image/png":
        width, height = getattr(request, "picture_size", ERROR_PICTURE)
        response.body, response.content_type = _picture(width, min(height, SIZE_MAX), message), media
    elif media == "application/json":
        response.content_type, response.json_body = media, {"error": code, "message": message}
    elif media == "text/html":
        page = render("linkpeek:templates/error.jinja2", _page(status, code, message), request)
        response.content_type, response.charset, response.text = media, "utf-8", page
    else:
        response.content_type, response.charset, response.text = media, "utf-8", f"{code}: {message}\n"
    return response


#: The same few come again and again, and each takes as long as a dozen other answers.
_picture = lru_cache(maxsize=64)(pictures.error_picture)


def _wanted(request: Request) -> str:
    ranges = request.accept.parsed or []
    if not _is_image_route(request):
        offers = ["text/plain", "text/html", "application/json"]
    elif ranges and max(ranges, key=_quality)[0].startswith("image/"):
        return "image/png"
    else:
        offers = ["text/plain", "application/json", "image/png"]
    best = request.accept.acceptable_offers(offers)
    return str(best[0][0]) if best else "text/plain"


def _quality(media_range: tuple[str, float]) -> float:
    return media_range[1]


def _is_image_route(request: Request) -> bool:
    return request.matched_route is not None and request.matched_route.name in ("api_v1", "snapshot")


def _page(status: int, code: str, message: str) -> dict[str, object]:
    return {"status": status, "code": code, "message": message, "advice": advice_for(code).remedy}
