"""The generator's endpoints: take a picture, and show how far it is.

Without scripts, the form's POST waits for the capture and redirects to the
capture's own page. With them, the POST answers at once and the script asks that
same page, as JSON, how far it is.
"""

from typing import Any

from pyramid.csrf import check_csrf_origin, check_csrf_token
from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek.address import parse_address, with_scheme
from linkpeek.db import utcnow
from linkpeek.errors import AccessDenied, LinkPeekError, NotFound, ParameterError
from linkpeek.geometry import Extent, Size, parse_size
from linkpeek.models import Snapshot, State
from linkpeek.security import TOKEN_LENGTH, same
from linkpeek.services.snapshots import Target
from linkpeek.views.advice import advice_for
from linkpeek.views.errors import say_when, status_of
from linkpeek.views.form import Form, field_of, single_values
from linkpeek.views.pages import front_page, site_address
from linkpeek.views.result import Result, keeping, link_to, notes_on, pixels, plain, problem_of

#: Bytes: more than the longest address that is taken, percent-encoded, and all the
#: rest; and as much as WebOb reads without a temporary file.
MAX_FORM = 10 * 1024


@view_config(route_name="generator.create", request_method=("POST",), require_csrf=False)
def create(request: Request) -> Response:
    """Take a picture: redirect to its page, or tell a script where to follow it."""
    form = Form()
    try:
        _require_generator(request)
        form = Form.read(_sent_fields(request))
        path = _start(request, form)
    except LinkPeekError as error:
        # Nothing that was begun is to be kept, and the answer is ours to give.
        request.tm.doom()
        if status_of(error) == 500:
            raise
        return _refusal(request, form, error)
    if _wants_json(request):
        return _json(request, {"path": path}, 202)
    return Response(status=303, location=f"{path}#result", cache_control="no-store")


@view_config(route_name="generator.show", request_method=("GET", "HEAD"))
def show(request: Request) -> Response:
    """Show a capture: how far it is, its picture, or why there is none."""
    _require_generator(request)
    snapshot = request.services.snapshots.by_token(_unsealed(request))
    size = _servable(parse_size(_single_parameter(request, "size"), snapshot.viewport), snapshot)
    result = _describe(request, snapshot, size)
    if _wants_json(request):
        return _json(request, result.as_json(), 200)
    return front_page(request, Form(uri=result.uri).showing(result.viewport, result.size), result=result)


def _start(request: Request, form: Form) -> str:
    """See to it that a capture is there or under way, and give the path of its page."""
    services, settings = request.services, request.services.settings
    viewport = form.chosen_viewport()
    size = form.chosen_size(viewport)
    address = parse_address(with_scheme(form.uri), ports=settings.egress_ports, allow=settings.egress_allow)
    target = Target(address.uri, viewport, size.extent(viewport))
    max_age = 0 if form.fresh else settings.ttl
    requester = services.requester()
    ticket = services.snapshots.request(target, max_age=max_age, requester=requester)
    snapshot: Snapshot = ticket.ready or ticket.pending
    path = _capture_path(request, snapshot, size)
    if ticket.ready is None and not _wants_json(request):
        services.commit()
        services.waiting_room.wait(snapshot.id, requester)
    return path


def _describe(request: Request, snapshot: Snapshot, size: Size) -> Result:
    image_path = ""
    if snapshot.state == State.READY:
        try:
            image_path = _picture(request, snapshot, size)
        except NotFound:
            request.services.snapshots.lost(snapshot.id)
    now, finished = utcnow(), snapshot.finished_at
    uri, final_uri = snapshot.uri, snapshot.final_uri or snapshot.uri
    width, height = pixels(size, snapshot.viewport, snapshot.width, snapshot.height)
    failed = snapshot.state == State.FAILED
    return Result(
        state=str(snapshot.state),
        uri=uri,
        viewport=str(snapshot.viewport),
        size=str(size),
        title=plain(snapshot.title or "") or plain(final_uri),
        address=plain(final_uri),
        href=link_to(final_uri),
        path=_capture_path(request, snapshot, size),
        image_path=request.route_path("snapshot", path=image_path),
        image_url=request.route_url("snapshot", path=image_path, _app_url=site_address(request)),
        width=width,
        height=height,
        elapsed=max(0, int(((finished or now) - snapshot.requested_at).total_seconds())),
        age=max(0, int((now - finished).total_seconds())) if finished else 0,
        captured_at=finished,
        notes=notes_on(
            snapshot.status_code,
            truncated=snapshot.truncated and size.extent(snapshot.viewport) is Extent.FULL,
            blank=snapshot.blank,
            uri=uri,
            final_uri=final_uri,
        ),
        keeping=keeping(request.services.settings.retention_days),
        error=problem_of(snapshot.error_code or "", snapshot.error_message or "") if failed else None,
    )


