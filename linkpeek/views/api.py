"""API v1: the one address that the historic clients call."""

import time
from functools import lru_cache

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config
from webob.acceptparse import create_accept_header

from linkpeek.address import parse_address, with_scheme
from linkpeek.db import utcnow
from linkpeek.errors import AccessDenied, NotFound
from linkpeek.geometry import Size, Viewport, parse_size, parse_viewport
from linkpeek.models import Snapshot
from linkpeek.routes import SNAPSHOTS
from linkpeek.services.keys import Credentials, Meaning
from linkpeek.services.lookups import Ready
from linkpeek.services.snapshots import Target
from linkpeek.views.api_query import ApiQuery, parse_query, parse_ttl
from linkpeek.views.orders import Order
from linkpeek.views.pages import site_address

#: Seconds after which a client that got the placeholder may ask again.
RETRY_AFTER = 5


@view_config(route_name="api_v1", request_method=("GET", "HEAD"))
def api_v1(request: Request) -> Response:
    """Answer with a redirect to a picture of the page, new enough and of the right size."""
    text = request.environ.get("QUERY_STRING", "")
    settings = request.services.settings
    query = parse_query(text)
    key, meant = _authenticate(request, query)
    viewport = parse_viewport(meant.viewport)
    size = parse_size(meant.size, viewport)
    request.picture_size = size.pixels(viewport)
    address = parse_address(with_scheme(meant.uri), ports=settings.egress_ports, allow=settings.egress_allow)
    target = Target(address.uri, viewport, size.extent(viewport))
    order = Order(query.apikey, query.token, meant, target, target.key, size, parse_ttl(meant.ttl))
    request.registry.orders.put(text, order)
    return peek(request, target, size, order.max_age, f"key:{key.id}")


def _authenticate(request: Request, query: ApiQuery) -> tuple[Credentials, Meaning]:
    try:
        authenticated: tuple[Credentials, Meaning] = request.services.authenticator.authenticate(
            query.apikey, query.token, query.readings
        )
    except AccessDenied as denied:
        # Only failures are counted: a neighbour's guessing locks nobody out who knows a secret.
        # Also those of a malformed query, for one of its readings may be what was guessed at.
        request.services.count_failure()
        # A query that no token fits and that is malformed besides: say what is malformed.
        raise query.problem or denied from None
    return authenticated


def peek(request: Request, target: Target, size: Size, max_age: int | None, requester: str) -> Response:
    """Find or make a snapshot, waiting for it where that is needed, and redirect to its picture."""
    while True:
        try:
            return _peek(request, target, size, max_age, requester)
        except PictureLost as lost:
            # Where a whole storage was lost, the older pictures of the page are, too.
            request.services.snapshots.lost(lost.snapshot_id)
            request.services.commit()


class PictureLost(Exception):
    """A ready snapshot turned out to have no picture any more."""

    def __init__(self, snapshot_id: int) -> None:
        super().__init__(snapshot_id)
        self.snapshot_id = snapshot_id


def _peek(request: Request, target: Target, size: Size, max_age: int | None, requester: str) -> Response:
    services = request.services
    ready = services.lookups.fresh(target.key, max_age)
    if ready is not None:
        return picture(request, ready, size, "ready", max_age)
    ticket = services.snapshots.request(target, max_age=max_age, requester=requester)
    # A queued refresh is written, and the lock on the database given up, before a picture is made.
    services.commit()
    if ticket.ready is not None:
        return picture(request, ticket.ready, size, "ready" if ticket.fresh else "stale", max_age)
    pending_id = ticket.pending.id
    if not services.waiting_room.wait(pending_id, requester):
        return _placeholder(request, size, target.viewport)
    return _first_picture(request, services.snapshots.finished(pending_id), size, max_age)


def _first_picture(request: Request, snapshot: Snapshot, size: Size, max_age: int | None) -> Response:
    """Answer with what was waited for, and note how long the steps after the capture took."""
    since, noticed = time.monotonic(), utcnow()
    response = picture(request, snapshot, size, "ready", max_age)
    answer = max(0.0, (noticed - (snapshot.finished_at or noticed)).total_seconds())
    request.services.note_answer(snapshot.id, encode=time.monotonic() - since, answer=answer)
    return response


def picture(
    request: Request, snapshot: Snapshot | Ready, size: Size, state: str, max_age: int | None
) -> Response:
    """Redirect to a snapshot's picture of a size.

    :param max_age: what the client said, see ``SnapshotService.request``.
    :raises PictureLost: it is not there any more.
    """
    image_format = "webp" if accepts_webp(request) else "png"
    try:
        path = request.services.renditions.path(snapshot, size, image_format)
    except NotFound:
        raise PictureLost(snapshot.id) from None
    return redirect(request, path, state, keep=max_age is None)


def _placeholder(request: Request, size: Size, viewport: Viewport) -> Response:
    path = request.services.renditions.placeholder_path(*size.pixels(viewport))
    response = redirect(request, path, "pending")
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def redirect(request: Request, path: str, state: str, *, keep: bool = False) -> Response:
    """Redirect to a stored image.

    :param keep: the browser need not ask for a ``ready`` one again at once: whoever says how old a
        picture may be gets no older one out of its cache either.
    :raises ParameterError: ``bad-host``.
    """
    # All headers at once: setting them one by one takes WebOb as long as the rest of the answer.
    headers = [
        ("Content-Type", "text/plain; charset=UTF-8"),
        ("Content-Length", "0"),
        ("Location", f"{site_address(request)}{SNAPSHOTS}{path}"),
        ("X-LinkPeek-State", state),
        ("Cache-Control", "private, max-age=60" if keep and state == "ready" else "no-store"),
        ("Vary", "Accept"),
    ]
    return Response(status=302, headerlist=headers)


def accepts_webp(request: Request) -> bool:
    """Tell whether the client says that it understands WebP; ``*/*`` does not say so."""
    return names_webp(request.environ.get("HTTP_ACCEPT", ""))


@lru_cache(maxsize=256)
def names_webp(accept: str) -> bool:
    """Tell whether an Accept header says that WebP is understood."""
    parsed = create_accept_header(accept or None).parsed
    return any(media.lower() == "image/webp" and quality > 0 for media, quality, *_ in parsed or ())
