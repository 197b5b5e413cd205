"""Stored images. In production Nginx serves them from disk and this view rests."""

import os
from typing import IO

from pyramid.request import Request
from pyramid.response import FileIter, Response
from pyramid.view import view_config

from linkpeek.errors import NotFound
from linkpeek.routes import IMMUTABLE
from linkpeek.storage import media_type


@view_config(route_name="snapshot", request_method=("GET", "HEAD"))
def snapshot(request: Request) -> Response:
    """Serve one stored image; its path never changes what it shows."""
    path = request.matchdict["path"]
    image = _image(request, path)
    size = image.seek(0, os.SEEK_END)
    image.seek(0)
    response = Response(app_iter=FileIter(image), content_type=media_type(path), content_length=size)
    response.headers["Cache-Control"] = f"public, max-age={IMMUTABLE}, immutable"
    return response


def _image(request: Request, path: str) -> IO[bytes]:
    """Open the image; where it is garbage, see to it that the page is captured anew."""
    try:
        image: IO[bytes] = request.services.storage.open(path)
    except NotFound as exc:
        if exc.code == "image-damaged":
            request.services.snapshots.damaged(path.split("/")[-2])
            request.services.commit()
        raise
    return image
