"""The errors of the service, in its own words.

Everything that can go wrong for a caller is one of these. Services and the
capture engine raise them and know nothing of HTTP; ``views.errors`` is the one
place that turns a class into a status. ``code`` is stable: clients, tests and
the database rely on it. ``message`` is one plain sentence that may be shown to
anyone, so it never holds a secret or what an inner address answered.
"""


class LinkPeekError(Exception):
    """The base of all errors that a caller can be told about.

    :ivar code: a stable, lower-case, hyphenated name of what went wrong.
    :ivar message: one plain sentence for people.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ConfigurationError(LinkPeekError):
    """The service cannot start like this; the message says what to change."""

    code = "bad-configuration"


class ParameterError(LinkPeekError):
    """A parameter is missing, repeated or not understood."""

    code = "bad-parameter"


class AccessDenied(LinkPeekError):
    """Unknown key, disabled key or wrong token: deliberately not told apart."""

    code = "access-denied"


class AddressRefused(LinkPeekError):
    """The address is well-formed, but this service does not open such addresses."""

    code = "address-refused"


class LimitExceeded(LinkPeekError):
    """The caller asked for more than it may; ``retry_after`` is in seconds."""

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class NotFound(LinkPeekError):
    """There is no such thing here."""

    code = "not-found"


class Unavailable(LinkPeekError):
    """Something the service needs is not answering just now; trying later helps."""

    code = "unavailable"


class CaptureError(LinkPeekError):
    """A page could not be captured.

    :ivar lasting: whether trying again soon is pointless (a refused address, a
        download) rather than promising (a time-out, a browser crash).
    """

    code = "capture-failed"

    def __init__(self, message: str, *, code: str | None = None, lasting: bool = False) -> None:
        super().__init__(message, code=code)
        self.lasting = lasting


class CaptureTimeout(CaptureError):
    """The page did not show anything within the time a capture may take."""

    code = "page-timeout"


class CaptureRefused(CaptureError):
    """The egress guard refused the page's address when it came to opening it."""

    code = "address-refused"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, lasting=True)


#: Failures of a capture that are the guard's word on its address.
REFUSALS = frozenset(
    {"address-refused", "name-refused", "port-refused", "scheme-refused", "credentials-refused"}
)
#: Failures of a capture that are the service's own trouble, not the page's.
TROUBLES = frozenset(
    {
        "storage-full",
        "storage-unavailable",
        "database-unavailable",
        "worker-lost",
        "browser-crashed",
        "browser-unavailable",
        "picture-lost",
    }
)


def capture_failure(code: str, message: str) -> LinkPeekError:
    """Give the error that a failed snapshot stands for, from what its row remembers."""
    if code in REFUSALS:
        return CaptureRefused(message, code=code)
    if code == CaptureTimeout.code:
        return CaptureTimeout(message)
    if code in TROUBLES:
        return Unavailable(message, code=code)
    return CaptureError(message, code=code)