def _picture(request: Request, snapshot: Snapshot, size: Size) -> str:
    """Give the storage path of a snapshot's picture in a size.

    Whoever has the link may choose the size. So what has to be made, and kept, for it is
    counted like a capture: else one capture would be enough to fill the disk.

    :raises NotFound: the snapshot's pictures are lost.
    :raises LimitExceeded: ``rate-limited``.
    """
    renditions = request.services.renditions
    path: str | None = renditions.found(snapshot, size, "png")
    if path is None:
        request.services.count_rendition()
        path = renditions.path(snapshot, size, "png")
    return path


def _servable(size: Size, snapshot: Snapshot) -> Size:
    """Check that a snapshot reaches far enough down for a size.

    :raises ParameterError: ``bad-size``.
    """
    if size.extent(snapshot.viewport) is Extent.FULL and snapshot.reach is not Extent.FULL:
        raise ParameterError("This capture ends where the window does; take a new one.", code="bad-size")
    return size


def _refusal(request: Request, form: Form, error: LinkPeekError) -> Response:
    problem = problem_of(error.code, error.message, field_of(error.code))
    status = status_of(error)
    if _wants_json(request):
        told = {
            "error": problem.code,
            "message": problem.message,
            "advice": problem.advice,
            "field": problem.field,
        }
        response = _json(request, told, status)
    else:
        response = front_page(request, form, problem=problem)
        response.status = status
    response.headers["X-LinkPeek-Error"] = error.code
    say_when(response, error)
    return response


def _sent_fields(request: Request) -> dict[str, str]:
    """Give the form's fields, once it is certain that the form is ours.

    :raises ParameterError: ``bad-parameter``, ``bad-encoding``, ``request-too-large``.
    :raises AccessDenied: ``bad-csrf-token``.
    """
    if (request.content_length or 0) > MAX_FORM:
        raise ParameterError("The form is too large.", code="request-too-large")
    _require_utf8(request)
    try:
        fields = single_values(list(request.POST.items()))
    except ValueError:  # a UnicodeDecodeError, or a multipart body without proper boundaries
        raise ParameterError("The form cannot be read.", code="bad-encoding") from None
    try:
        check_csrf_origin(request)
        check_csrf_token(request)
    except (BadCSRFOrigin, BadCSRFToken):
        advice = advice_for("bad-csrf-token")
        raise AccessDenied(advice.meaning, code="bad-csrf-token") from None
    return fields


def _single_parameter(request: Request, name: str) -> str:
    _require_utf8(request)
    try:
        values = request.GET.getall(name)
    except UnicodeDecodeError:
        raise ParameterError("The query is not UTF-8.", code="bad-encoding") from None
    if len(values) > 1:
        raise ParameterError(f"The parameter {name} is repeated.", code="repeated-parameter")
    return values[0] if values else ""


def _require_utf8(request: Request) -> None:
    # WebOb reads no parameters of a request whose Content-Type names another charset.
    if request.charset.upper() != "UTF-8":
        raise ParameterError("Only UTF-8 is understood.", code="bad-encoding")


def _require_generator(request: Request) -> None:
    if not request.services.settings.generator:
        advice = advice_for("generator-off")
        raise AccessDenied(advice.meaning, code="generator-off")


def _capture_path(request: Request, snapshot: Snapshot, size: Size) -> str:
    token = snapshot.token
    sealed = token + request.services.seal(token)
    path: str = request.route_path("generator.show", token=sealed, _query={"size": str(size)})
    return path


def _unsealed(request: Request) -> str:
    """Give the snapshot's token out of its page's path.

    Whoever has a picture's URL has the token too, but need not learn the page's
    title and final address: its own page takes a seal besides.

    :raises NotFound: when the seal is not ours.
    """
    sealed: str = request.matchdict["token"]
    token, seal = sealed[:TOKEN_LENGTH], sealed[TOKEN_LENGTH:]
    if not same(seal, request.services.seal(token)):
        raise NotFound("There is no such capture.")
    return token


def _wants_json(request: Request) -> bool:
    offers = request.accept.acceptable_offers(["text/html", "application/json"])
    return bool(offers) and offers[0][0] == "application/json"


def _json(request: Request, told: dict[str, Any], status: int) -> Response:
    response = Response(json_body=told, status=status, vary="Accept", cache_control="no-store")
    response.content_type = "application/json"
    return response
