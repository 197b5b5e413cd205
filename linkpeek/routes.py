"""The URL map, whole."""

from pyramid.config import Configurator

from linkpeek.views.assets import ContentVersion

#: A year: what is stored or versioned never changes under its URL.
IMMUTABLE = 365 * 24 * 3600
#: Before the storage's path of an image, in its URL.
SNAPSHOTS = "/snapshots/"
API_V1 = "/api/v1"


def includeme(config: Configurator) -> None:
    """Add all routes; the views are found by their names."""
    config.add_route("home", "/")
    config.add_route("generator.create", "/captures", request_method="POST")
    config.add_route("generator.show", "/captures/{token:[0-9a-f]{64}}")
    config.add_route("favicon", "/favicon.ico")
    config.add_route("docs", "/docs")
    config.add_route("api_v1", API_V1)
    config.add_route("snapshot", SNAPSHOTS + "{path:.*}")
    config.add_route("healthz", "/healthz")
    config.add_route("readyz", "/readyz")
    config.add_route("metrics", "/metrics")
    config.add_static_view("static", "linkpeek:static", cache_max_age=IMMUTABLE)
    config.add_cache_buster("linkpeek:static", ContentVersion())
