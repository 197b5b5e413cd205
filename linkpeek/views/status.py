"""For monitors: is the process alive, is the service ready, what is it doing."""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from linkpeek import metrics


@view_config(route_name="healthz", request_method=("GET", "HEAD"))
def healthz(request: Request) -> Response:
    """Say that this process answers; asks nothing else, so that it never hangs."""
    return _uncached(Response(text="ok\n", content_type="text/plain", charset="utf-8"))


@view_config(route_name="readyz", request_method=("GET", "HEAD"))
def readyz(request: Request) -> Response:
    """Say whether database, storage, broker and a worker are there."""
    checks = request.registry.health.check()
    response = Response(content_type="application/json")
    ready = all(check.problem is None for check in checks)
    response.json_body = {"ready": ready, "checks": {check.name: check.problem or "ok" for check in checks}}
    if not ready:
        response.status = 503
        response.headers["Retry-After"] = "5"
        response.headers["X-LinkPeek-Error"] = "not-ready"
    return _uncached(response)


@view_config(route_name="metrics", request_method=("GET", "HEAD"))
def metrics_view(request: Request) -> Response:
    """Give the figures of the service in Prometheus' text format."""
    response = Response(metrics.render(request.registry.resources))
    response.headers["Content-Type"] = metrics.CONTENT_TYPE
    return _uncached(response)


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
