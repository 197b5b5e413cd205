"""The URL map, whole."""

from pyramid.config import Configurator
from pyramid.events import NewRequest

from linkpeek.errors import NotFound
from linkpeek.views.assets import ContentVersion

#: A year: what is stored or versioned never changes under its URL.
IMMUTABLE = 365 * 24 * 3600
#: Before the storage's path of an image, in its URL.
SNAPSHOTS = "/snapshots/"
API_V1 = "/api/v1"


def includeme(config: Configurator) -> None:
    """Add all routes; the views are found by their names."""
    config.add_subscriber(_refuse_line_break, NewRequest)
    config.add_route("home", "/")
    config.add_route("generator.create", "/captures")
    config.add_route("generator.show", "/captures/{token:[0-9a-f]{64}}")
    config.add_route("favicon", "/favicon.ico")
    config.add_route("docs", "/docs")
    config.add_route("api_v1", API_V1)
    config.add_route("snapshot", SNAPSHOTS + "{path:.*}")
    config.add_route("healthz", "/healthz")
    config.add_route("readyz", "/readyz")
    config.add_route("metrics", "/metrics")
    reading = ("GET", "HEAD")
    config.add_static_view("static", "linkpeek:static", cache_max_age=IMMUTABLE, request_method=reading)
    config.add_cache_buster("linkpeek:static", ContentVersion())


def _refuse_line_break(event: NewRequest) -> None:
    """Refuse a path that ends in a line break.

    Pyramid's patterns end in ``$``, which also matches before one. So ``/metrics%0a`` would
    be ``/metrics`` here, and something else to whoever guards the latter in front of us.

    :raises NotFound: for such a path.
    """
    if event.request.environ.get("PATH_INFO", "").endswith("\n"):
        raise NotFound("There is nothing at this address.")
