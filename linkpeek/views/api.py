"""API v1: the one address that the historic clients call."""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek.address import parse_address, with_scheme
from linkpeek.errors import AccessDenied, NotFound
from linkpeek.geometry import Size, Viewport, parse_size, parse_viewport
from linkpeek.models import Snapshot
from linkpeek.services.keys import Credentials, Meaning
from linkpeek.services.lookups import Ready
from linkpeek.services.snapshots import Target
from linkpeek.views.api_query import ApiQuery, parse_query, parse_ttl
from linkpeek.views.pages import site_address

#: Seconds after which a client that got the placeholder may ask again.
RETRY_AFTER = 5


@view_config(route_name="api_v1", request_method=("GET", "HEAD"))
def api_v1(request: Request) -> Response:
    """Answer with a redirect to a picture of the page, new enough and of the right size."""
    settings = request.services.settings
    query = parse_query(request.environ.get("QUERY_STRING", ""))
    key, meant = _authenticate(request, query)
    viewport, size = parse_viewport(meant.viewport), parse_size(meant.size)
    request.picture_size = size.pixels(viewport)
    address = parse_address(with_scheme(meant.uri), ports=settings.egress_ports, allow=settings.egress_allow)
    target = Target(address.uri, viewport, size.extent(viewport))
    return peek(request, target, size, parse_ttl(meant.ttl), f"key:{key.id}")


def _authenticate(request: Request, query: ApiQuery) -> tuple[Credentials, Meaning]:
    try:
        authenticated: tuple[Credentials, Meaning] = request.services.authenticator.authenticate(
            query.apikey, query.token, query.readings
        )
    except AccessDenied as denied:
        # A query that no token fits and that is malformed besides: say what is malformed.
        if query.problem is not None:
            raise query.problem from None
        # Only failures are counted: a neighbour's guessing locks nobody out who knows a secret.
        request.services.count_failure()
        raise denied from None
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
        return _picture(request, ready, size, "ready")
    ticket = services.snapshots.request(target, max_age=max_age, requester=requester)
    # A queued refresh is written, and the lock on the database given up, before a picture is made.
    services.commit()
    if ticket.ready is not None:
        return _picture(request, ticket.ready, size, "ready" if ticket.fresh else "stale")
    pending_id = ticket.pending.id
    if not services.waiting_room.wait(pending_id):
        return _placeholder(request, size, target.viewport)
    return _picture(request, services.snapshots.finished(pending_id), size, "ready")


def _picture(request: Request, snapshot: Snapshot | Ready, size: Size, state: str) -> Response:
    image_format = "webp" if accepts_webp(request) else "png"
    try:
        path = request.services.renditions.path(snapshot, size, image_format)
    except NotFound:
        raise PictureLost(snapshot.id) from None
    return _redirect(
        request, path, state, cache_control="private, max-age=60" if state == "ready" else "no-store"
    )


def _placeholder(request: Request, size: Size, viewport: Viewport) -> Response:
    path = request.services.renditions.placeholder_path(*size.pixels(viewport))
    response = _redirect(request, path, "pending", cache_control="no-store")
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _redirect(request: Request, path: str, state: str, *, cache_control: str) -> Response:
    response = Response(status=302, content_type="text/plain")
    response.location = request.route_url("snapshot", path=path, _app_url=site_address(request))
    response.headers["X-LinkPeek-State"] = state
    response.headers["Cache-Control"] = cache_control
    response.headers["Vary"] = "Accept"
    return response


def accepts_webp(request: Request) -> bool:
    """Tell whether the client says that it understands WebP; ``*/*`` does not say so."""
    return any(
        media.lower() == "image/webp" and quality > 0 for media, quality, *_ in request.accept.parsed or ()
    )
