"""What uWSGI's request log may say of a request: the path, never the query.

The query of an API request holds a key and a token, and uWSGI's own ``%(uri)``
includes it. ``%(var.PATH_INFO)`` does not, but is decoded, so that ``%0a`` in a
path would forge a line of the log. Hence the application says what to log.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

#: uWSGI keeps up to 255 bytes of such a variable.
LONGEST = 200


def loggable_path(environ: Mapping[str, Any]) -> str:
    """Give a request's path on one line, percent-encoded and cut to ``LONGEST``."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(path.encode("latin-1", "replace"), safe="/:@!$&'()*+,;=~")[:LONGEST]


def with_request_log(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Wrap a WSGI application so that ``%(path)`` in uWSGI's ``log-format`` is the request's path.

    Under any other server the application is given back as it is.
    """
    try:
        import uwsgi
    except ImportError:
        return app

    def logged(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        uwsgi.set_logvar("path", loggable_path(environ))
        return app(environ, start_response)

    return logged
