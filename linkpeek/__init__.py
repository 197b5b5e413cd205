"""LinkPeek: a self-hosted service that captures, stores, serves and refreshes pictures of web pages."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkpeek.proxies import TrustedProxies


def main(global_config: dict[str, str], **settings: Any) -> "TrustedProxies":
    """Make the WSGI application from an ini file's ``[app:main]``, as PasteDeploy asks."""
    from linkpeek.config import make_app
    from linkpeek.preflight import pace_failing_worker
    from linkpeek.settings import Settings

    try:
        return make_app(Settings.from_ini(settings, global_config), settings)
    except Exception:
        pace_failing_worker()
        raise
