"""Stored images. In production Nginx serves them from disk and this view rests."""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek.routes import IMMUTABLE
from linkpeek.storage import media_type


@view_config(route_name="snapshot", request_method=("GET", "HEAD"))
def snapshot(request: Request) -> Response:
    """Serve one stored image; its path never changes what it shows."""
    path = request.matchdict["path"]
    response = Response(request.services.storage.get(path), content_type=media_type(path))
    response.headers["Cache-Control"] = f"public, max-age={IMMUTABLE}, immutable"
    return response
