"""For monitors: is the process alive, is the service ready, what is it doing."""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek import metrics

_NO_STORE = {"Cache-Control": "no-store"}


@view_config(route_name="healthz", request_method=("GET", "HEAD"))
def healthz(request: Request) -> Response:
    """Say that this process answers; asks nothing else, so that it never hangs."""
    return Response(text="ok\n", content_type="text/plain", headers=_NO_STORE)


@view_config(route_name="readyz", request_method=("GET", "HEAD"))
def readyz(request: Request) -> Response:
    """Say whether database, storage, broker and a worker are there."""
    checks = request.registry.health.check()
    ready = all(check.problem is None for check in checks)
    return Response(
        json_body={"ready": ready, "checks": {check.name: check.problem or "ok" for check in checks}},
        status=200 if ready else 503,
        headers=_NO_STORE if ready else {**_NO_STORE, "Retry-After": "5", "X-LinkPeek-Error": "not-ready"},
    )


@view_config(route_name="metrics", request_method=("GET", "HEAD"))
def metrics_view(request: Request) -> Response:
    """Give the figures of the service in Prometheus' text format."""
    body = metrics.render(request.registry.resources)
    return Response(body, headers={"Content-Type": metrics.CONTENT_TYPE, **_NO_STORE})
