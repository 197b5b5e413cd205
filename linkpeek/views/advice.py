"""What went wrong, in plain words, and what to do about it: one line for each code.

The page at ``/``, the error pages and the table in ``/docs`` all speak from
here. ``status`` is what API v1 answers with.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """A code's HTTP status, what it means, and what a person can do."""

    status: int
    meaning: str
    remedy: str


_OWN_NETWORK = "It does not belong to the open internet, or this service's operator has not allowed it."
_LATER = "Try again in a moment."
_CHECK_PAGE = "See whether the page opens in your own browser, then try again."

ADVICE: dict[str, Advice] = {
    # The request itself
    "bad-parameter": Advice(400, "A parameter is missing, given twice or not understood.", "Correct it."),
    "bad-uri": Advice(400, "This is not a web address.", "Type it as your browser shows it: example.com."),
    "uri-too-long": Advice(400, "The address is too long.", "Use one of at most 2,048 characters."),
    "bad-size": Advice(
        400,
        "The size is not understood, or makes the picture of a narrow window too high.",
        "Use W, WxH or original, with 16 to 3840 pixels a side.",
    ),
    "bad-viewport": Advice(
        400,
        "The viewport is not understood.",
        "Use W, WxH, desktop, tablet or mobile, with 64 to 3840 pixels a side.",
    ),
    "bad-ttl": Advice(400, "The ttl is not understood.", "Use a whole number of seconds."),
    "bad-encoding": Advice(400, "The request cannot be read.", "Percent-encode it as UTF-8."),
    "bad-host": Advice(400, "The request names no proper host.", "Correct the header Host."),
    "missing-parameter": Advice(400, "A parameter is missing.", "Send uri, apikey and token."),
    "repeated-parameter": Advice(400, "A parameter is given twice.", "Send each parameter once."),
    "query-too-long": Advice(400, "The query is too long.", "Leave out what is not needed."),
    # Who may ask for what
    "access-denied": Advice(
        403,
        "The key is unknown or disabled, or the token does not fit.",
        "Compute the token from the very uri and size that you send.",
    ),
    "bad-csrf-token": Advice(
        403,
        "This page was open for too long, or your browser keeps no cookies.",
        "Reload the page and try again.",
    ),
    "generator-off": Advice(
        403, "This service takes pictures through its API only.", "Ask its operator for a key."
    ),
    "address-refused": Advice(403, "The page's address is not one this service opens.", _OWN_NETWORK),
    "name-refused": Advice(403, "The page's name is not one this service opens.", _OWN_NETWORK),
    "scheme-refused": Advice(
        403, "Only web pages can be captured.", "Use an address that begins with http:// or https://."
    ),
    "credentials-refused": Advice(
        403, "The address holds a user name or a password.", "Leave out what is before the @."
    ),
    "port-refused": Advice(
        403, "This service does not open that port.", "The usual web ports are 80, 443, 8080 and 8443."
    ),
    "not-found": Advice(404, "There is no such thing here.", "Check the address, or take a new picture."),
    "method-not-allowed": Advice(
        405, "The address does not take this method.", "Use one of those in the header Allow."
    ),
    "request-too-large": Advice(400, "The request is too large.", "Leave out what is not needed."),
    # Limits
    "rate-limited": Advice(
        429, "Too many new pictures in too short a time.", "Wait for the time in Retry-After, then go on."
    ),
    "queue-share": Advice(429, "Many of your pictures are still being taken.", "Wait for some of them."),
    "queue-full": Advice(429, "The queue is full just now.", _LATER),
    "busy": Advice(429, "Someone else asks for the same page right now.", _LATER),
    "too-many-requests": Advice(
        429, "Too many requests come from your network at once.", "Send fewer at a time."
    ),
    # The page
    "dns-failed": Advice(502, "The site's name could not be found.", "Check the spelling of the address."),
    "connection-refused": Advice(502, "The site does not take connections.", _CHECK_PAGE),
    "tls-error": Advice(
        502,
        "The site's certificate is not valid, or no secure connection could be made.",
        "Its operator has to renew or correct the certificate.",
    ),
    "download": Advice(
        502, "The address is a file to download, not a page.", "Use the page that links to it."
    ),
    "no-content": Advice(502, "The site answered that there is nothing to show.", _CHECK_PAGE),
    "too-many-redirects": Advice(502, "The site sends its visitors round in circles.", _CHECK_PAGE),
    "too-large": Advice(
        502, "The page is larger than this service loads.", "Try a smaller page of the site."
    ),
    "page-crashed": Advice(502, "The page brought the browser down.", "Try a smaller picture or window."),
    "navigation-failed": Advice(502, "The page could not be opened.", _CHECK_PAGE),
    "capture-failed": Advice(502, "The page could not be captured.", _CHECK_PAGE),
    "page-timeout": Advice(
        504, "The page showed nothing in the time a picture may take.", "It may be quicker later."
    ),
    # The service
    "browser-crashed": Advice(503, "The browser stopped while it had the page open.", _LATER),
    "browser-unavailable": Advice(503, "The browser that takes the pictures does not start.", _LATER),
    "worker-lost": Advice(503, "Taking the picture was interrupted.", _LATER),
    "picture-lost": Advice(503, "The stored picture was lost.", "Take it again."),
    "storage-full": Advice(503, "There is no room for more pictures.", "Its operator has to make some."),
    "storage-unavailable": Advice(503, "The stored pictures cannot be reached.", _LATER),
    "image-damaged": Advice(404, "The stored picture is damaged.", "Take it again."),
    "overloaded": Advice(503, "Too many pictures are being made just now.", _LATER),
    "no-worker": Advice(
        503, "Nothing is running that could take the picture.", "Its operator has to start it."
    ),
    "broker-unavailable": Advice(503, "New pictures cannot be asked for just now.", _LATER),
    "database-unavailable": Advice(503, "The service cannot look things up just now.", _LATER),
    "unavailable": Advice(503, "Something this service needs does not answer.", _LATER),
    "restarting": Advice(503, "The service is starting again.", _LATER),
    "not-ready": Advice(503, "Something this service needs does not work.", "Its operator can see what."),
    "internal-error": Advice(500, "Something went wrong inside this service.", "Its log says what."),
}

_UNKNOWN = Advice(500, "Something went wrong.", _LATER)


def advice_for(code: str) -> Advice:
    """Give the words for a code; a general answer for one that is not in the table."""
    return ADVICE.get(code, _UNKNOWN)
