"""The cookie behind the form: what proves that a form was sent from our own page.

The same random token is in the form and in a cookie (OWASP: "Double Submit Cookie"),
so nothing has to be kept here. Over HTTPS the cookie has the prefix ``__Host-``
(RFC 6265bis, 4.1.3.2): browsers then send it over HTTPS only, and take it from nobody
but this very host, so that neither a neighbouring name nor someone on the line can
plant a token of theirs. Over HTTP, as in development, there is no such cookie.
"""

import re
import secrets

from pyramid.interfaces import ICSRFStoragePolicy
from pyramid.request import Request
from pyramid.response import Response
from zope.interface import implementer

from linkpeek.security import same

NAME = "linkpeek_csrf"
SECURE_NAME = f"__Host-{NAME}"

_TOKEN = re.compile("[0-9a-f]{32}", re.ASCII)
_MADE = "linkpeek.csrf_token"


@implementer(ICSRFStoragePolicy)
class CookieTokens:
    """Pyramid's policy for tokens: one for each browser, until it is closed."""

    def new_csrf_token(self, request: Request) -> str:
        """Make a token, and have the response set it."""
        token: str = secrets.token_hex(16)
        request.environ[_MADE] = token

        def set_cookie(request: Request, response: Response) -> None:
            # Lax: who follows a link to us keeps the token that other tabs' forms hold.
            secure = _is_secure(request)
            response.set_cookie(_name(secure), token, secure=secure, httponly=True, samesite="Lax")

        request.add_response_callback(set_cookie)
        return token

    def get_csrf_token(self, request: Request) -> str:
        """Give the browser's token; a new one if it has none that could be ours."""
        return request.environ.get(_MADE) or _sent(request) or self.new_csrf_token(request)

    def check_csrf_token(self, request: Request, supplied_token: str) -> bool:
        """Tell whether a token is the browser's own, in constant time."""
        return same(supplied_token, self.get_csrf_token(request))


def _is_secure(request: Request) -> bool:
    return bool(request.scheme == "https")


def _name(secure: bool) -> str:
    return SECURE_NAME if secure else NAME


def _sent(request: Request) -> str | None:
    """Find the token among the cookies.

    Not by WebOb's ``cookies``: the time that it takes grows with the square of the
    header's length, to ten seconds for one of 32 KB.
    """
    wanted = _name(_is_secure(request))
    header: str = request.environ.get("HTTP_COOKIE", "")
    for cookie in header.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == wanted and _TOKEN.fullmatch(value):
            return value
    return None
