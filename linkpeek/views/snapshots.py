"""Stored images. In production Nginx serves them from disk and this view rests."""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek.errors import NotFound
from linkpeek.routes import IMMUTABLE
from linkpeek.storage import media_type


@view_config(route_name="snapshot", request_method=("GET", "HEAD"))
def snapshot(request: Request) -> Response:
    """Serve one stored image; its path never changes what it shows."""
    path = request.matchdict["path"]
    response = Response(_image(request, path), content_type=media_type(path))
    response.headers["Cache-Control"] = f"public, max-age={IMMUTABLE}, immutable"
    return response


def _image(request: Request, path: str) -> bytes:
    """Give the image's bytes; where they are garbage, see to it that the page is captured anew."""
    try:
        image: bytes = request.services.storage.get(path)
    except NotFound as exc:
        if exc.code == "image-damaged":
            request.services.snapshots.damaged(path.split("/")[-2])
            request.services.commit()
        raise
    return image
